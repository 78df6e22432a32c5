"""Positions -> batches: order, draw, boundaries and delivery, for one step or for many together.

Guarantee: what is made depends on the arguments only; nothing here moves or remembers where a run stands. Cost: one
gather, one widening for all steps of a block.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow.arrays import Int64
from windrow.batches.batch import Batch
from windrow.batches.boundaries import Boundaries, Held
from windrow.batches.delivery import Delivery, TorchDelivery, delivery_to
from windrow.batches.resident import ResidentDraw
from windrow.errors import WindrowError
from windrow.loader.ahead import caches_of
from windrow.loader.exclusions import Exclusion, LeftOut, hidden
from windrow.loader.prefetch import prefetched
from windrow.loader.recipe import Recipe
from windrow.loader.samples import Samples
from windrow.order.steps import StepSizes
from windrow.system import disk_reads
from windrow.windows.draw import Draw

if TYPE_CHECKING:
    import torch

__all__ = ["BatchMaker", "Blocks"]

Blocks = Iterator[Iterable[tuple[int, Batch]]]  # steps that were made together: the position after each, its batch
_BLOCK_TOKENS = 1 << 19  # steps are gathered together up to so many tokens: one call for all, in a core's cache


class BatchMaker:
    """Makes the batches of ``samples``, those of one rank, under ``recipe``; see ``Loader`` for the other arguments."""

    def __init__(
        self,
        recipe: Recipe,
        samples: Samples,
        boundaries: Boundaries,
        *,
        device: "torch.device | None",
        dtype: np.dtype[Any],
        resident: bool,
    ) -> None:
        self.dtype = dtype
        self.about: dict[str, Any] = {"dtype": dtype.name, "resident": resident, "outputs": sorted(boundaries.outputs)}
        self._recipe, self._samples, self._boundaries = recipe, samples, boundaries
        self._by_steps = bool(caches_of(recipe.members))  # blocks of a cache are needed a step at a time
        self._merged: tuple[Sequence[Exclusion], int, Mapping[str, LeftOut]] = ((), 0, {})
        self._max_length, self._has_waited = recipe.data.max_length, False  # for the disk, at the last draw
        drawn: tuple[Any, int] = (recipe.members, recipe.seed)
        self._draw = ResidentDraw(*drawn, device, dtype) if resident else Draw(*drawn)
        self._delivery = delivery_to(device, dtype, resident=resident)

    def batch(self, position: int, sizes: StepSizes, excluded: Sequence[Exclusion], *, on_cpu: bool = False) -> Batch:
        """The batch of the step at ``position``; ``on_cpu`` as CPU tensors, whatever the loader's device."""
        drawn = self._drawn(self._samples.at(position, sizes), position, sizes, 1, excluded)
        (batch,) = self._delivered(TorchDelivery(self.dtype) if on_cpu else self._delivery, *drawn, 1)
        return batch

    def blocks(self, position: int, sizes: StepSizes, excluded: Sequence[Exclusion], prefetch: int) -> Blocks:
        """The steps from ``position`` to the end of the pass, as many made together as fit in a block."""
        drawn = (self._drawn_block(*block, sizes, excluded) for block in self.steps_to_come(position, sizes))
        depth = -(-prefetch // self._steps_at_once(sizes))
        for positions, tokens, mask, held in prefetched(drawn, depth) if depth else drawn:
            batches = self._delivered(self._delivery, tokens, mask, held, len(positions))
            yield zip(positions, batches, strict=True)

    def steps_to_come(self, position: int, sizes: StepSizes) -> Iterator[tuple[int, int]]:
        """``(position, num_steps)`` to the end of the pass: full steps together, at first few, for a quick start."""
        at_most, at_once = self._steps_at_once(sizes), 1
        epoch = position // sizes.epoch_samples
        while sizes.tail == "straddle" or position // sizes.epoch_samples == epoch:
            num_steps = max(1, self._samples.steps_within(position, sizes, at_once))
            yield position, num_steps
            position = sizes.after(position, num_steps)
            at_once = min(2 * at_once, at_most)

    def _steps_at_once(self, sizes: StepSizes) -> int:
        if self._by_steps or self._recipe.data.max_repeats is not None:
            return 1  # the step that goes beyond raises, and those before it must not go with it
        return max(1, _BLOCK_TOKENS // (sizes.batch_size * self._max_length))

    def _drawn_block(
        self, position: int, num_steps: int, sizes: StepSizes, excluded: Sequence[Exclusion]
    ) -> tuple[Sequence[int], Any, Any, Any]:
        global_batch, samples = sizes.global_batch, self._samples.next(position, sizes, num_steps)
        last = sizes.after(position, num_steps)
        positions = [*range(position + global_batch, position + num_steps * global_batch, global_batch), last]
        return positions, *self._drawn(samples, position, sizes, num_steps, excluded)

    def _drawn(
        self, samples: Int64, position: int, sizes: StepSizes, num_steps: int, excluded: Sequence[Exclusion]
    ) -> tuple[Any, Any, Any]:
        """The tokens of ``samples`` (3, n), which targets count, and what the rows hold where that is asked for."""
        if self._recipe.data.max_repeats is not None:
            self._require_cap(position, sizes)
        within = self._samples.num_within(position, sizes) if num_steps == 1 else samples.shape[1]
        if sizes.dp_world_size == 1:
            samples = samples[:, :within]  # alone, the last batch is short; ranks must stay in step: theirs is masked
        left_out = None
        if excluded:
            positions = self._samples.positions(position, sizes, num_steps)[: samples.shape[1]]
            left_out = hidden(self._left_out(excluded), self._recipe.members, self._recipe.seed, samples, positions)
        before = disk_reads()
        if self._has_waited:
            self._draw.will_need(samples)
        tokens, mask = self._draw.tokens(samples, within, left_out)
        self._has_waited = disk_reads() > before
        if not self._boundaries:
            return tokens, mask, None
        members, documents = samples[0].copy(), None
        members[within:] = -1
        if self._boundaries.of_documents:
            documents = self._draw.documents(samples)
            documents[within:] = -1
            mask = self._boundaries.counting(documents, mask)
        return tokens, mask, Held(members, documents)

    def _left_out(self, excluded: Sequence[Exclusion]) -> Mapping[str, LeftOut]:
        """What is ``excluded`` by member, merged once for as long as nothing is added."""
        if self._merged[0] is not excluded or self._merged[1] != len(excluded):
            names = {one.member for one in excluded}
            self._merged = (excluded, len(excluded), {name: LeftOut(excluded, name) for name in names})
        return self._merged[2]

    def _require_cap(self, position: int, sizes: StepSizes) -> None:
        """Raise when the step goes beyond ``max_repeats``: on all ranks alike, so that none waits for another."""
        end, most = position + sizes.global_batch, self._recipe.data.max_repeats
        if sizes.tail != "straddle":
            end = min(end, position + sizes.left(position))
        counts = self._samples.order.samples_before(end)
        for (name, member), count in zip(self._recipe.members.items(), counts, strict=True):
            if most is not None and count > most * member.num_samples:
                raise WindrowError(
                    f"member {name!r} has been read {most} times, its max_repeats, and the next step "
                    "would repeat some of it once more. Stop here, raise max_repeats, or lower its weight in a stage."
                )

    def _delivered(self, delivery: Delivery, tokens: Any, mask: Any, held: Any, num_steps: int) -> Iterable[Batch]:
        batches = delivery.batches(tokens, mask, num_steps)
        return self._boundaries.attached(batches, held, num_steps) if self._boundaries.outputs else batches
