"""grain, as its guide sets up a pipeline: a random-access source, shuffled, batched, read with prefetching.

``MapDataset.source(...).shuffle(seed).repeat().batch(B)``, read as an iterator with its default of 16 reading
threads ("0 workers") or with ``mp_prefetch`` in N processes. The source is a memory map with ``__len__`` and
``__getitem__``, all that its guide asks of one; an item is a window widened to int64. NumPy batches.
"""

from collections.abc import Iterator
from typing import Any

import grain
import measure
import numpy as np


class Slices:
    def __init__(self, source: measure.Source, setting: measure.Setting) -> None:
        self.source, self.setting, self.num_windows = source, setting, source.num_windows(setting)
        self.tokens = np.asarray(source.memmap())

    def __len__(self) -> int:
        return self.num_windows

    def __getitem__(self, index: int) -> measure.Pair:
        start = int(index) * self.setting.stride
        window = self.tokens[start : start + self.setting.max_length + 1].astype(np.int64)
        return window[:-1], window[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "tokens"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.tokens = np.asarray(self.source.memmap())


def stream(source: measure.Source, setting: measure.Setting, workers: int, threads: int = 16) -> Any:
    data = grain.MapDataset.source(Slices(source, setting)).shuffle(seed=1).repeat().batch(setting.batch_size)
    made = data.to_iter_dataset(grain.ReadOptions(num_threads=threads))
    if workers:
        made = made.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(made)


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    return stream(source, setting, workers)


def one_thread(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    """Without the reading threads, which cost more than they bring when the file is in memory."""
    return stream(source, setting, workers, threads=0)


def resumes(source: measure.Source, setting: measure.Setting, step: int) -> Iterator[measure.Pair]:
    made = stream(source, setting, 0)
    made.set_state({**made.get_state(), "next_index": step})
    return made


if __name__ == "__main__":
    from absl import flags

    flags.FLAGS(["with_grain"])  # its worker processes ask for parsed flags
    measure.main({"": batches, "no threads": one_thread}, package="grain", resumes=resumes)
