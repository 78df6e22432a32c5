"""The documents of a store laid end to end in another order in each epoch: stretches of that line <-> of the store.

Guarantee: in every epoch each document stands in the line once, in an order that epoch, seed and member name decide
alone: groups of 2**20 neighbouring documents are permuted, and the documents within each group. Cost: a group's tokens
before every n-th document are summed when the group is first touched and kept for two epochs: for up to half a million
documents 16 bytes each, for more 4 MB an epoch at most, or half a byte a document. No thread, no token is read.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from windrow.arrays import Int64, cut_at, grouped, runs
from windrow.order.permutation import Permutation
from windrow.store.store import TokenStore
from windrow.windows.spans import Key, Spans

__all__ = ["EpochDocuments", "remembered"]

T = TypeVar("T")
_GROUP = 1 << 20  # documents that stay near one another, so that a resumed run touches few groups
_MOST_SUMS, _MOST_EVERY = 1 << 19, 16
_SLICE = 1 << 16  # documents summed at a time
_EPOCHS_KEPT = 2


class EpochDocuments:
    """The lines of ``store``'s documents, one for each epoch and key."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._lines: dict[tuple[int, Key], _Line] = {}

    def cut(self, spans: Spans, epoch: Int64 | int, *, key: Key) -> Spans:
        """Spans of the epochs' lines, one for each row, as spans of the store; their context stays at their heads."""
        epochs = np.broadcast_to(np.asarray(epoch, dtype=np.int64), spans.row.shape)
        parts = [np.empty((3, 0), dtype=np.int64)]  # starts, lengths, row
        for one, rows in grouped(epochs):
            starts = spans.starts[rows]
            which, *found = self._line(one, key).pieces(starts, starts + spans.lengths[rows])
            parts.append(np.stack([*found, rows[which]]))
        starts, lengths, row = np.concatenate(parts, axis=1)
        if len(parts) > 2:  # of several epochs
            order = np.argsort(row, kind="stable")
            starts, lengths, row = starts[order], lengths[order], row[order]
        context = np.where(np.diff(row, prepend=-1) > 0, spans.context[row], 0)
        return Spans(starts, lengths, row, context)

    def stretches(self, start: int, stop: int, epoch: int, *, key: Key) -> tuple[Int64, Int64]:
        """Where tokens ``[start, stop)`` of the store lie in the epoch's line: starts and stops, one for a document."""
        return self._line(epoch, key).stretches(start, stop)

    def _line(self, epoch: int, key: Key) -> "_Line":
        return remembered(self._lines, (epoch, key), lambda: _Line(self._store, epoch, key))


def remembered(kept: dict[tuple[int, Key], T], which: tuple[int, Key], make: Callable[[], T]) -> T:
    """What is ``kept`` for an epoch and key, or what ``make`` returns; only the last two stay."""
    found = kept.get(which)
    if found is None:
        found = make()
        for old in list(kept)[: 1 - _EPOCHS_KEPT]:  # also where another thread takes it out first
            kept.pop(old, None)
        kept[which] = found
    return found


class _Found(NamedTuple):
    """Documents in the line, some for each thing that was looked up: (n,) each."""

    which: Int64
    first: Int64  # the first token in the store
    lengths: Int64
    begins: Int64  # the place in the group's stretch of the line


