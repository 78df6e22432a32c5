"""A real ``torch.utils.data.DataLoader`` over a loader's stream, for trainers that want one.

Guarantee: the same batches for any number of workers, in order; its state counts the batches that have been received,
not those fetched ahead. One item is one batch, so that workers never see single samples. The plain ``Loader`` needs no
workers and is usually faster; this is a door for frameworks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

from torch.utils.data import DataLoader, Dataset

from windrow.batches.batch import Batch
from windrow.errors import WindrowError

__all__ = ["StepDataLoader", "Steps"]


class Steps(Protocol):
    """What a ``StepDataLoader`` asks of the stream that it serves, the loader's ``Stream``.

    A pickle of it makes the batches in a worker, on the CPU: workers must not touch the accelerator.
    """

    @property
    def is_far(self) -> bool: ...
    def be_led(self) -> None: ...
    def __len__(self) -> int: ...
    def to_come(self) -> Iterator[tuple[int, int]]: ...
    def batch_at(self, position: int) -> Batch: ...
    def receive(self, make: Callable[[], Iterator[Iterable[tuple[int, Batch]]]], /) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, int | str]: ...
    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


class _Positions(Dataset[Batch]):
    """The batch of the step at a position, for a worker; what is far away is fetched by the process it comes from."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._steps.be_led()

    def __getitem__(self, position: int) -> Batch:
        return self._steps.batch_at(position)


class _Taken(Dataset[Batch]):
    """What a framework finds as dataset and sampler when it would make another ``DataLoader`` of ours: a refusal."""

    def refuse(self, *_: object) -> NoReturn:
        """Raise ``WindrowError`` that says what to give the framework instead."""
        raise WindrowError(
            "a framework would make another DataLoader of this one, to share out its batches or to skip some, and they "
            "are this rank's part already, from the loader's place on: some would come twice or never. Give Accelerate "
            "and Ray the Loader itself, made with dp_rank= and dp_world_size=, without prepare; Lightning "
            "Trainer(use_distributed_sampler=False); and resume with load_state_dict, which skips nothing."
        )

    __len__ = __iter__ = __getitem__ = refuse


class StepDataLoader(DataLoader[Batch]):
    """See ``Loader.dataloader``. It hands on what one within receives, so that it can say no to being taken apart."""

    drop_last: Any = property(lambda self: self._taken.refuse(), lambda self, _: None)  # read to copy it, set by torch

    def __init__(self, steps: Steps, *, num_workers: int, pin_memory: bool) -> None:
        self._steps, self._taken = steps, _Taken()
        super().__init__(self._taken, batch_sampler=self._taken, num_workers=num_workers, pin_memory=pin_memory)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a private iterator class
        return self._steps.receive(self._blocks)

    def __len__(self) -> int:
        return len(self._steps)

    def _blocks(self) -> Iterator[Iterable[tuple[int, Batch]]]:
        received = DataLoader(
            _Positions(self._steps),
            sampler=(position for position, _ in self._steps.to_come()),
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            multiprocessing_context="spawn" if self.num_workers and self._steps.is_far else None,
        )
        after = (position for _, position in self._steps.to_come())
        return ([pair] for pair in zip(after, received, strict=True))

    def state_dict(self) -> dict[str, int | str]:
        """The loader's state after the last batch received."""
        return self._steps.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch that the saved run had received; see ``Loader.load_state_dict``."""
        self._steps.load_state_dict(state)
