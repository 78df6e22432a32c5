"""windrow: ``Loader(Windows(open_store(...)))``, as its README sets it up; NumPy or torch batches."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import measure

import windrow as wr


def loader(source: measure.Source, setting: measure.Setting, device: str | None) -> wr.Loader:
    """The store is the folder of the token file: a store's file holds raw tokens."""
    windows = wr.Windows(wr.open_store(Path(source.tokens).parent), setting.max_length, setting.stride)
    return wr.Loader(windows, setting.batch_size, seed=1, device=device)


def batches(
    source: measure.Source, setting: measure.Setting, workers: int, device: str | None
) -> Iterator[measure.Pair]:
    return measure.endless(loader(source, setting, device))


def resumes(source: measure.Source, setting: measure.Setting, step: int) -> Iterator[measure.Pair]:
    made = loader(source, setting, None)
    made.load_state_dict({**made.state_dict(), "position": step * setting.batch_size})
    return iter(made)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")  # `first` uses strides beyond max_length, of which windrow warns
    variants = {"numpy": partial(batches, device=None), "torch": partial(batches, device="cpu")}
    measure.main(variants, resumes=resumes)
