"""A real ``torch.utils.data.DataLoader`` over a loader's stream, for trainers that want one.

Guarantee: the same batches for any number of workers, in order; its state counts the batches that have been received,
not those fetched ahead. One item is one batch, so that workers never see single samples. The plain ``Loader`` needs no
workers and is usually faster; this is a door for frameworks, and the one module that may use the loader's inner parts.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, Sampler

from windrow.batches.batch import Batch
from windrow.batches.delivery import TorchDelivery

if TYPE_CHECKING:
    from windrow.loader.loader import Loader

__all__ = ["StepDataLoader"]


class _Batches(Dataset[Batch]):
    """Batch by position, as CPU tensors: workers must not touch the accelerator."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __getitem__(self, position: int) -> Batch:
        loader = self._loader
        delivery = TorchDelivery(loader._maker.dtype)
        return loader._maker.batch(position, loader._sizes, loader._excluded, delivery)


class _Positions(Sampler[int]):
    """The positions of the steps that are still to come in this pass."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[int]:
        return (position for position, _ in _steps_to_come(self._loader))

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
        return self._stream._receive(self._blocks)

    def _blocks(self) -> Iterator[Iterable[tuple[int, Batch]]]:
        after = (position for _, position in _steps_to_come(self._stream))
        received = super().__iter__()
        return ([pair] for pair in zip(after, received, strict=True))

    def state_dict(self) -> dict[str, int | str]:
        """The loader's state after the last batch received."""
        return self._stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch that the saved run had received; see ``Loader.load_state_dict``."""
        self._stream.load_state_dict(state)


def _steps_to_come(loader: "Loader") -> Iterator[tuple[int, int]]:
    """Where each step from here to the end of the pass starts, and where it ends."""
    epoch_samples = loader._order.epoch_samples
    for position, num_steps in loader._maker.steps_to_come(loader._position, loader._sizes):
        for _ in range(num_steps):
            after = loader._sizes.after(position, 1, epoch_samples)
            yield position, after
            position = after


def _as_it_is(batch: Any) -> Any:
    return batch
