"""A real ``torch.utils.data.DataLoader`` over a loader's stream, for trainers that want one.

Guarantee: the same batches for any number of workers, in order; its state counts the batches that have been received,
not those fetched ahead. One item is one batch, so that workers never see single samples. The plain ``Loader`` needs no
workers and is usually faster; this is a door for frameworks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from windrow.batches.batch import Batch

__all__ = ["StepDataLoader", "Steps"]


class Steps(Protocol):
    """What a ``StepDataLoader`` asks of the stream that it serves, the loader's ``Stream``.

    A pickle of it makes the batches in a worker, on the CPU: workers must not touch the accelerator.
    """

    def __len__(self) -> int: ...
    def to_come(self) -> Iterator[tuple[int, int]]: ...
    def batch_at(self, position: int) -> Batch: ...
    def receive(self, make: Callable[[], Iterator[Iterable[tuple[int, Batch]]]], /) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, int | str]: ...
    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


class _Positions(Dataset[Batch]):
    """Batch by position, and the positions that are still to come in this pass: dataset and sampler in one."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getitem__(self, position: int) -> Batch:
        return self._steps.batch_at(position)

    def __iter__(self) -> Iterator[int]:
        return (position for position, _ in self._steps.to_come())

    def __len__(self) -> int:
        return len(self._steps)


class StepDataLoader(DataLoader[Batch]):
    """See ``Loader.dataloader``."""

    def __init__(self, steps: Steps, *, num_workers: int, pin_memory: bool) -> None:
        self._steps, positions = steps, _Positions(steps)
        super().__init__(
            positions,
            sampler=positions,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_it_is,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a private iterator class
        return self._steps.receive(self._blocks)

    def _blocks(self) -> Iterator[Iterable[tuple[int, Batch]]]:
        after = (position for _, position in self._steps.to_come())
        received = super().__iter__()
        return ([pair] for pair in zip(after, received, strict=True))

    def state_dict(self) -> dict[str, int | str]:
        """The loader's state after the last batch received."""
        return self._steps.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch that the saved run had received; see ``Loader.load_state_dict``."""
        self._steps.load_state_dict(state)


def _as_it_is(batch: Any) -> Any:
    return batch
