"""A map-style dataset over a memory map, one slice widened to int64 per item, and ``DataLoader(shuffle=True)``."""

from collections.abc import Iterator

import measure
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Slices(Dataset):
    def __init__(self, source: measure.Source, setting: measure.Setting) -> None:
        self.tokens, self.setting, self.num_windows = source.memmap(), setting, source.num_windows(setting)

    def __len__(self) -> int:
        return self.num_windows

    def __getitem__(self, index: int) -> measure.Pair:
        start = index * self.setting.stride
        window = torch.from_numpy(self.tokens[start : start + self.setting.max_length + 1].astype(np.int64))
        return window[:-1], window[1:]


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    data = Slices(source, setting)
    return measure.endless(
        DataLoader(data, batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    )


if __name__ == "__main__":
    measure.main({"": batches})
