"""Batches by position: ``position, batch_size, dp_rank -> Batch(inputs, targets)``.

Guarantee: the sample at a position depends on data and recipe only. Rank r of a step takes rows ``[r*B, (r+1)*B)`` of
the global batch, so that any batch size and any number of ranks cut one and the same stream. A state is a few
numbers. Knows no formats: what it draws from has ``num_samples``, ``gather`` and ``target_mask``.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from windrow.batch import IGNORE_INDEX, Batch
from windrow.device import check_device, to_device
from windrow.errors import NotEnoughTokensError, whole_number
from windrow.order import ORDER_VERSION, Order, PlainOrder
from windrow.state import data_of, dump_state, read_state
from windrow.steps import Segments, Sizes, Tail

if TYPE_CHECKING:
    import torch

__all__ = ["Loader", "Member"]

Int64 = NDArray[np.int64]
_AHEAD = 1 << 13  # positions of the order worked out at a time: amortizes NumPy's per-call cost


class Member(Protocol):
    """What a loader draws from: windows, or whatever else has numbered samples of ``max_length + 1`` tokens."""

    max_length: int
    num_samples: int

    @property
    def num_tokens(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def eos_id(self) -> int: ...
    def recipe(self) -> dict[str, Any]: ...
    def gather(self, ids: Int64, epoch: Int64, *, key: tuple[int, str]) -> NDArray[Any]: ...
    def target_mask(self, ids: Int64, epoch: Int64, *, key: tuple[int, str]) -> NDArray[np.bool_] | None: ...


class Loader:
    """The batches of ``data`` in a shuffled, resumable, distributed order.

    Args:
        data: ``Windows``.
        batch_size: samples per rank per step.
        seed: what the shuffle is keyed by.
        shuffle: False reads the windows in order, in every epoch.
        drop_last: True drops the samples of a pass that fill no step; False yields them in a short last batch, or
            on several ranks in batches of the usual shape whose missing rows are masked.
        epochs: 1: a ``for`` runs over the rest of one epoch, and the next ``for`` over the next; None: over an
            endless stream whose batches straddle epochs (then ``drop_last`` has nothing to drop).
        dp_rank, dp_world_size: the data-parallel coordinate, 0 of 1 unless given. Must be given where a distributed
            run is in sight.
        device: None for NumPy arrays, else a torch device.

    Iterating yields ``Batch``: inputs and targets (B, L) int64. There is one position: a second ``iter`` goes on
    from it and ends the first iterator. ``loader[step]`` is any step of the run, for this rank, and moves nothing.

    Raises ``ValueError`` for bad sizes and an unnamed rank, ``NotEnoughTokensError`` when there would be no step.
    """

    def __init__(
        self,
        data: Member,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        epochs: int | None = 1,
        dp_rank: int | None = None,
        dp_world_size: int | None = None,
        device: "str | torch.device | None" = None,
    ) -> None:
        self.dp_rank, self.dp_world_size = _coordinate(dp_rank, dp_world_size)
        self.batch_size = whole_number("batch_size", batch_size)
        self.seed, self.shuffle = whole_number("seed", seed, at_least=None), shuffle
        self.device = check_device(device)
        self._members: Mapping[str, Member] = {"": data}
        self._order: Order = PlainOrder(data.num_samples, seed=self.seed, shuffle=shuffle)
        self._sizes = Sizes(self.batch_size, self.dp_world_size, _tail(epochs, drop_last))
        if not self._sizes.steps_in(self._order.epoch_samples) and epochs is not None:
            raise NotEnoughTokensError(_no_step(self._order.epoch_samples, self._sizes))
        self._segments = Segments.begin(self._order.epoch_samples, self._sizes)
        self._position = 0
        self._iteration = 0  # the number of the iterator that may go on
        self._ahead: tuple[int, Int64] = (0, np.empty((0, 3, 0), dtype=np.int64))

    # -- iterating -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        self._iteration += 1
        return self._batches(self._iteration)

    def __len__(self) -> int:
        """Steps in a whole epoch; constant, also after a resume in the middle of one."""
        return max(1, self._sizes.steps_in(self._order.epoch_samples))

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` of the run, for this rank, with the sizes that the step had or will have."""
        if step < 0:
            raise IndexError(f"step {step}: the steps of a run count from 0, and a run has no last one")
        sizes = self._segments.sizes_of(step)
        if self.dp_rank >= sizes.dp_world_size:
            raise IndexError(f"step {step} was made by {sizes.dp_world_size} ranks, and this is rank {self.dp_rank}")
        return self._batch(self._segments.position_of(step), sizes)

    def _batches(self, iteration: int) -> Iterator[Batch]:
        epoch = self.epoch
        while iteration == self._iteration and (self._sizes.tail == "straddle" or self.epoch == epoch):
            batch = self._batch(self._position, self._sizes, look_ahead=True)
            # Moved on before the yield: a state taken in the loop's body is after this batch, also at an epoch's
            # last one, where a trainer that counts steps never comes back for StopIteration.
            self._position = self._sizes.after(self._position, 1, self._order.epoch_samples)
            yield batch

    # -- where we are ----------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The position of the next sample, counted over all ranks and epochs."""
        return self._position

    @property
    def step(self) -> int:
        """The number of the next step of the run."""
        return self._segments.step_of(self._position)

    @property
    def epoch(self) -> int:
        """The epoch that the next sample belongs to."""
        return self._position // self._order.epoch_samples

    @property
    def num_dropped(self) -> int:
        """Samples of a whole epoch that fill no step and are dropped."""
        is_drop = self._sizes.tail == "drop"
        return self._order.epoch_samples % self._sizes.global_batch if is_drop else 0

    @property
    def recipe(self) -> str:
        """Everything that fixes the order, as canonical JSON."""
        members = {name: member.recipe() for name, member in self._members.items()}
        fields = {"order": ORDER_VERSION, "seed": self.seed, "shuffle": self.shuffle, "members": members}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def state_dict(self) -> dict[str, int | str]:
        """The state, a flat dict of ints and strings, the same on every rank. See ``load_state_dict``."""
        return dump_state(self._position, self.recipe, data_of(self._members), self._segments)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the next unseen sample, whatever batch size and number of ranks the state was saved with.

        Raises ``ResumeError`` when the state is of another recipe or other data; the loader is then unchanged.
        """
        position, segments = read_state(state, self.recipe, data_of(self._members), self._order.epoch_samples)
        self._iteration += 1
        self._position = self._sizes.start(position, self._order.epoch_samples)
        self._segments = segments.changed(position, self._sizes)

    # -- making a batch --------------------------------------------------------------------------------------------

    def _batch(self, position: int, sizes: Sizes, *, look_ahead: bool = False) -> Batch:
        rows = self._rows(position, sizes, _AHEAD if look_ahead else 1)
        num_rows = self._num_rows(position, sizes)
        if num_rows < sizes.batch_size and sizes.dp_world_size == 1:
            rows = rows[:, :num_rows]  # alone, the last batch is short; ranks must stay in step, so theirs is masked
        tokens, mask = self._draw(*rows)
        if num_rows < len(tokens):
            mask = np.ones((len(tokens), tokens.shape[1] - 1), dtype=np.bool_) if mask is None else mask
            tokens[num_rows:], mask[num_rows:] = self._fill_id, False
        return self._shifted(tokens, mask)

    def _shifted(self, tokens: NDArray[Any], mask: NDArray[np.bool_] | None) -> Batch:
        inputs = tokens[:, :-1].astype(np.int64)  # (B, L)
        targets = tokens[:, 1:].astype(np.int64)  # (B, L)
        num_targets = targets.size
        if mask is not None:
            targets[~mask] = IGNORE_INDEX
            num_targets = int(np.count_nonzero(mask))
        if self.device is None:
            return Batch(inputs, targets, num_targets)
        return Batch(to_device(inputs, self.device), to_device(targets, self.device), num_targets)

    def _num_rows(self, position: int, sizes: Sizes) -> int:
        """How many of this rank's rows of the step at ``position`` lie within the pass."""
        if sizes.tail == "straddle":
            return sizes.batch_size
        left = self._order.epoch_samples - position % self._order.epoch_samples
        return min(max(left - self.dp_rank * sizes.batch_size, 0), sizes.batch_size)

    def _rows(self, position: int, sizes: Sizes, ahead: int) -> Int64:
        """Member, window and epoch, (3, B), of this rank's rows of the step at ``position``."""
        first, rows = self._ahead
        step, off = divmod(position - first, sizes.global_batch)
        if off or not 0 <= step < len(rows) or sizes != self._sizes:
            num_steps = max(1, ahead // sizes.batch_size)
            steps = position + np.arange(num_steps, dtype=np.int64) * sizes.global_batch
            mine = self.dp_rank * sizes.batch_size + np.arange(sizes.batch_size, dtype=np.int64)
            flat = np.stack(self._order.at((steps[:, None] + mine).reshape(-1)))  # (3, num_steps * B)
            rows = flat.reshape(3, num_steps, sizes.batch_size).transpose(1, 0, 2)  # (num_steps, 3, B)
            step = 0
            if num_steps > 1:
                self._ahead = (position, rows)
        found: Int64 = rows[step]
        return found

    def _draw(self, member: Int64, window: Int64, epoch: Int64) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """The tokens (B, L + 1) of the samples, and which targets count, (B, L), or None when all do."""
        ((name, only),) = self._members.items()
        key = (self.seed, name)
        return only.gather(window, epoch, key=key), only.target_mask(window, epoch, key=key)

    @property
    def _fill_id(self) -> int:
        return next(iter(self._members.values())).eos_id


def _coordinate(dp_rank: int | None, dp_world_size: int | None) -> tuple[int, int]:
    """The data-parallel coordinate; a distributed run in sight must name it, or every rank reads the same data."""
    in_sight = _world_in_sight()
    if in_sight and (dp_rank is None or dp_world_size is None):
        world, where = in_sight
        raise ValueError(
            f"{where} says that {world} ranks run, and dp_rank={dp_rank}, dp_world_size={dp_world_size}: every rank "
            "would read the same data. Give Loader(..., dp_rank=, dp_world_size=) this rank's data-parallel "
            "coordinate, or dp_rank=0, dp_world_size=1 if it shall read everything."
        )
    rank = whole_number("dp_rank", 0 if dp_rank is None else dp_rank, at_least=0)
    size = whole_number("dp_world_size", 1 if dp_world_size is None else dp_world_size)
    if rank >= size:
        raise ValueError(f"dp_rank is {rank}, and a world of {size} has ranks 0 to {size - 1}")
    return rank, size


def _world_in_sight() -> tuple[int, str] | None:
    from_environment = os.environ.get("WORLD_SIZE", "")
    if from_environment.isdigit() and int(from_environment) > 1:
        return int(from_environment), f"the environment (WORLD_SIZE={from_environment})"
    distributed = sys.modules.get("torch.distributed")  # not imported: then no process group can be there
    if distributed and distributed.is_available() and distributed.is_initialized():
        world = distributed.get_world_size()
        return (world, "torch.distributed's process group") if world > 1 else None
    return None


def _tail(epochs: int | None, drop_last: bool) -> Tail:
    if epochs is None:
        return "straddle"
    if epochs != 1:
        raise ValueError(
            f"epochs is {epochs!r}, and it is 1 (a for loop is one epoch) or None (the endless stream). For several "
            "epochs, loop several times: each loop is the next epoch, reshuffled."
        )
    return "drop" if drop_last else "keep"


def _no_step(num_samples: int, sizes: Sizes) -> str:
    need = f"batch_size {sizes.batch_size} * dp_world_size {sizes.dp_world_size} = {sizes.global_batch}"
    remedies = ["drop_last=False (1 short step)", "a smaller stride or max_length", "more text"]
    if num_samples >= sizes.dp_world_size:
        remedies.insert(0, f"batch_size <= {num_samples // sizes.dp_world_size}")
    return (
        f"the data has {num_samples} samples, and one step takes {need}, so with drop_last=True an epoch would have no "
        f"step. Use {', or '.join(remedies)}."
    )
