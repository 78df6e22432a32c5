"""Which samples a run draws, and how often, without walking through it.

Guarantee: the same counts as the order itself gives, position by position. Cost: whole epochs are counted; of the epoch
at a run's end, and of what passes drop, only the samples that are asked for are looked up. Knows no tokens.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from windrow.arrays import Int64
from windrow.loader.exclusions import LeftOut
from windrow.loader.loader import Loader
from windrow.windows.windows import Windows

__all__ = ["MOST_EPOCHS", "DrawCounts", "counted_epochs"]

MOST_EPOCHS = 64  # that are looked at one by one


def counted_epochs(loader: Loader, epochs: int) -> int:
    """How many of ``epochs`` are counted: all, unless a member's rows move, so that each is looked at by itself."""
    return min(epochs, MOST_EPOCHS) if any(member.moves for member in loader.members.values()) else epochs


class DrawCounts:
    """How often each sample of member ``name`` is drawn at the positions before ``stop`` that are not dropped."""

    def __init__(self, loader: Loader, name: str, stop: int, dropped: Int64) -> None:
        self.windows: Windows = loader.members[name]
        self.key: tuple[int, str] = (loader.seed, name)
        self.masks_edges: bool = loader.mask_targets == "document_edges"
        self._left_out = LeftOut(loader.exclusions, name)
        self._order, self._number = loader.samples.order, loader.samples.number_of(name)
        self._own = self._order.members[self._number]
        self._stop = self._before(stop)
        which, window, epoch = self._order.at(dropped)
        mine = np.flatnonzero(which == self._number)
        self._dropped = np.stack([window, epoch, dropped])[:, mine[np.argsort(window[mine])]]

    def groups(self) -> Iterator[tuple[int, int]]:
        """``(first, end)``: epochs of its own whose samples are the same spans."""
        last = max(-(-self._stop // self.windows.num_samples), 1)
        return pairwise(range(last + 1) if self.windows.moves else (0, last))

    def draws(self, ids: Int64, first: int, end: int) -> tuple[Int64, Int64]:
        """How often samples ``ids`` (n,), rising, are drawn in such epochs and count, or are excluded: (n,) each."""
        begin, stop = (min(self._stop, epoch * self.windows.num_samples) for epoch in (first, end))
        since = self._left_out.since(self.windows, ids, np.full(len(ids), first), key=self.key)
        positions, which = np.unique(since, return_inverse=True)
        until = np.array([self._before(position) for position in positions.tolist()], np.int64).clip(begin, stop)[which]
        held = slice(*np.searchsorted(self._dropped[0], [ids[0], ids[-1] + 1])) if len(ids) else slice(0)
        window, epoch, position = self._dropped[:, held]
        place = np.searchsorted(ids, window)
        gone = (ids[place] == window) & (epoch >= first) & (epoch < end)
        late = position >= since[place]
        before, counting, in_all = (self._drawn(ids, np.broadcast_to(at, ids.shape)) for at in (begin, until, stop))
        times = counting - before - np.bincount(place[gone & ~late], minlength=len(ids))
        return times, in_all - counting - np.bincount(place[gone & late], minlength=len(ids))

    def _before(self, position: int) -> int:
        """How many of its own samples come before ``position``."""
        return self._order.samples_before(position)[self._number]

    def _drawn(self, ids: Int64, stops: Int64) -> Int64:
        """How often each of ``ids`` (n,) is among the member's own samples before the ``stops``-th (n,): (n,)."""
        epochs, index = np.divmod(stops, self.windows.num_samples)
        return epochs + (self._own.index_of(ids, epochs) < index) if index.any() else epochs
