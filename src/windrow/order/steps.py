"""Steps as arithmetic: which position a step starts at, and back, whatever the sizes were before.

Guarantee: pure integers; O(number of changes of size). ``StepSizes`` knows how a pass over the positions of an epoch is
cut into steps; ``Segments`` strings together the stretches of a run that had different sizes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self, get_args

import numpy as np

from windrow.arrays import Int64, grouped
from windrow.errors import LARGEST, NotEnoughTokensError, brief, read_json, whole_number

__all__ = ["Segments", "StepSizes", "Tail", "tail_of"]

Tail = Literal["drop", "keep", "straddle"]


def tail_of(epochs: int | None, drop_last: bool) -> Tail:
    """What happens to the last positions of a pass. Raises ``ValueError`` when ``epochs`` is neither 1 nor None."""
    if epochs is None:
        return "straddle"
    if epochs != 1:
        raise ValueError(
            f"epochs is {epochs!r}, and it is 1 (a for loop is one epoch) or None (the endless stream). For several "
            "epochs, loop several times: each loop is the next epoch, reshuffled."
        )
    return "drop" if drop_last else "keep"


@dataclass(frozen=True)
class StepSizes:
    """How the stream is cut: ``batch_size`` samples a rank and step, ``dp_world_size`` ranks, ``epoch_samples``
    positions a pass, and what happens to the last positions of a pass that fill no step: "drop" them, "keep" them in
    a short step, or let the step "straddle" the edge into the next epoch.
    """

    batch_size: int
    dp_world_size: int
    tail: Tail
    epoch_samples: int

    @property
    def global_batch(self) -> int:
        """Positions in one step, over all ranks."""
        return self.batch_size * self.dp_world_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a whole epoch; of an endless stream, those that begin and end in it, 1 at least."""
        return max(1, self.steps_in(self.epoch_samples))

    def steps_in(self, num_samples: int) -> int:
        """Steps that ``num_samples`` positions at the end of a pass give."""
        return -(-num_samples // self.global_batch) if self.tail == "keep" else num_samples // self.global_batch

    def require_step(self, remedies: Sequence[str] = ("a smaller stride or max_length", "more text")) -> None:
        """Raise ``NotEnoughTokensError`` when a pass would have no step.

        ``remedies`` are what gives the data more samples; those that the sizes offer come before them.
        """
        num_samples = self.epoch_samples
        if self.tail != "drop" or self.steps_in(num_samples):
            return
        need = f"batch_size {self.batch_size}"
        if self.dp_world_size > 1:
            need += f" * dp_world_size {self.dp_world_size} = {self.global_batch}"
        ways = ["drop_last=False (1 short step)", *remedies]
        if num_samples >= self.dp_world_size:
            ways.insert(0, f"batch_size <= {num_samples // self.dp_world_size}")
        raise NotEnoughTokensError(
            f"the data has {num_samples} samples, and one step takes {need}, so with drop_last=True an epoch would "
            f"have no step. Use {', or '.join(ways)}."
        )

    def left(self, position: int) -> int:
        """Positions from ``position`` on to the end of its pass."""
        return self.epoch_samples - position % self.epoch_samples

    def start(self, position: int) -> int:
        """Where the step at ``position`` really begins: a tail too short for a step is dropped."""
        left = self.left(position)
        return position + left if self.tail == "drop" and left < self.global_batch else position

    def after(self, position: int, num_steps: int) -> int:
        """The position ``num_steps`` steps after ``position``."""
        if self.tail == "straddle":
            return position + num_steps * self.global_batch
        here = self.steps_in(self.left(position))
        if num_steps >= here:
            more, num_steps = divmod(num_steps - here, self.steps_in(self.epoch_samples))
            position += self.left(position) + more * self.epoch_samples
        return position + num_steps * self.global_batch

    def between(self, first: int, position: int) -> int:
        """How many steps lead from ``first`` to ``position``: undoes ``after``, rounding up inside a step."""
        if self.tail == "straddle":
            return -(-(position - first) // self.global_batch)
        epochs, index = divmod(position - first - self.left(first), self.epoch_samples)
        if epochs < 0:  # still in the pass that ``first`` is in
            return -(-(position - first) // self.global_batch)
        whole = epochs * self.steps_in(self.epoch_samples)
        return self.steps_in(self.left(first)) + whole + -(-index // self.global_batch)

    def steps_at(self, first: int, ahead: Int64) -> tuple[Int64, Int64, Int64]:
        """Of positions ``ahead`` (n,) of a step's start: steps from there, how many are taken, places in the step."""
        if self.tail == "straddle":
            return ahead // self.global_batch, np.full_like(ahead, LARGEST), ahead % self.global_batch
        left, in_all = self.left(first), self.steps_in(self.epoch_samples)
        epoch, index = np.divmod(ahead - left, self.epoch_samples)
        begun = np.where(epoch < 0, 0, self.steps_in(left) + epoch * in_all)  # steps before this pass
        step, within = np.divmod(np.where(epoch < 0, ahead, index), self.global_batch)
        return begun + step, begun + np.where(epoch < 0, self.steps_in(left), in_all), within


@dataclass(frozen=True)
class Segments:
    """The stretches of a run: ``(position, step, sizes)`` where each began. Immutable; the last one is in force."""

    parts: tuple[tuple[int, int, StepSizes], ...]

    @classmethod
    def begin(cls, sizes: StepSizes) -> Self:
        """A run that starts at position 0, step 0."""
        return cls(((0, 0, sizes),))

    def position_of(self, step: int) -> int:
        """The position at which ``step`` starts (in the last stretch also of steps to come)."""
        first, first_step, sizes = next(part for part in reversed(self.parts) if part[1] <= step)
        return sizes.after(first, step - first_step)

    def sizes_of(self, step: int) -> StepSizes:
        """The sizes that ``step`` was, or will be, made with."""
        return next(part[2] for part in reversed(self.parts) if part[1] <= step)

    def step_of(self, position: int) -> int:
        """The step that starts at ``position``."""
        first, first_step, sizes = next(part for part in reversed(self.parts) if part[0] <= position)
        return first_step + sizes.between(first, position)

    def places_of(self, positions: Int64) -> Int64:
        """Step, rank and row of the samples at ``positions`` (n,): (3, n); step -1: dropped or skipped."""
        out = np.zeros((3, len(positions)), dtype=np.int64)
        out[0] = -1
        firsts = np.array([part[0] for part in self.parts])
        for number, here in grouped(np.searchsorted(firsts, positions, side="right") - 1):
            if number < 0:
                continue
            (first, first_step, sizes), after = self.parts[number], self.parts[number + 1 :][:1]
            steps, most, within = sizes.steps_at(first, positions[here] - first)
            end = after[0][1] - first_step if after else LARGEST
            taken = steps < np.minimum(most, end)
            places = np.stack([first_step + steps, *np.divmod(within, sizes.batch_size)])
            out[:, here[taken]] = places[:, taken]
        return out

    def jumped(self, position: int, to: int, sizes: StepSizes) -> Self:
        """The run going on from position ``to`` with ``sizes``, what lies between ``position`` and it passed over."""
        if (position, sizes) == (to, self.parts[-1][2]):
            return self
        kept = tuple(part for part in self.parts if part[0] < position)
        return type(self)((*kept, (sizes.start(to), self.step_of(position), sizes)))

    def to_json(self) -> str:
        """``[[position, step, batch_size, dp_world_size, tail], ...]``, and epoch_samples where not the last one's."""
        last = self.parts[-1][2].epoch_samples
        rows = [[p, s, z.batch_size, z.dp_world_size, z.tail, z.epoch_samples] for p, s, z in self.parts]
        return json.dumps([row if row[-1] != last else row[:-1] for row in rows])

    @classmethod
    def from_json(cls, text: str, epoch_samples: int) -> Self:
        """Undo ``to_json``, where an epoch of the last stretch has ``epoch_samples``.

        Raises ``ValueError`` when the stretches are none, or do not rise.
        """
        parts = tuple(_part(epoch_samples, *row) for row in read_json(text, [list]))
        if not parts or parts[0][1] or not all(_follows(*pair) for pair in pairwise(parts)):
            raise ValueError(f"{brief(text)} is no list of stretches that begins at step 0 and rises")
        return cls(parts)


_Part = tuple[int, int, StepSizes]


def _part(
    last: int, position: int, step: int, batch_size: int, dp_world_size: int, tail: Tail, own: int | None = None
) -> _Part:
    """A stretch of these sizes. Raises ``ValueError`` where it can have no step."""
    if tail not in get_args(Tail):
        raise ValueError(f"the tail {brief(tail)} is none of {get_args(Tail)}")
    sizes = (whole_number("batch_size", batch_size), whole_number("dp_world_size", dp_world_size))
    made = StepSizes(*sizes, tail, last if own is None else whole_number("epoch_samples", own))
    made.require_step()
    return whole_number("position", position, at_least=0), whole_number("step", step, at_least=0), made


def _follows(before: _Part, part: _Part) -> bool:
    """Whether ``part`` can come after ``before``: later, by no more steps than there are between them."""
    (first, first_step, sizes), (position, step, _) = before, part
    return first < position and first_step < step <= first_step + sizes.between(first, position)
