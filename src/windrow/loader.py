"""Batches by position: ``position, batch_size, dp_rank -> Batch(inputs, targets)``.

Guarantee: the sample at a position depends on data and recipe only. Rank r of a step takes rows ``[r*B, (r+1)*B)``
of the global batch, so that any batch size and any number of ranks cut one and the same stream. A state is a few
numbers. Knows no formats: see ``windrow.member`` for what it draws from.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from windrow.batch import IGNORE_INDEX, Batch
from windrow.device import check_device, to_device
from windrow.draw import Draw, all_count
from windrow.errors import NotEnoughTokensError, ResumeError, WindrowError, whole_number
from windrow.evaluation import EvaluationWindows
from windrow.exclusions import Exclusion
from windrow.member import Member
from windrow.mixture import Mixture
from windrow.order import ORDER_VERSION, Order, PlainOrder
from windrow.ranks import coordinate
from windrow.state import data_of, dump_state, read_state
from windrow.steps import Segments, Sizes, tail_of
from windrow.windows import Windows

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

__all__ = ["Loader", "Sample"]

Int64 = NDArray[np.int64]
_AHEAD = 1 << 13  # positions of the order worked out at a time: amortizes NumPy's per-call cost


class Sample(NamedTuple):
    """One row of a step: which window of which member it is, and in which epoch of that member."""

    position: int
    member: str
    window: int
    epoch: int


class Loader:
    """The batches of ``data`` in a shuffled, resumable, distributed order.

    Args:
        data: ``Windows``, or a ``Mixture`` of them.
        batch_size: samples per rank per step.
        seed: what the shuffle is keyed by, any whole number.
        shuffle: False reads the windows in order, in every epoch.
        shuffle_block: permute blocks of so many windows, and the windows within each block, instead of all windows:
            for a store on a slow disk or far away. Costs randomness; see docs/order.md.
        drop_last: True drops the samples of a pass that fill no step; False yields them in a short last batch, or on
            several ranks in batches of the usual shape whose missing rows are masked.
        epochs: 1: a ``for`` runs over the rest of one epoch, and the next ``for`` over the next; None: over an
            endless stream whose batches straddle epochs (then ``drop_last`` has nothing to drop).
        dp_rank, dp_world_size: the data-parallel coordinate, 0 of 1 unless given; must be given where a distributed
            run is in sight.
        device: None for NumPy arrays, else a torch device.

    Iterating yields ``Batch``: inputs and targets (batch_size, max_length) int64. There is one position: a second
    ``iter`` goes on from it and ends the first iterator. ``loader[step]`` is any step of the run, for this rank, and
    moves nothing.

    Raises ``ValueError`` for bad sizes and an unnamed rank, ``NotEnoughTokensError`` when there would be no step.
    """

    def __init__(
        self,
        data: Member | Mixture,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_block: int | None = None,
        drop_last: bool = True,
        epochs: int | None = 1,
        dp_rank: int | None = None,
        dp_world_size: int | None = None,
        device: "str | torch.device | None" = None,
    ) -> None:
        self.dp_rank, self.dp_world_size = coordinate(dp_rank, dp_world_size)
        self.batch_size = whole_number("batch_size", batch_size)
        self.seed, self.shuffle = whole_number("seed", seed, at_least=None), shuffle
        self.shuffle_block = None if shuffle_block is None else whole_number("shuffle_block", shuffle_block)
        self.device = check_device(device)
        self._mixture = data if isinstance(data, Mixture) else None
        self._members: dict[str, Member] = data.members if isinstance(data, Mixture) else {"": data}
        self._order = self._make_order(data)
        self._sizes = Sizes(self.batch_size, self.dp_world_size, tail_of(epochs, drop_last))
        if epochs is not None and not self._sizes.steps_in(self._order.epoch_samples):
            raise NotEnoughTokensError(_no_step(self._order.epoch_samples, self._sizes))
        self._draw = Draw(self._members, self.seed, self._mixture.max_repeats if self._mixture else None)
        self._check_repeats()
        self._segments = Segments.begin(self._order.epoch_samples, self._sizes)
        self._excluded: list[Exclusion] = []
        self._position = 0
        self._iteration = 0  # the number of the iterator that may go on
        self._ahead: tuple[int, Int64] = (0, np.empty((0, 3, 0), dtype=np.int64))

    @classmethod
    def evaluation(
        cls,
        windows: Windows,
        batch_size: int,
        *,
        dp_rank: int | None = None,
        dp_world_size: int | None = None,
        device: "str | torch.device | None" = None,
    ) -> Self:
        """A loader that scores each of the n - 1 targets of the store exactly once, in the store's own order.

        At ``stride < max_length`` the overlap is context only, its targets -100; the last window is padded. The set
        of targets is the same for any batch size and number of ranks: sum the losses, divide by the sum of
        ``num_targets`` over all. Raises ``ValueError`` at ``stride > max_length``.
        """
        return cls(
            EvaluationWindows(windows),
            batch_size,
            shuffle=False,
            drop_last=False,
            dp_rank=dp_rank,
            dp_world_size=dp_world_size,
            device=device,
        )

    # -- iterating -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self._receive(self._batch(at, self._sizes, self.device, _AHEAD) for at in self._positions_to_come())

    def __len__(self) -> int:
        """Steps in a whole epoch; constant, also after a resume in the middle of one."""
        return max(1, self._sizes.steps_in(self._order.epoch_samples))

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` of the run, for this rank, with the sizes that the step had or will have."""
        return self._batch(*self._place(step), self.device)

    def lookup(self, step: int) -> list[Sample]:
        """Which samples ``step`` holds for this rank, a ``Sample`` for each row; costs no reading."""
        position, sizes = self._place(step)
        names = list(self._members)
        rows = self._rows(position, sizes, 1)[:, : self._num_rows(position, sizes)]  # (3, B)
        first = position + self.dp_rank * sizes.batch_size
        return [
            Sample(first + i, names[member], window, epoch) for i, (member, window, epoch) in enumerate(rows.T.tolist())
        ]

    def positions_of(self, window: int, epoch: int = 0, *, member: str = "") -> int:
        """The position at which ``member`` shows ``window`` in its ``epoch``: undoes ``lookup``; -1 is never."""
        number = list(self._members).index(member)
        return int(self._order.positions_of(number, np.array([window]), np.array([epoch]))[0])

    def dataloader(self, num_workers: int = 0, *, pin_memory: bool = False) -> "DataLoader[Batch]":
        """A ``torch.utils.data.DataLoader`` over the same stream: one item is one batch of CPU tensors.

        It has ``state_dict`` and ``load_state_dict``, which are this loader's: they count what has been received, not
        what workers have fetched ahead.
        """
        from windrow.torch_loader import StepDataLoader

        return StepDataLoader(self, num_workers=num_workers, pin_memory=pin_memory)

    def _positions_to_come(self) -> Iterator[int]:
        """Where the steps from here to the end of the pass start; moves nothing."""
        position, epoch_samples = self._position, self._order.epoch_samples
        epoch = position // epoch_samples
        while self._sizes.tail == "straddle" or position // epoch_samples == epoch:
            yield position
            position = self._sizes.after(position, 1, epoch_samples)

    def _receive(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """``batches`` of the steps to come, as they reach the user: the position moves on with each."""
        self._iteration += 1
        return self._received(batches, self._iteration)

    def _received(self, batches: Iterator[Batch], iteration: int) -> Iterator[Batch]:
        while iteration == self._iteration and (batch := next(batches, None)) is not None:
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
        return self._order.epoch_samples % self._sizes.global_batch if self._sizes.tail == "drop" else 0

    @property
    def recipe(self) -> str:
        """Everything that fixes the order, as canonical JSON."""
        fields = {
            "order": ORDER_VERSION,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shuffle_block": self.shuffle_block,
            "members": {name: member.recipe() for name, member in self._members.items()},
            "mixture": self._mixture.recipe() if self._mixture else None,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def shares(self, num_samples: int | None = None) -> dict[str, dict[str, float]]:
        """What the first ``num_samples`` of the stream (an epoch unless given) draw from each member, before training.

        By name: ``samples``, ``share`` of all samples, and ``repeats``, how many epochs of its own that is.
        """
        total = self._order.epoch_samples if num_samples is None else num_samples
        counts = zip(self._members.items(), self._order.samples_before(total), strict=True)
        return {
            name: {"samples": count, "share": count / total, "repeats": count / member.num_samples}
            for (name, member), count in counts
        }

    def state_dict(self) -> dict[str, int | str]:
        """The state, a flat dict of ints and strings, the same on every rank. See ``load_state_dict``."""
        return dump_state(self._position, self.recipe, data_of(self._members), self._segments, self._excluded)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the next unseen sample, whatever batch size and number of ranks the state was saved with.

        What the saved run excluded is excluded here too; call ``exclude`` after loading, not before. Raises
        ``ResumeError`` when the state is of another recipe or other data; the loader is then unchanged.
        """
        if self._excluded:
            raise ResumeError("exclude() was called before load_state_dict(), which would undo it. Load first.")
        position, segments, excluded = read_state(state, self.recipe, data_of(self._members), self._order.epoch_samples)
        self._iteration += 1
        self._position = self._sizes.start(position, self._order.epoch_samples)
        self._segments, self._excluded = segments.changed(position, self._sizes), excluded

    def skip(self, num_samples: int) -> None:
        """Pass over the next ``num_samples`` of the global stream, after a loss spike, say; steps count on."""
        to = self._position + whole_number("num_samples", num_samples, at_least=0)
        self._iteration += 1
        self._segments = self._segments.jumped(self._position, to, self._sizes)
        self._position = self._sizes.start(to, self._order.epoch_samples)

    def exclude(self, *, documents: Iterable[int] = (), windows: Iterable[int] = (), member: str = "") -> None:
        """From here on, mask all targets of each sample that touches one of ``documents`` or is one of ``windows``.

        Nothing moves: a masked sample keeps its position. The state logs it, the recipe does not change, and steps
        before this position stay what they were. ``member`` names one of a mixture's.
        """
        if member not in self._members:
            raise WindrowError(f"there is no member {member!r} to exclude from. Members: {list(self._members)}.")
        self._excluded.append(Exclusion.of(self._position, member, documents, windows))

    # -- making a batch --------------------------------------------------------------------------------------------

    def _make_order(self, data: Member | Mixture) -> Order:
        keyed: dict[str, Any] = {"seed": self.seed, "shuffle": self.shuffle, "shuffle_block": self.shuffle_block}
        return data.order(**keyed) if isinstance(data, Mixture) else PlainOrder(data.num_samples, **keyed)

    def _place(self, step: int) -> tuple[int, Sizes]:
        if step < 0:
            raise IndexError(f"step {step}: the steps of a run count from 0, and a run has no last one")
        sizes = self._segments.sizes_of(step)
        if self.dp_rank >= sizes.dp_world_size:
            raise IndexError(f"step {step} was made by {sizes.dp_world_size} ranks, and this is rank {self.dp_rank}")
        return self._segments.position_of(step), sizes

    def _batch(self, position: int, sizes: Sizes, device: "torch.device | None", ahead: int = 1) -> Batch:
        rows = self._rows(position, sizes, ahead)  # (3, B)
        num_rows = self._num_rows(position, sizes)
        if sizes.dp_world_size == 1:
            rows = rows[:, :num_rows]  # alone, the last batch is short; ranks must stay in step, so theirs is masked
        tokens, mask = self._draw.tokens(rows)
        if self._excluded or num_rows < len(tokens):
            positions = position + self.dp_rank * sizes.batch_size + np.arange(len(tokens))
            hidden = self._draw.hidden(positions, rows, self._excluded) | (np.arange(len(tokens)) >= num_rows)
            tokens[num_rows:] = next(iter(self._members.values())).eos_id
            mask = all_count(tokens) if mask is None else mask
            mask[hidden] = False
        return _shifted(tokens, mask, device)

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

    def _check_repeats(self) -> None:
        cap = self._mixture.max_repeats if self._mixture else None
        for name, row in self.shares().items():
            if cap is not None and row["repeats"] > cap:
                raise WindrowError(
                    f"an epoch of the mixture draws {row['samples']} samples from {name!r}, {row['repeats']:.2f} times "
                    f"its {self._members[name].num_samples}, and max_repeats is {cap}. Lower its weight or "
                    "epoch_samples, raise max_repeats, or add data."
                )


def _shifted(tokens: NDArray[Any], mask: NDArray[np.bool_] | None, device: "torch.device | None") -> Batch:
    """Tokens (B, L + 1) as inputs and targets."""
    inputs = tokens[:, :-1].astype(np.int64)  # (B, L)
    targets = tokens[:, 1:].astype(np.int64)  # (B, L)
    num_targets = targets.size
    if mask is not None:
        targets[~mask] = IGNORE_INDEX
        num_targets = int(np.count_nonzero(mask))
    if device is None:
        return Batch(inputs, targets, num_targets)
    return Batch(to_device(inputs, device), to_device(targets, device), num_targets)


def _no_step(num_samples: int, sizes: Sizes) -> str:
    need = f"batch_size {sizes.batch_size} * dp_world_size {sizes.dp_world_size} = {sizes.global_batch}"
    remedies = ["drop_last=False (1 short step)", "a smaller stride or max_length", "more text"]
    if num_samples >= sizes.dp_world_size:
        remedies.insert(0, f"batch_size <= {num_samples // sizes.dp_world_size}")
    return (
        f"the data has {num_samples} samples, and one step takes {need}, so with drop_last=True an epoch would have no "
        f"step. Use {', or '.join(remedies)}."
    )
