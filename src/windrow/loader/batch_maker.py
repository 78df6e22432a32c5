"""Positions -> batches: order, draw, boundaries and delivery, for one step or for many together.

Guarantee: what is made depends on the arguments only; nothing here moves or remembers where a run stands. Cost: one
gather, one widening for all steps of a block.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from windrow.batches.batch import Batch
from windrow.batches.boundaries import Boundaries
from windrow.batches.delivery import Delivery, delivery_to
from windrow.batches.resident import ResidentDraw
from windrow.errors import WindrowError
from windrow.loader.exclusions import Exclusion
from windrow.loader.prefetch import prefetched
from windrow.loader.samples import Rows
from windrow.order.order import Order
from windrow.order.steps import Sizes
from windrow.windows.draw import Draw
from windrow.windows.member import Member

if TYPE_CHECKING:
    import torch

__all__ = ["Blocks", "Maker"]

Int64 = NDArray[np.int64]
Blocks = Iterator[Iterable[tuple[int, Batch]]]  # steps that were made together: the position after each, its batch
_BLOCK_TOKENS = 1 << 19  # steps are gathered together up to so many tokens: one call for all, in a core's cache


class Maker:
    """Makes rank ``dp_rank``'s batches of ``members`` in ``order``; see ``Loader`` for the other arguments."""

    def __init__(
        self,
        order: Order,
        members: Mapping[str, Member],
        boundaries: Boundaries,
        *,
        seed: int,
        dp_rank: int,
        max_repeats: int | None,
        device: "torch.device | None",
        dtype: np.dtype[Any],
        resident: bool,
    ) -> None:
        self.rows, self.dtype = Rows(order, dp_rank), dtype
        self._order, self._members, self._boundaries, self._max_repeats = order, members, boundaries, max_repeats
        self._max_length = next(iter(members.values())).max_length
        self._draw = ResidentDraw(members, seed, device, dtype) if resident else Draw(members, seed)
        self._delivery = delivery_to(device, dtype, resident=resident)

    def batch(
        self, position: int, sizes: Sizes, excluded: Sequence[Exclusion], delivery: Delivery | None = None
    ) -> Batch:
        """The batch of the step at ``position``."""
        drawn = self._drawn(self.rows.at(position, sizes), position, sizes, 1, excluded)
        (batch,) = self._delivered(delivery or self._delivery, *drawn, 1)
        return batch

    def blocks(self, position: int, sizes: Sizes, excluded: Sequence[Exclusion], prefetch: int) -> Blocks:
        """The steps from ``position`` to the end of the pass, as many made together as fit in a block."""
        drawn = (self._drawn_block(*block, sizes, excluded) for block in self.steps_to_come(position, sizes))
        depth = -(-prefetch // self._steps_at_once(sizes))
        for positions, tokens, mask, documents in prefetched(drawn, depth) if depth else drawn:
            batches = self._delivered(self._delivery, tokens, mask, documents, len(positions))
            yield zip(positions, batches, strict=True)

    def steps_to_come(self, position: int, sizes: Sizes) -> Iterator[tuple[int, int]]:
        """``(position, num_steps)`` to the end of the pass: full steps together, at first few, for a quick start."""
        epoch_samples, at_most = self._order.epoch_samples, self._steps_at_once(sizes)
        epoch, at_once = position // epoch_samples, 1
        while sizes.tail == "straddle" or position // epoch_samples == epoch:
            num_steps = max(1, self.rows.steps_within(position, sizes, at_once))
            yield position, num_steps
            position = sizes.after(position, num_steps, epoch_samples)
            at_once = min(2 * at_once, at_most)

    def _steps_at_once(self, sizes: Sizes) -> int:
        if self._max_repeats is not None:
            return 1  # the step that goes beyond raises, and those before it must not go with it
        return max(1, _BLOCK_TOKENS // (sizes.batch_size * self._max_length))

    def _drawn_block(
        self, position: int, num_steps: int, sizes: Sizes, excluded: Sequence[Exclusion]
    ) -> tuple[Sequence[int], Any, Any, Any]:
        global_batch, rows = sizes.global_batch, self.rows.next(position, sizes, num_steps)
        last = sizes.after(position, num_steps, self._order.epoch_samples)
        positions = [*range(position + global_batch, position + num_steps * global_batch, global_batch), last]
        return positions, *self._drawn(rows, position, sizes, num_steps, excluded)

    def _drawn(
        self, rows: Int64, position: int, sizes: Sizes, num_steps: int, excluded: Sequence[Exclusion]
    ) -> tuple[Any, Any, Any]:
        """The tokens of ``rows`` (3, n), which targets count, and the tokens' documents where they are asked for."""
        if self._max_repeats is not None:
            self._require_cap(position, sizes)
        num_rows = self.rows.num_within(position, sizes) if num_steps == 1 else rows.shape[1]
        if sizes.dp_world_size == 1:
            rows = rows[:, :num_rows]  # alone, the last batch is short; ranks must stay in step, so theirs is masked
        if not excluded and num_rows == rows.shape[1]:
            tokens, mask = self._draw.tokens(rows)
        else:
            positions = self.rows.positions(position, sizes, num_steps)[: rows.shape[1]]
            tokens, mask = self._draw.tokens_hidden(rows, positions, num_rows, excluded)
        if not self._boundaries:
            return tokens, mask, None
        documents = self._draw.documents(rows)
        documents[num_rows:] = -1
        return tokens, self._boundaries.counting(documents, mask), documents

    def _require_cap(self, position: int, sizes: Sizes) -> None:
        """Raise when the step goes beyond ``max_repeats``: on all ranks alike, so that none waits for another."""
        end, epoch_samples = position + sizes.global_batch, self._order.epoch_samples
        if sizes.tail != "straddle":
            end = min(end, (position // epoch_samples + 1) * epoch_samples)
        for (name, member), count in zip(self._members.items(), self._order.samples_before(end), strict=True):
            if self._max_repeats is not None and count > self._max_repeats * member.num_samples:
                raise WindrowError(
                    f"member {name!r} has been read {self._max_repeats} times, its max_repeats, and the next step "
                    "would repeat some of it once more. Stop here, raise max_repeats, or lower its weight in a stage."
                )

    def _delivered(self, delivery: Delivery, tokens: Any, mask: Any, documents: Any, num_steps: int) -> Iterable[Batch]:
        batches = delivery.batches(tokens, mask, num_steps)
        return self._boundaries.attached(batches, documents, num_steps) if self._boundaries.outputs else batches
