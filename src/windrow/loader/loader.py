"""Batches by position: ``position, batch_size, dp_rank -> Batch(inputs, targets)``.

Guarantee: the sample at a position depends on data and recipe only. Rank r of a step takes rows ``[r*B, (r+1)*B)``
of the global batch, so that any batch size and any number of ranks cut one and the same stream. A state is a few
numbers. Knows no formats: see ``windrow.windows.member`` for what it draws from.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from windrow.batches.batch import Batch
from windrow.batches.boundaries import Boundaries, MaskTargets
from windrow.batches.delivery import check_device
from windrow.errors import ResumeError, WindrowError, whole_number
from windrow.loader.batch_maker import Blocks, Maker
from windrow.loader.exclusions import Exclusion
from windrow.loader.meter import Meter
from windrow.loader.ranks import coordinate
from windrow.loader.samples import Place, Sample
from windrow.loader.state import data_of, dump_state, read_state
from windrow.look.explain import Explanation, explain
from windrow.order.order import Order, PlainOrder
from windrow.order.permutation import ORDER_VERSION
from windrow.order.steps import Segments, Sizes, tail_of
from windrow.windows.evaluation import EvaluationWindows
from windrow.windows.member import Member
from windrow.windows.mixture import Mixture
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

__all__ = [
    "Loader",
]

Int64 = NDArray[np.int64]


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
        dtype: of inputs and targets: int64, int32, or the store's own where no target can be masked: -100 needs a
            sign.
        prefetch: steps that a thread reads ahead, 0 for none: hides page faults and cold disks; same stream and state.
        resident: keep the tokens on the device and gather there: for stores that fit in its memory.
        outputs: names of what else each batch shall have as attributes: "document_ids", "position_ids", "cu_seqlens",
            "max_seqlen", and with a device "block_mask" and "dense_mask"; see ``Batch``. They change no sample.
        mask_targets: "document_edges" masks each target that is the first token of another document than its input's.
            It changes targets, so it is part of the recipe.

    Iterating yields ``Batch``: inputs and targets (batch_size, max_length). There is one position: a second
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
        dtype: DTypeLike = np.int64,
        prefetch: int = 0,
        resident: bool = False,
        outputs: Collection[str] = (),
        mask_targets: MaskTargets | None = None,
    ) -> None:
        if not hasattr(data, "max_length"):
            raise ValueError(
                f"a loader draws from Windows or a Mixture of them, and this is a {type(data).__name__}. Give "
                "Loader(Windows(store, max_length=256), ...)."
            )
        self.dp_rank, self.dp_world_size = coordinate(dp_rank, dp_world_size)
        self.batch_size = whole_number("batch_size", batch_size)
        self.seed, self.shuffle = whole_number("seed", seed, at_least=None), bool(shuffle)
        self.shuffle_block = None if shuffle_block is None else whole_number("shuffle_block", shuffle_block)
        self.device = check_device(device)
        self._mixture = data if isinstance(data, Mixture) else None
        self._members: dict[str, Member] = data.members if isinstance(data, Mixture) else {"": data}
        self._max_length = data.max_length
        self._order = self._make_order(data)
        self._sizes = Sizes(self.batch_size, self.dp_world_size, tail_of(epochs, drop_last))
        self._sizes.require_step(self._order.epoch_samples)
        if self._mixture:
            self._mixture.check_repeats({name: int(row["samples"]) for name, row in self.shares().items()})
        self._segments = Segments.begin(self._order.epoch_samples, self._sizes)
        self._excluded: list[Exclusion] = []
        self._own: list[Exclusion] = []  # of these, the ones that were asked for here, not loaded
        self._resident = resident
        self._position = 0
        self._iteration = 0  # the number of the iterator that may go on
        self._revision = 0  # how often what is to come was changed by skip() or exclude()
        self._meter = Meter()
        self._prefetch = whole_number("prefetch", prefetch, at_least=0)
        on_device = self.device is not None
        self._boundaries = Boundaries(outputs, mask_targets, self._members.values(), on_device=on_device)
        self._maker = Maker(
            self._order,
            self._members,
            self._boundaries,
            seed=self.seed,
            dp_rank=self.dp_rank,
            max_repeats=self._mixture.max_repeats if self._mixture else None,
            device=self.device,
            dtype=self._checked(np.dtype(dtype)),
            resident=resident,
        )

    @classmethod
    def evaluation(
        cls,
        windows: Windows,
        batch_size: int,
        *,
        dp_rank: int | None = None,
        dp_world_size: int | None = None,
        device: "str | torch.device | None" = None,
        outputs: Collection[str] = (),
        mask_targets: MaskTargets | None = None,
    ) -> Self:
        """A loader that scores each of the n - 1 targets of the store exactly once, in the store's own order.

        At ``stride < max_length`` the overlap is context only, its targets -100; the last window is padded. The set
        of targets is the same for any batch size and number of ranks: sum the losses, divide by the sum of
        ``num_targets`` over all. What ``mask_targets`` masks is not scored. Raises ``ValueError`` at ``stride >
        max_length``.
        """
        return cls(
            EvaluationWindows(windows),
            batch_size,
            shuffle=False,
            drop_last=False,
            dp_rank=dp_rank,
            dp_world_size=dp_world_size,
            device=device,
            outputs=outputs,
            mask_targets=mask_targets,
        )

    def __repr__(self) -> str:
        return (
            f"Loader({len(self)} steps an epoch of {self._order.epoch_samples} samples, next: step {self.step} in "
            f"epoch {self.epoch}, batch_size={self.batch_size}, dp_rank={self.dp_rank} of {self.dp_world_size}, "
            f"members={list(self._members.values())})"
        )

    # -- iterating -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self._receive(lambda: self._maker.blocks(self._position, self._sizes, self._excluded, self._prefetch))

    def __len__(self) -> int:
        """Steps in a whole epoch; constant, also after a resume in the middle of one."""
        return max(1, self._sizes.steps_in(self._order.epoch_samples))

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` of the run, for this rank, with the sizes that the step had or will have."""
        return self._maker.batch(*self._place(step), self._excluded)

    def lookup(self, step: int) -> list[Sample]:
        """Which samples ``step`` holds for this rank, a ``Sample`` for each row; costs no reading."""
        position, sizes = self._place(step)
        names = list(self._members)
        rows = self._maker.rows.at(position, sizes)[:, : self._maker.rows.num_within(position, sizes)]  # (3, B)
        first = position + self.dp_rank * sizes.batch_size
        return [
            Sample(first + i, names[member], window, epoch) for i, (member, window, epoch) in enumerate(rows.T.tolist())
        ]

    def samples_at(self, first: int, count: int) -> list[Sample]:
        """The samples at ``count`` positions from ``first`` on, over all ranks: the stream before it is cut."""
        whole_number("first", first, at_least=0)
        names, positions = list(self._members), np.arange(first, first + count, dtype=np.int64)
        rows = zip(positions.tolist(), *(part.tolist() for part in self._order.at(positions)), strict=True)
        return [Sample(position, names[member], window, epoch) for position, member, window, epoch in rows]

    def positions_of(self, window: int, epoch: int = 0, *, member: str = "") -> int:
        """The position at which ``member`` shows ``window`` in its ``epoch``: undoes ``lookup``; -1 is never."""
        return self.places_of(np.array([window]), epoch, member=member)[0].position

    def places_of(self, windows: Int64, epoch: int, *, member: str = "") -> list[Place]:
        """Where ``member`` shows each of ``windows`` (B,) in its ``epoch``: by the inverse of the order, no search."""
        number, windows = self._number_of(member), np.asarray(windows, dtype=np.int64)
        num_samples, epoch = self._members[member].num_samples, whole_number("epoch", epoch, at_least=0)
        if len(windows) and not (windows.min() >= 0 and windows.max() < num_samples):
            raise IndexError(
                f"windows {windows.min()} to {windows.max()} of {num_samples}, which are 0 to {num_samples - 1}"
            )
        positions = self._order.positions_of(number, windows, np.full(len(windows), epoch)).tolist()
        found = (self._segments.place_of(position) if position >= 0 else None for position in positions)
        return [Place(p, *(place or (None, 0, 0))) for p, place in zip(positions, found, strict=True)]

    def explain(self, step: int) -> Explanation:
        """What ``step`` is for this rank: each token, its target, document, source; rich HTML in a notebook."""
        return explain(self, step)

    def dataloader(self, num_workers: int = 0, *, pin_memory: bool = False) -> "DataLoader[Batch]":
        """A ``torch.utils.data.DataLoader`` over the same stream: one item is one batch of CPU tensors.

        It has ``state_dict`` and ``load_state_dict``, which are this loader's: they count what has been received, not
        what workers have fetched ahead.
        """
        if self._resident:
            raise WindrowError(
                "resident=True keeps the tokens on the device, where workers cannot be. Iterate over the loader "
                "itself, which needs no workers, or make it with resident=False."
            )
        from windrow.batches.dataloader import StepDataLoader

        return StepDataLoader(self, num_workers=num_workers, pin_memory=pin_memory)

    def _receive(self, make_blocks: Callable[[], Blocks]) -> Iterator[Batch]:
        """Batches as they reach the user; the position moves on with each."""
        self._iteration += 1
        return self._received(make_blocks, self._iteration)

    def _received(self, make_blocks: Callable[[], Blocks], iteration: int) -> Iterator[Batch]:
        revision, epoch = -1, self.epoch
        while revision != self._revision:  # skip() or exclude() was called: what was made ahead is no longer right
            revision, asked = self._revision, perf_counter()
            for position, batch in chain.from_iterable(make_blocks()):
                if iteration != self._iteration:
                    return
                if revision != self._revision:
                    break  # and go on from where we are now, if that is still within this pass
                # Moved on before the yield: a state taken in the loop's body is after this batch, also at an epoch's
                # last one, where a trainer that counts steps never comes back for StopIteration.
                self._position = position
                given = perf_counter()
                self._meter.count(given - asked)
                yield batch
                asked = perf_counter()
                self._meter.work_seconds += asked - given
            else:
                return
            if self._sizes.tail != "straddle" and self.epoch != epoch:
                return

    # -- where we are ----------------------------------------------------------------------------------------------

    @property
    def members(self) -> Mapping[str, Member]:
        """What is drawn from, by name; a plain loader's only member is ``""``."""
        return MappingProxyType(self._members)

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
    def epoch_samples(self) -> int:
        """Samples in an epoch, over all ranks."""
        return self._order.epoch_samples

    @property
    def num_dropped(self) -> int:
        """Samples of a whole epoch that fill no step and are dropped."""
        return self._order.epoch_samples % self._sizes.global_batch if self._sizes.tail == "drop" else 0

    @property
    def recipe(self) -> str:
        """Everything that fixes the order, as canonical JSON."""
        fields: dict[str, Any] = {
            "order": ORDER_VERSION,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shuffle_block": self.shuffle_block,
            "members": {name: member.recipe() for name, member in self._members.items()},
            "mixture": self._mixture.recipe() if self._mixture else None,
        }
        if self._boundaries.mask_targets:
            fields["mask_targets"] = self._boundaries.mask_targets
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def shares(self, num_samples: int | None = None) -> dict[str, dict[str, float]]:
        """What the first ``num_samples`` of the stream (an epoch unless given) draw from each member, before training.

        By name: ``samples``, ``share`` of all samples, and ``repeats``, how many epochs of its own that is.
        """
        total = self._order.epoch_samples if num_samples is None else whole_number("num_samples", num_samples)
        counts = zip(self._members.items(), self._order.samples_before(total), strict=True)
        return {
            name: {"samples": count, "share": count / total, "repeats": count / member.num_samples}
            for (name, member), count in counts
        }

    def stats(self) -> dict[str, float | str]:
        """How long the loop waited for data: seconds, share, tokens per second of waiting, and a verdict."""
        return self._meter.stats(self.batch_size * self._max_length)

    def state_dict(self) -> dict[str, int | str]:
        """The state, a flat dict of ints and strings, the same on every rank. See ``load_state_dict``."""
        return dump_state(self._position, self.recipe, data_of(self._members), self._segments, self._excluded)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the next unseen sample, whatever batch size and number of ranks the state was saved with.

        What the saved run excluded is excluded here too; call ``exclude`` after loading, not before. Raises
        ``ResumeError`` when the state is of another recipe or other data; the loader is then unchanged.
        """
        position, segments, excluded = read_state(state, self.recipe, data_of(self._members), self._order.epoch_samples)
        if lost := [one for one in self._own if one not in excluded]:
            raise ResumeError(
                f"exclude() was called on this loader ({len(lost)} times) and the state does not know of it, so "
                "loading would undo it. Load into a new loader, then exclude."
            )
        if excluded and self._maker.dtype.kind == "u":
            raise ResumeError(
                f"the state excludes samples, and dtype {self._maker.dtype} cannot hold -100. Use dtype='int32'."
            )
        self._iteration += 1
        self._position = self._sizes.start(position, self._order.epoch_samples)
        self._segments, self._excluded, self._own = segments.changed(position, self._sizes), excluded, []

    def skip(self, num_samples: int) -> None:
        """Pass over the next ``num_samples`` of the global stream, after a loss spike, say; steps count on."""
        to = self._position + whole_number("num_samples", num_samples, at_least=0)
        self._revision += 1
        self._segments = self._segments.jumped(self._position, to, self._sizes)
        self._position = self._sizes.start(to, self._order.epoch_samples)

    def exclude(self, *, documents: Iterable[int] = (), windows: Iterable[int] = (), member: str = "") -> None:
        """From here on, mask all targets of each sample that touches one of ``documents`` or is one of ``windows``.

        Nothing moves: a masked sample keeps its position. The state logs it, the recipe does not change, and steps
        before this position stay what they were. ``member`` names one of a mixture's.
        """
        if self._maker.dtype.kind == "u":
            raise WindrowError(
                f"dtype {self._maker.dtype} cannot hold -100. Make the loader with dtype='int32' or 'int64'."
            )
        self._number_of(member)
        one = Exclusion.of(self._position, member, documents, windows)
        self._require_there(self._members[member], one)
        self._revision += 1
        self._excluded.append(one)
        self._own.append(one)

    # -- checks --------------------------------------------------------------------------------------------

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

    def _number_of(self, member: str) -> int:
        if member not in self._members:
            raise WindrowError(f"there is no member {member!r}. Members: {list(self._members)}.")
        return list(self._members).index(member)

    def _require_there(self, member: Member, one: Exclusion) -> None:
        if isinstance(member, EvaluationWindows):
            raise WindrowError("an evaluation scores every target once, so nothing can be excluded from it")
        num_documents = member.store.num_documents if isinstance(member, Windows) else None
        for name, numbers, count in (
            ("window", one.windows, member.num_samples),
            ("document", one.documents, num_documents),
        ):
            if count is not None and numbers and numbers[-1] >= count:
                raise WindrowError(f"there is no {name} {numbers[-1]} to exclude: they are 0 to {count - 1}")

    def _checked(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        narrow = np.result_type(*(member.dtype for member in self._members.values()))
        if dtype not in (np.int64, np.int32, narrow):
            raise ValueError(f"dtype is {dtype}, and batches are int64, int32 or the store's own {narrow}")
        short_ranks = self._sizes.tail == "keep" and self.dp_world_size > 1
        may_mask = short_ranks or self._boundaries.mask_targets
        if dtype == narrow and (may_mask or any(member.may_mask for member in self._members.values())):
            raise ValueError(
                f"dtype {dtype} cannot hold -100, and some targets here do not count (padding, another document's "
                "token, or ranks with drop_last=False). Use dtype='int32' or 'int64'."
            )
        return dtype
