"""Steps -> this rank's rows of the order, computed for many steps at a time.

Guarantee: rows depend on position, sizes and rank only; the look-ahead is a cache of arithmetic. Rows are (3, n):
member number, window, epoch.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.order.order import Order
from windrow.order.steps import Sizes

__all__ = ["Place", "Rows", "Sample"]

Int64 = NDArray[np.int64]
_AHEAD = 1 << 13  # positions of the order worked out at a time: amortizes NumPy's cost of a call


class Rows:
    """The rows of rank ``dp_rank``: samples ``[dp_rank * B, (dp_rank + 1) * B)`` of each step's global batch."""

    def __init__(self, order: Order, dp_rank: int) -> None:
        self._order, self._dp_rank = order, dp_rank
        self._ahead: tuple[int, Sizes | None, Int64] = (0, None, np.empty((3, 0), dtype=np.int64))

    def positions(self, position: int, sizes: Sizes, num_steps: int) -> Int64:
        """The positions of this rank's samples in ``num_steps`` steps from ``position`` on: (num_steps * B,)."""
        steps = position + np.arange(num_steps, dtype=np.int64) * sizes.global_batch
        mine = self._dp_rank * sizes.batch_size + np.arange(sizes.batch_size, dtype=np.int64)
        return (steps[:, None] + mine).reshape(-1)

    def at(self, position: int, sizes: Sizes, num_steps: int = 1) -> Int64:
        """The rows of ``num_steps`` steps from ``position`` on: (3, num_steps * B)."""
        return np.stack(self._order.at(self.positions(position, sizes, num_steps)))

    def next(self, position: int, sizes: Sizes, num_steps: int) -> Int64:
        """The same, for one who goes on from there: computed ahead."""
        first, known, rows = self._ahead
        step, off = divmod(position - first, sizes.global_batch)
        begin, end = step * sizes.batch_size, (step + num_steps) * sizes.batch_size
        if known != sizes or off or begin < 0 or end > rows.shape[1]:
            begin, end = 0, num_steps * sizes.batch_size
            rows = self.at(position, sizes, max(num_steps, _AHEAD // sizes.batch_size))
            self._ahead = (position, sizes, rows)
        return rows[:, begin:end]

    def num_within(self, position: int, sizes: Sizes) -> int:
        """How many of this rank's rows of the step at ``position`` lie within the pass."""
        if sizes.tail == "straddle":
            return sizes.batch_size
        left = self._order.epoch_samples - position % self._order.epoch_samples
        return min(max(left - self._dp_rank * sizes.batch_size, 0), sizes.batch_size)

    def steps_within(self, position: int, sizes: Sizes, at_most: int) -> int:
        """How many steps from ``position`` on lie wholly within the pass, up to ``at_most``."""
        if sizes.tail == "straddle":
            return at_most
        left = self._order.epoch_samples - position % self._order.epoch_samples
        return min(at_most, left // sizes.global_batch)


class Sample(NamedTuple):
    """One row of a step: which window of which member it is, and in which epoch of that member."""

    position: int
    member: str
    window: int
    epoch: int


class Place(NamedTuple):
    """Where a sample comes: its position, and the step, rank and row; ``step`` None is never: dropped or skipped."""

    position: int
    step: int | None
    dp_rank: int
    row: int
