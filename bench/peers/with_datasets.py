"""Hugging Face datasets, as its guides set up pre-training: fixed rows of tokens in an Arrow table on disk.

The rows are what its grouping recipe makes, L + 1 ids each (uint16), saved with ``save_to_disk``; overlapping rows for
a stride are stored twice. Then ``load_from_disk(...).with_format("torch")`` in a ``DataLoader(shuffle=True)``, which
asks it for a batch of rows at a time; the training loop shifts. Its torch format widens to int64.
"""

from collections.abc import Iterator
from pathlib import Path

import measure
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import DataLoader


def place(source: measure.Source, setting: measure.Setting) -> Path:
    return source.folder / f"{setting.max_length}-{setting.stride}"


def prepare(source: measure.Source, setting: measure.Setting) -> None:
    import pyarrow as pa
    from datasets import Dataset

    if (place(source, setting) / "state.json").exists():
        return
    length = setting.max_length + 1
    rows = sliding_window_view(np.asarray(source.memmap()), length)[:: setting.stride]  # (windows, L + 1)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), length)
    Dataset(pa.table({"input_ids": column})).save_to_disk(str(place(source, setting)))


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    from datasets import load_from_disk

    data = load_from_disk(str(place(source, setting))).with_format("torch")
    loader = DataLoader(data, batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    for batch in measure.endless(loader):
        yield batch["input_ids"][:, :-1], batch["input_ids"][:, 1:]


if __name__ == "__main__":
    measure.main({"": batches}, package="datasets", prepare=prepare)
