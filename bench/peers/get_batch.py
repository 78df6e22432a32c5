"""The idea of nanoGPT's ``get_batch``: a memory map opened for each batch, random starts, rows cut and stacked.

It draws with replacement, so it has no epochs and no strides; nothing is to be resumed but the generator's state.
"""

from collections.abc import Iterator

import measure
import numpy as np
import torch


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    if workers:
        raise measure.NotOffered("no workers")
    if setting.stride < setting.max_length:
        raise measure.NotOffered("no strides: starts are drawn")
    return drawn(source, setting.max_length, setting.batch_size)


def drawn(source: measure.Source, max_length: int, batch_size: int) -> Iterator[measure.Pair]:
    while True:
        tokens = source.memmap()  # anew each time, since a map kept open counts as a leak there
        starts = torch.randint(len(tokens) - max_length, (batch_size,)).tolist()
        inputs = [torch.from_numpy(tokens[i : i + max_length].astype(np.int64)) for i in starts]
        targets = [torch.from_numpy(tokens[i + 1 : i + 1 + max_length].astype(np.int64)) for i in starts]
        yield torch.stack(inputs), torch.stack(targets)


if __name__ == "__main__":
    measure.main({"": batches}, replacement=True)
