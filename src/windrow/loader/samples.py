"""Which samples the stream and its steps hold, and where each comes.

Guarantee: the answers depend on recipe, sizes and rank only; the look-ahead is a cache of arithmetic. Cost: arithmetic;
no token is read. Samples as an array are (3, n): member number, window, epoch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from windrow.arrays import Int64, whole_numbers
from windrow.errors import LARGEST, WindrowError, whole_number
from windrow.order.mixture_order import Order
from windrow.order.steps import Segments, StepSizes
from windrow.windows.windows import Windows

__all__ = ["Place", "Sample", "Samples"]

_AHEAD = 1 << 13  # positions of the order worked out at a time: amortizes NumPy's cost of a call


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


class Samples:
    """The samples of ``members`` in ``order``, as rank ``dp_rank`` takes them.

    Of each step's global batch these are the samples ``[dp_rank * B, (dp_rank + 1) * B)``.
    """

    def __init__(self, order: Order, members: Mapping[str, Windows], dp_rank: int) -> None:
        self._members, self._dp_rank = members, dp_rank
        self.follow(order)

    def follow(self, order: Order) -> None:
        """Take the samples in ``order`` from now on."""
        self.order = order
        self._ahead: tuple[int, StepSizes | None, Int64] = (0, None, np.empty((3, 0), dtype=np.int64))

    # -- as arrays, for the batches --------------------------------------------------------------------------------

    def positions(self, position: int, sizes: StepSizes, num_steps: int) -> Int64:
        """The positions of this rank's samples in ``num_steps`` steps from ``position`` on: (num_steps * B,)."""
        whole_number("position", position + num_steps * sizes.global_batch - 1, at_least=0)
        steps = position + np.arange(num_steps, dtype=np.int64) * sizes.global_batch
        rank = self._dp_rank % sizes.dp_world_size  # in a world of one, every rank is the one that takes all
        mine = rank * sizes.batch_size + np.arange(sizes.batch_size, dtype=np.int64)
        return (steps[:, None] + mine).reshape(-1)

    def at(self, position: int, sizes: StepSizes, num_steps: int = 1) -> Int64:
        """The samples of ``num_steps`` steps from ``position`` on: (3, num_steps * B)."""
        return np.stack(self.order.at(self.positions(position, sizes, num_steps)))

    def next(self, position: int, sizes: StepSizes, num_steps: int) -> Int64:
        """What ``at`` gives, for one who goes on from there: worked out ahead, but not at the first step of a jump."""
        first, known, samples = self._ahead
        step, off = divmod(position - first, sizes.global_batch)
        begin, end = step * sizes.batch_size, (step + num_steps) * sizes.batch_size
        goes_on = known == sizes and not off and 0 <= begin <= samples.shape[1]
        if not goes_on or end > samples.shape[1]:
            begin, end = 0, num_steps * sizes.batch_size
            ahead = min(_AHEAD // sizes.batch_size, (LARGEST - position) // sizes.global_batch) if goes_on else 0
            samples = self.at(position, sizes, max(num_steps, ahead))
            self._ahead = (position, sizes, samples)
        return samples[:, begin:end]

    def num_within(self, position: int, sizes: StepSizes) -> int:
        """How many of this rank's samples of the step at ``position`` lie within the pass."""
        if sizes.tail == "straddle":
            return sizes.batch_size
        return min(max(sizes.left(position) - self._dp_rank * sizes.batch_size, 0), sizes.batch_size)

    def steps_within(self, position: int, sizes: StepSizes, at_most: int) -> int:
        """How many steps from ``position`` on lie wholly within the pass, up to ``at_most``."""
        if sizes.tail == "straddle":
            return at_most
        return min(at_most, sizes.left(position) // sizes.global_batch)

    # -- by name, for people ---------------------------------------------------------------------------------------

    def of_step(self, position: int, sizes: StepSizes) -> list[Sample]:
        """This rank's samples of the step at ``position``, those beyond the pass left out."""
        held = self.at(position, sizes)[:, : self.num_within(position, sizes)]  # (3, B)
        return self._named(position + self._dp_rank * sizes.batch_size, held)

    def of_stream(self, first: int, count: int) -> list[Sample]:
        """The samples at ``count`` positions from ``first`` on, over all ranks."""
        stop = whole_number("first", first, at_least=0) + whole_number("count", count, at_least=0)
        positions = np.arange(first, whole_number("first + count", stop, at_least=0), dtype=np.int64)
        return self._named(first, np.stack(self.order.at(positions)))

    def _named(self, first: int, samples: Int64) -> list[Sample]:
        """``samples`` (3, n), which stand at the positions from ``first`` on."""
        names = list(self._members)
        rows = enumerate(samples.T.tolist(), start=first)
        return [Sample(position, names[member], window, epoch) for position, (member, window, epoch) in rows]

    def places_of(self, windows: ArrayLike, epoch: int, member: str, segments: Segments) -> Int64:
        """Where ``member`` shows each of ``windows`` (B,) in its ``epoch``: by the inverse of the order, no search.

        (4, B): position, where -1 is never, and step, rank and row, where step -1 is never: dropped or skipped.
        """
        number, windows = self.number_of(member), whole_numbers("windows", windows)  # (B,)
        num_samples, epoch = self._members[member].num_samples, whole_number("epoch", epoch, at_least=0)
        if len(windows) and not (windows.min() >= 0 and windows.max() < num_samples):
            raise IndexError(
                f"windows {windows.min()} to {windows.max()} of {num_samples}, which are 0 to {num_samples - 1}"
            )
        positions = self.order.positions_of(number, windows, np.full(len(windows), epoch))
        return np.concatenate([positions[None], segments.places_of(positions)])

    def number_of(self, member: str) -> int:
        """The number of the member of this name. Raises ``WindrowError`` when there is none."""
        if member not in self._members:
            raise WindrowError(f"there is no member {member!r}. Members: {list(self._members)}.")
        return list(self._members).index(member)
