"""mosaicml-streaming, as its guide sets it up for text that is tokenised and cut beforehand.

``MDSWriter`` writes each window of L + 1 tokens as a sample (``ndarray:uint16``), with strides too: it stores what it
serves, so that overlap is stored twice. Then ``StreamingDataset(local=..., shuffle=True, batch_size=B)`` in a
``DataLoader`` of the same batch size, whose collate function stacks, shifts and widens. It shuffles in blocks.

Its package imports its part for images, and with it torchvision, whose usual build is for CUDA and does not load
beside a torch for the CPU. No image is read here, so a placeholder stands in for torchvision where it does not load.
"""

import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import measure
import numpy as np
import torch
from torch.utils.data import DataLoader


def without_torchvision() -> None:
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules["torchvision.datasets"].VisionDataset = sys.modules["torchvision.datasets"].CIFAR10 = object
        sys.modules["torchvision.transforms.functional"].to_tensor = None


without_torchvision()


def place(source: measure.Source, setting: measure.Setting) -> Any:
    return source.folder / f"{setting.max_length}-{setting.stride}"


def prepare(source: measure.Source, setting: measure.Setting) -> None:
    from streaming import MDSWriter

    if (place(source, setting) / "index.json").exists():
        return
    tokens, length = np.asarray(source.memmap()), setting.max_length + 1
    with MDSWriter(out=str(place(source, setting)), columns={"tokens": f"ndarray:uint16:{length}"}) as out:
        for start in range(0, source.num_windows(setting) * setting.stride, setting.stride):
            out.write({"tokens": tokens[start : start + length]})


def collate(samples: list[dict[str, Any]]) -> measure.Pair:
    rows = np.stack([sample["tokens"] for sample in samples]).astype(np.int64)  # (B, L + 1)
    return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])


def loader(source: measure.Source, setting: measure.Setting, workers: int) -> tuple[Any, DataLoader]:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    data = StreamingDataset(local=str(place(source, setting)), shuffle=True, batch_size=setting.batch_size)
    return data, DataLoader(
        data, batch_size=setting.batch_size, num_workers=workers, drop_last=True, collate_fn=collate
    )


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    return measure.endless(loader(source, setting, workers)[1])


def resumes(source: measure.Source, setting: measure.Setting, step: int) -> Iterator[measure.Pair]:
    data, made = loader(source, setting, 0)
    if step:
        data.load_state_dict({**data.state_dict(step * setting.batch_size, True), "epoch": 0})
    return iter(made)


if __name__ == "__main__":
    measure.main({"": batches}, package="mosaicml-streaming", prepare=prepare, resumes=resumes)
