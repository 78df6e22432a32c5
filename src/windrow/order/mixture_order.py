"""The order of a mixture: position -> (member, window, epoch), with exact shares in every block.

Guarantee: each block of positions (65 536 unless told) holds fixed integer counts per member, its slots permuted by
key; within a block a member's samples come in the member's own order, and each member runs its own epochs. Cost: a
table for each block touched (of 65 536: 2 ms, 1.5 MB), the last four kept; nothing grows with the length of the run.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64, grouped
from windrow.errors import WindrowError
from windrow.order.order import MemberOrder, PlainOrder, counted
from windrow.order.permutation import Permutation

__all__ = ["BLOCK", "MixtureOrder", "Order"]

BLOCK = 65_536
_KEPT = 4


class _Table(NamedTuple):
    """One block: whose each slot is, its rank among that member's slots, and the slots sorted by member and rank."""

    member: Int64  # (block,)
    rank: Int64  # (block,)
    slots: Int64  # (block,)


class MixtureOrder:
    """The order of several members, numbered in the sorted order of their names.

    Args:
        num_samples: of each member, by name.
        stages: ``{position: {name: samples in a block}}``, rising from 0, on edges of blocks; the counts add up to
            ``block``. Names that ``num_samples`` lacks are of members that are gone: to ask for a sample of theirs
            raises ``WindrowError``.
        block: positions in a block.
        seed, shuffle, shuffle_block: as in ``MemberOrder``. The slots of a block are permuted in any case.
    """

    def __init__(
        self,
        num_samples: Mapping[str, int],
        stages: Mapping[int, Mapping[str, int]],
        *,
        block: int = BLOCK,
        seed: int,
        shuffle: bool = True,
        shuffle_block: int | None = None,
    ) -> None:
        self._block = block
        self._slots = Permutation(block, "mixture", seed)
        self.members: list[MemberOrder] = [
            MemberOrder(num_samples[name], seed=seed, name=name, shuffle=shuffle, shuffle_block=shuffle_block)
            for name in sorted(num_samples)
        ]
        self._names = sorted({*num_samples, *(name for counts in stages.values() for name in counts)})  # with the gone
        self._place = np.flatnonzero([name in num_samples for name in self._names])  # (M,) of each member among them
        self._number = np.full(len(self._names), -1)  # and back; -1 is gone
        self._number[self._place] = np.arange(len(self._place))
        self._first_block = np.array([*stages], dtype=np.int64) // block  # (S,)
        rows = [[counts.get(name, 0) for name in self._names] for counts in stages.values()]
        self._counts = np.array(rows, dtype=np.int64)  # (S, N)
        done = np.diff(self._first_block)[:, None] * self._counts[:-1]
        self._before = np.concatenate([np.zeros_like(self._counts[:1]), np.cumsum(done, axis=0)])  # (S, N)
        self._tables: dict[int, _Table] = {}  # of the last few blocks

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        """``(member, window, epoch)``, each (B,) int64, of ``positions`` (B,) int64."""
        positions = np.asarray(positions, dtype=np.int64)
        member, index = np.empty_like(positions), np.empty_like(positions)
        block, slot = np.divmod(positions, self._block)
        for one, here in grouped(block):
            table = self._table(one)
            member[here] = table.member[slot[here]]
            index[here] = self._before_block(one)[member[here]] + table.rank[slot[here]]
        number = self._number[member]
        if (gone := np.flatnonzero(number < 0)).size:
            raise WindrowError(
                f"position {positions[gone[0]]} is drawn from {self._names[member[gone[0]]]!r}, a member whose "
                "windows are not given. Give them in the Mixture, (windows, weight) in place of (None, weight)."
            )
        return number, *MemberOrder.at_each(self.members, number, index)

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        """Where ``window`` (B,) of ``member`` comes in its ``epoch`` (B,): undoes ``at``; -1 where it never does."""
        window, epoch = np.broadcast_arrays(np.asarray(window, np.int64), np.asarray(epoch, np.int64))
        index, place = self.members[member].indices_of(window, epoch), self._place[member]
        stage = np.searchsorted(self._before[:, place], index, side="right") - 1
        count = self._counts[stage, place]
        ahead, rank = np.divmod(index - self._before[stage, place], np.maximum(count, 1))
        block = counted(ahead, 1, self._first_block[stage])
        out, drawn = np.full(index.shape, -1, dtype=np.int64), np.flatnonzero(count)
        for one, which in grouped(block[drawn]):
            first, here = int(self._counts[self._stage(one), :place].sum()), drawn[which]
            out[here] = counted(block[here], self._block, self._table(one).slots[first + rank[here]])
        return out

    def samples_before(self, position: int) -> list[int]:
        """How many samples of each member come before ``position``."""
        block, slot = divmod(position, self._block)
        partial = np.bincount(self._table(block).member[:slot], minlength=len(self._names)) if slot else 0
        counts: list[int] = (self._before_block(block) + partial)[self._place].tolist()
        return counts

    def _stage(self, block: int) -> int:
        return int(np.searchsorted(self._first_block, block, side="right")) - 1

    def _before_block(self, block: int) -> Int64:
        stage = self._stage(block)
        before: Int64 = self._before[stage] + (block - self._first_block[stage]) * self._counts[stage]
        return before

    def _table(self, block: int) -> _Table:
        table = self._tables.get(block)
        if table is None:
            while len(self._tables) >= _KEPT:
                self._tables.pop(next(iter(self._tables)), None)  # the oldest; another thread may have been quicker
            table = self._tables[block] = self._make_table(block)
        return table

    def _make_table(self, block: int) -> _Table:
        edges = np.cumsum(self._counts[self._stage(block)])  # (N,) one past each member's values
        values = self._slots.forward(np.arange(self._block), block)
        member = np.searchsorted(edges, values, side="right")
        slots = np.argsort(member, kind="stable")
        rank = np.empty(self._block, dtype=np.int64)
        rank[slots] = np.arange(self._block) - np.concatenate([[0], edges])[member[slots]]
        return _Table(member.astype(np.int64), rank, slots)


Order = PlainOrder | MixtureOrder  # members are numbered; positions count samples over all ranks and epochs
