"""The textbook's loader: a list of tensors, one per window, and ``DataLoader(shuffle=True)``.

The list takes 16 bytes a target (32 at half a stride), 6.4 GB for the whole file, so it holds the first 20 million
tokens only: 0.3 to 0.6 GB, far above the caches. The textbook makes each tensor from a list of Python ints, which
takes minutes here; these are cut from one tensor, with a copy each, and are the same objects in the end.
"""

from collections.abc import Iterator

import measure
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

NUM_TOKENS = 20_000_000


class TensorList(Dataset):
    def __init__(self, ids: torch.Tensor, max_length: int, stride: int) -> None:
        starts = range(0, len(ids) - max_length, stride)
        self.inputs = [ids[i : i + max_length].clone() for i in starts]
        self.targets = [ids[i + 1 : i + max_length + 1].clone() for i in starts]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> measure.Pair:
        return self.inputs[index], self.targets[index]


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    ids = torch.from_numpy(source.memmap()[:NUM_TOKENS].astype(np.int64))
    data = TensorList(ids, setting.max_length, setting.stride)
    return measure.endless(
        DataLoader(data, batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    )


if __name__ == "__main__":
    measure.main({"": batches})