class _Line:
    """The line of one epoch: groups one after the other, each of which knows its tokens before every n-th document.

    A group goes by its place in the line, a document by its group and its place there.
    """

    def __init__(self, store: TokenStore, epoch: int, key: Key) -> None:
        self._store, self._epoch, num = store, epoch, store.num_documents
        firsts = np.append(np.arange(0, num, _GROUP), num)
        sizes, tokens = np.diff(firsts), np.diff(store.document_ends(firsts - 1))
        self._every = 1 << min(_MOST_EVERY.bit_length() - 1, (max(num - 1, 0) // _MOST_SUMS).bit_length())
        self._numbers = Permutation(len(sizes), "groups of documents", *key).forward(np.arange(len(sizes)), epoch)
        self._sizes, self._edges = sizes[self._numbers], np.append(0, np.cumsum(tokens[self._numbers]))
        self._documents = {size: Permutation(size, "documents", *key) for size in {int(sizes[0]), int(sizes[-1])}}
        self._sums: dict[int, Int64] = {}
        self._firsts = self._all_firsts() if self._every == len(sizes) == 1 else None

    def pieces(self, starts: Int64, stops: Int64) -> tuple[Int64, Int64, Int64]:
        """``(which, starts, lengths)`` in the store of stretches of the line."""
        which, groups, starts, stops = cut_at(self._edges, starts, stops)
        low, high = np.empty_like(starts), np.empty_like(starts)
        for group, here in grouped(groups):
            sums = self._sums_of(group)
            low[here] = np.searchsorted(sums, starts[here], side="right") - 1
            high[here] = np.searchsorted(sums, stops[here])
        found = self._found(groups, low, high - low)
        begins = np.maximum(found.begins, starts[found.which])
        lengths = np.minimum(found.begins + found.lengths, stops[found.which]) - begins
        held = lengths > 0
        return which[found.which[held]], (found.first + begins - found.begins)[held], lengths[held]

    def stretches(self, start: int, stop: int) -> tuple[Int64, Int64]:
        """Where the documents that hold tokens ``[start, stop)`` of the store have them in the line."""
        first, last = self._store.document_at(np.array([start, stop - 1])).tolist()
        documents = np.arange(first, last + 1)
        groups = np.argsort(self._numbers)[documents // _GROUP]
        places = self._permuted(Permutation.inverse, groups, documents % _GROUP)
        found = self._found(groups, places // self._every, np.ones_like(places))
        wanted = np.searchsorted(found.which, np.arange(len(places))) + places % self._every
        begins = found.first[wanted]
        ahead = self._edges[groups] + found.begins[wanted] - begins  # from the store to the line
        return np.maximum(begins, start) + ahead, np.minimum(begins + found.lengths[wanted], stop) + ahead

    def _found(self, groups: Int64, low: Int64, count: Int64) -> _Found:
        """The documents of ``count[i]`` sums of ``groups[i]`` from the ``low[i]``-th on."""
        tokens_before, first = np.empty_like(low), low * self._every
        for group, here in grouped(groups):
            tokens_before[here] = self._sums_of(group)[low[here]]
        num = np.minimum((low + count) * self._every, self._sizes[groups]) - first
        which = np.repeat(np.arange(len(low)), num)
        begins, lengths = self._spans_of(groups[which], runs(first, num))
        before = np.cumsum(lengths) - lengths
        head = np.cumsum(num) - num
        return _Found(which, begins, lengths, before + (tokens_before - before[head])[which])

    def _spans_of(self, groups: Int64, places: Int64) -> tuple[Int64, Int64]:
        """First token in the store and length of the documents at these places."""
        if self._firsts is not None:
            sums = self._sums_of(0)
            return self._firsts[places], sums[places + 1] - sums[places]
        documents = self._numbers[groups] * _GROUP + self._permuted(Permutation.forward, groups, places)
        begins = self._store.document_ends(documents - 1)
        return begins, self._store.document_ends(documents) - begins

    def _permuted(self, way: Callable[..., Int64], groups: Int64, places: Int64) -> Int64:
        """Where each of ``places`` goes in its group, by the permutation of the group's size."""
        out, sizes = np.empty_like(places), self._sizes[groups]
        for size, permutation in self._documents.items():
            here = np.flatnonzero(sizes == size)
            out[here] = way(permutation, places[here], self._epoch, self._numbers[groups[here]])
        return out

    def _sums_of(self, group: int) -> Int64:
        """The group's tokens before every n-th of its documents, and in all."""
        if group not in self._sums:
            size, begin = int(self._sizes[group]), int(self._numbers[group]) * _GROUP
            lengths = np.diff(np.concatenate([self._store.document_ends(begin + part) for part in _parts(-1, size)]))
            ordered = (
                lengths[self._permuted(Permutation.forward, np.full_like(part, group), part)]
                for part in _parts(0, size)
            )
            sums = [np.add.reduceat(part, np.arange(0, len(part), self._every)) for part in ordered]
            self._sums[group] = np.append(0, np.cumsum(np.concatenate(sums)))
        return self._sums[group]

    def _all_firsts(self) -> Int64:
        """The first token in the store of each document of a line that is one group."""
        places = np.arange(self._sizes[0])
        documents = self._permuted(Permutation.forward, np.zeros_like(places), places)
        return self._store.document_ends(documents - 1)


def _parts(first: int, size: int) -> Iterator[Int64]:
    """``first`` to ``size`` in a few arrays, so that what is computed from them is never large."""
    return (np.arange(begin, min(begin + _SLICE, size)) for begin in range(first, size, _SLICE))
