"""A loader as the workers of its ``dataloader()`` see it: steps by position, on the CPU.

Guarantee: a batch that a worker makes is the one that the loader gives at that position; only what the main process
receives moves the run on. It pickles as the stores' paths, the recipe and a few numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from windrow.batches.batch import Batch
from windrow.loader.batch_maker import BatchMaker, Blocks
from windrow.loader.progress import Progress
from windrow.order.steps import StepSizes

__all__ = ["WorkerSteps"]


class WorkerSteps:
    """The ``Steps`` of a ``StepDataLoader``: batches of ``maker`` from where ``progress`` stands."""

    def __init__(self, maker: BatchMaker, progress: Progress, sizes: StepSizes, epoch_samples: int) -> None:
        self._maker, self._progress, self._sizes, self._epoch_samples = maker, progress, sizes, epoch_samples

    def __len__(self) -> int:
        return max(1, self._sizes.steps_in(self._epoch_samples))

    def to_come(self) -> Iterator[tuple[int, int]]:
        for position, num_steps in self._maker.steps_to_come(self._progress.position, self._sizes):
            for _ in range(num_steps):
                after = self._sizes.after(position, 1, self._epoch_samples)
                yield position, after
                position = after

    def batch_at(self, position: int) -> Batch:
        return self._maker.batch(position, self._sizes, self._progress.excluded, on_cpu=True)

    def receive(self, make: Callable[[], Blocks]) -> Iterator[Batch]:
        return self._progress.receive(make)

    def state_dict(self) -> dict[str, int | str]:
        return self._progress.to_state()

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self._progress.load(state, self._maker.dtype)
