"""A real ``torch.utils.data.DataLoader`` over a loader's stream, for trainers that want one.

Guarantee: the same batches for any number of workers, in order; its state counts the batches that have been received,
not those fetched ahead. One item is one batch, so that workers never see single samples. The plain ``Loader`` needs no
workers and is usually faster; this is a door for frameworks, and the one module that may use the loader's inner parts.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from windrow.batch import Batch

if TYPE_CHECKING:
    from windrow.loader import Loader

__all__ = ["StepDataLoader"]


class _Batches(Dataset[Batch]):
    """Batch by position, as CPU tensors: workers must not touch the accelerator."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __getitem__(self, position: int) -> Batch:
        return self._loader._batch(position, self._loader._sizes, torch.device("cpu"))


class _Positions(Sampler[int]):
    """The positions of the steps that are still to come in this pass."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[int]:
        return self._loader._positions_to_come()

    def __len__(self) -> int:
        return len(self._loader)


class StepDataLoader(DataLoader[Batch]):
    """See ``Loader.dataloader``."""

    def __init__(self, loader: "Loader", *, num_workers: int, pin_memory: bool) -> None:
        self._stream = loader
        super().__init__(
            _Batches(loader),
            sampler=_Positions(loader),
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_it_is,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a private iterator class
        return self._stream._receive(super().__iter__())

    def state_dict(self) -> dict[str, int | str]:
        """The loader's state after the last batch received."""
        return self._stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch that the saved run had received; see ``Loader.load_state_dict``."""
        self._stream.load_state_dict(state)


def _as_it_is(batch: Any) -> Any:
    return batch
