"""Batches by position: ``position, batch_size, dp_rank -> Batch(inputs, targets)``.

Guarantee: the sample at a position depends on data and recipe only. Rank r of a step takes rows ``[r*B, (r+1)*B)``
of the global batch, so that any batch size and any number of ranks cut one and the same stream. A state is a few
numbers. Knows no formats.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from windrow.arrays import Int64
from windrow.batches.batch import Batch
from windrow.batches.boundaries import Boundaries, MaskTargets
from windrow.batches.delivery import check_device, check_dtype
from windrow.errors import Fixed, WindrowError, whole_number
from windrow.loader.batch_maker import BatchMaker
from windrow.loader.exclusions import Exclusion
from windrow.loader.ranks import coordinate
from windrow.loader.recipe import Recipe
from windrow.loader.run_file import write_run
from windrow.loader.samples import Place, Sample, Samples
from windrow.loader.stream import StepSource, Stream
from windrow.order.steps import StepSizes, tail_of
from windrow.windows.mixture import InTurn, Mixture
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

__all__ = ["Loader"]


class Loader(Fixed):
    """The batches of ``data`` in a shuffled, resumable, distributed order.

    Args:
        data: ``Windows``, or a ``Mixture`` of them.
        batch_size: samples per rank per step.
        seed: the key of the shuffle, any whole number.
        shuffle: False reads the windows in order, in every epoch.
        shuffle_block: permute blocks of this many windows, and the windows within each block, instead of all windows:
            for a store on a slow disk or far away. The shuffle is weaker then; see docs/order.md.
        drop_last: True drops the last samples of an epoch if they do not fill a step. False yields them in a short last
            batch, or, on several ranks, in batches of the usual shape whose missing rows are masked.
        epochs: with 1, each ``for`` runs over one epoch, or what is left of it. With None, a ``for`` runs over an
            endless stream whose batches straddle epochs (then ``drop_last`` has nothing to drop).
        dp_rank: the number of this rank, 0 by default. Give it, and ``dp_world_size``, if a distributed run is detected
            when the loader is made or at any ``iter``.
        dp_world_size: the number of ranks, 1 by default.
        device: None for NumPy arrays, else a torch device.
        dtype: of inputs and targets: int64, int32, or the store's own if no target can be masked (-100 needs a sign).
        prefetch: steps that a thread reads ahead, 0 for none. It hides page faults and cold disks; stream and state
            stay.
        resident: keep the tokens on the device and gather there, for stores that fit in its memory.
        outputs: names of further attributes of each batch: "document_ids", "position_ids", "cu_seqlens", "max_seqlen",
            "member_ids", "num_bytes", and with a device "block_mask" and "dense_mask"; see ``Batch``. They change no
            sample.
        mask_targets: "document_edges" masks each target that lies in another document than its input. It changes
            targets, so it is part of the recipe.

    Iterating yields ``Batch``: inputs and targets (batch_size, max_length). There is one position: a second ``iter``
    continues from it and ends the first iterator. ``loader[step]`` is any step of the run, for this rank, and moves
    nothing. The arguments of a loader are read-only attributes.

    Raises ``ValueError`` for bad sizes and a missing rank, ``NotEnoughTokensError`` if there would be no step.
    """

    def __init__(
        self,
        data: Windows | Mixture | InTurn,
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
        self._recipe = Recipe.of(data, seed, shuffle, shuffle_block, mask_targets)
        self.data: Mixture | InTurn = self._recipe.data
        self.seed: int = self._recipe.seed
        self.shuffle: bool = self._recipe.shuffle
        self.shuffle_block: int | None = self._recipe.shuffle_block
        self.is_evaluation: bool = self._recipe.is_evaluation
        self.dp_rank: int
        self.dp_world_size: int
        self.dp_rank, self.dp_world_size = coordinate(dp_rank, dp_world_size)
        self.batch_size: int = whole_number("batch_size", batch_size)
        self.device: torch.device | None = check_device(device)
        self.samples: Samples = Samples(self._recipe.order(), self.members, self.dp_rank)
        tail = tail_of(epochs, drop_last)
        sizes = StepSizes(self.batch_size, self.dp_world_size, tail, self._recipe.data.epoch_samples)
        sizes.require_step()
        self._resident, self._prefetch = resident, whole_number("prefetch", prefetch, at_least=0)
        short_ranks, members = sizes.tail == "keep" and self.dp_world_size > 1, self.members.values()
        may_mask = short_ranks or bool(mask_targets) or any(member.may_mask for member in members)
        given = check_dtype(dtype, np.result_type(*(member.dtype for member in members)), may_mask)
        boundaries = Boundaries(outputs, mask_targets, members, on_device=self.device is not None)
        asked: dict[str, Any] = {"device": self.device, "dtype": given, "resident": resident}
        self._maker = BatchMaker(self._recipe, self.samples, boundaries, **asked)
        self._stream = Stream(self._recipe, self._maker, self.samples, sizes, (dp_rank, dp_world_size))
        if isinstance(data, Mixture):
            data.check_repeats(self.samples.order.samples_before(self.epoch_samples))

    @classmethod
    def evaluation(
        cls,
        data: Windows | Mixture,
        batch_size: int,
        *,
        dp_rank: int | None = None,
        dp_world_size: int | None = None,
        device: "str | torch.device | None" = None,
        outputs: Collection[str] = (),
        mask_targets: MaskTargets | None = None,
    ) -> Self:
        """A loader that scores each of the n - 1 targets of a store exactly once, in the store's own order.

        The members of a mixture come one after another, in the order in which they were given, whatever their weights.
        Each ``iter`` begins at the first batch, but for the first one after ``load_state_dict``.

        At ``stride < max_length`` the overlap is context only, its targets -100; the last window is padded. The set
        of targets is the same for any batch size and number of ranks: sum the losses, divide by the sum of
        ``num_targets`` over all. What ``mask_targets`` masks, or the store's counts do, is not scored. Raises
        ``ValueError`` at ``stride > max_length``.
        """
        return cls(
            data.evaluation(),
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
            f"Loader({len(self)} steps an epoch of {self.epoch_samples} samples, next: step {self.step} in "
            f"epoch {self.epoch}, batch_size={self.batch_size}, dp_rank={self.dp_rank} of {self.dp_world_size}, "
            f"members={list(self.members.values())})"
        )

    # -- iterating -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self._stream.batches(self._prefetch)

    def __len__(self) -> int:
        """Steps in a whole epoch; constant, also after a resume in the middle of one."""
        return len(self._stream)

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` of the run, for this rank, with the sizes that the step had or will have."""
        return self._maker.batch(*self._stream.at_step(step, self.dp_rank), self._stream.excluded)

    def sizes_of(self, step: int) -> StepSizes:
        """The batch size and ranks that ``step`` of the run had or will have."""
        return self._stream.at_step(step, 0)[1]

    def lookup(self, step: int) -> list[Sample]:
        """Which samples ``step`` holds for this rank, a ``Sample`` for each row; costs no reading."""
        return self.samples.of_step(*self._stream.at_step(step, self.dp_rank))

    def samples_at(self, first: int, count: int) -> list[Sample]:
        """The samples at ``count`` positions from ``first`` on, over all ranks: the stream before it is cut."""
        return self.samples.of_stream(first, count)

    def batch_at(self, position: int, count: int) -> Batch:
        """The ``count`` samples from ``position`` on as one batch, over all ranks: the stream before it is cut.

        It may go on beyond an epoch's end; what is excluded there is masked, and nothing moves.
        """
        whole_number("position", position, at_least=0)
        sizes = StepSizes(whole_number("count", count), 1, "straddle", self.epoch_samples)
        return self._maker.batch(position, sizes, self._stream.excluded)

    def positions_of(self, window: int, epoch: int = 0, *, member: str = "") -> int:
        """The position at which ``member`` shows ``window`` in its ``epoch``: undoes ``lookup``; -1 is never."""
        return self.places_of([window], epoch, member=member)[0].position

    def places_of(self, windows: ArrayLike, epoch: int, *, member: str = "") -> list[Place]:
        """Where ``member`` shows each of ``windows`` (B,) in its ``epoch``: by the inverse of the order, no search."""
        found = self.placed(windows, epoch, member=member).T.tolist()
        return [Place(position, None if step < 0 else step, *place) for position, step, *place in found]

    def placed(self, windows: ArrayLike, epoch: int, *, member: str = "") -> Int64:
        """``places_of`` as an array (4, B): position, step (-1 for None), rank and row."""
        return self.samples.places_of(windows, epoch, member, self._stream.segments)

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

        num_workers = whole_number("num_workers", num_workers, at_least=0)
        return StepDataLoader(self._stream, num_workers=num_workers, pin_memory=pin_memory)

    def as_source(self, num_steps: int) -> StepSource:
        """The run's first ``num_steps`` steps as a sequence, for Grain or as a map-style dataset; a run has no end.

        Item i is ``loader[i]`` as a dict of NumPy arrays: ``inputs`` and ``targets`` (B, L), and ``outputs``. Raises
        ``WindrowError`` for a loader with a device.
        """
        if self.device is not None:
            raise WindrowError(
                f'a source gives arrays, and device="{self.device}" tensors. Use Loader(..., device=None).'
            )
        return StepSource(self.__getitem__, num_steps)

    # -- where we are ----------------------------------------------------------------------------------------------

    @property
    def members(self) -> Mapping[str, Windows]:
        """What is drawn from, by name; a plain loader's only member is ``""``."""
        return self._recipe.members

    @property
    def mask_targets(self) -> MaskTargets | None:
        """Which targets do not count, of the recipe."""
        return self._recipe.mask_targets

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """What ``exclude`` left out, and from which position on."""
        return tuple(self._stream.excluded)

    @property
    def position(self) -> int:
        """The position of the next sample, counted over all ranks and epochs."""
        return self._stream.position

    @property
    def step(self) -> int:
        """The number of the next step of the run."""
        return self._stream.segments.step_of(self.position)

    @property
    def epoch(self) -> int:
        """The epoch that the next sample belongs to."""
        return self._stream.epoch

    @property
    def sizes(self) -> StepSizes:
        """The batch size, ranks and samples of an epoch, as they are from here on."""
        return self._stream.sizes

    @property
    def epoch_samples(self) -> int:
        """Samples in an epoch, over all ranks."""
        return self.sizes.epoch_samples

    @property
    def num_dropped(self) -> int:
        """Samples of a whole epoch that fill no step and are dropped."""
        return self.epoch_samples % self.sizes.global_batch if self.sizes.tail == "drop" else 0

    @property
    def recipe(self) -> str:
        """Everything that fixes the order, as canonical JSON."""
        return self._stream.recipe.to_json()

    def shares(self, num_samples: int | None = None) -> dict[str, dict[str, float]]:
        """What the first ``num_samples`` of the stream (an epoch unless given) draw from each member, before training.

        By name: ``samples``, ``share`` of all samples, ``repeats``, how many epochs of its own that is, ``targets``,
        how many count in them at the rate of its epoch 0, and ``share_of_targets``, of all.
        """
        total = self.epoch_samples if num_samples is None else whole_number("num_samples", num_samples)
        return self._recipe.shares(self.samples.order, total)

    def stats(self) -> dict[str, float | str]:
        """How long the loop waited for data: seconds, share, tokens per second of waiting, and a verdict.

        Of stores far away also ``bytes_fetched`` by this process, and how often what a read needed was there (``hits``)
        or had to come (``waits``).
        """
        return self._stream.stats()

    def write_run(self, path: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write what this loader is made of, all but device, rank and prefetch, as JSON: ``open_run(path)`` makes it.

        ``training`` is what ``windrow train`` keeps in it. Raises ``WindrowError`` for what no file can say.
        """
        write_run(Path(path), self._stream.recipe, self.sizes, {**self._maker.about, "training": training})

    def state_dict(self) -> dict[str, int | str]:
        """The state, a flat dict of ints and strings, the same on every rank. See ``load_state_dict``."""
        return self._stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the next unseen sample, whatever batch size and number of ranks the state was saved with.

        What the saved run excluded is excluded here too; call ``exclude`` after loading, not before. A ``Mixture``
        may go on otherwise from the state's position on: other stages, new members, some gone. Raises ``ResumeError``
        when the stream before it would be another: another recipe, other data; the loader is then unchanged.
        """
        self._stream.load_state_dict(state)

    def skip(self, num_samples: int) -> None:
        """Pass over the next ``num_samples`` of the global stream, after a loss spike, say; steps count on."""
        self._stream.skip(whole_number("num_samples", num_samples, at_least=0))

    def exclude(self, *, documents: Iterable[int] = (), windows: Iterable[int] = (), member: str = "") -> None:
        """From here on, mask all targets of each sample that touches one of ``documents`` or is one of ``windows``.

        Nothing moves: a masked sample keeps its position. The state logs it, the recipe does not change, and steps
        before this position stay what they were. ``member`` names one of a mixture's.
        """
        if self._maker.dtype.kind == "u":
            raise WindrowError(f"dtype {self._maker.dtype} cannot hold -100. Make it with dtype='int32' or 'int64'.")
        self.samples.number_of(member)
        one = Exclusion.of(self.position, member, documents, windows)
        one.require_there(self.members[member])
        self._stream.exclude(one)
