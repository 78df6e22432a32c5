"""Which samples a run draws, and how often, without walking through it.

Guarantee: the same counts as the order itself gives, position by position. Cost: whole epochs are counted; only the
parts of epochs at a run's end, what passes drop and what is excluded are looked up. Knows no tokens.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from windrow.arrays import Int64
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
        self._exclusions = sorted((e for e in loader.exclusions if e.member == name), key=lambda e: -e.position)
        self._order, self._number = loader.samples.order, loader.samples.number_of(name)
        self._own = self._order.members[self._number]
        self._stop = self._before(stop)
        which, window, epoch = self._order.at(dropped)
        mine = which == self._number
        self._dropped = dropped[mine], window[mine], epoch[mine]

    def groups(self) -> Iterator[tuple[int, Int64, Int64]]:
        """``(epoch, times, excluded)``: draws (N,) of each sample that count, and that are excluded.

        Epochs whose samples are the same spans are one group.
        """
        last = max(-(-self._stop // self.windows.num_samples), 1)
        edges = range(last + 1) if self.windows.moves else (0, last)
        for first, end in pairwise(edges):
            times, excluded = self._times(0, first, end), self._excluded(first, end)
            yield first, times - excluded, excluded

    def _before(self, position: int) -> int:
        return self._order.samples_before(position)[self._number]

    def _excluded(self, first: int, end: int) -> Int64:
        num = self.windows.num_samples
        out = np.zeros(num, dtype=np.int64)
        for one in self._exclusions:  # the last first, so that of two the earlier counts
            hit = one.hits(self.windows, np.arange(num), np.full(num, first), key=self.key)
            out[hit] = self._times(one.position, first, end)[hit]
        return out

    def _times(self, position: int, first: int, end: int) -> Int64:
        """Draws (N,) in epochs ``first`` to ``end`` of its own, from ``position`` on."""
        num = self.windows.num_samples
        start = max(self._before(position), first * num)
        stop = max(min(self._stop, end * num), start)
        where, window, epoch = self._dropped
        gone = window[(where >= position) & (epoch >= first) & (epoch < end)]
        return self._up_to(stop) - self._up_to(start) - np.bincount(gone, minlength=num)

    def _up_to(self, stop: int) -> Int64:
        """Draws (N,) of the member's own samples before its ``stop``-th."""
        num = self.windows.num_samples
        window, _ = self._own.at(np.arange(stop - stop % num, stop))
        return stop // num + np.bincount(window, minlength=num)
