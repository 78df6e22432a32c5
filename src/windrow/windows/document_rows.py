"""How documents become rows: each row a list of pieces of the store, for the policies "pad", "pack" and "bos".

Guarantee: an index over the store, which is neither read nor rewritten; the same for equal stores, on every machine.
A document of n tokens is cut every ``max_length`` tokens into pieces that share one token, so that every token but its
first is a target exactly once; a document of one token has no target and no piece. Row r holds the pieces that the
index gives it, in the store's order, then eos; no target counts across two pieces or in padding. Cost: vectorised over
the documents, ten million of them in seconds. Knows no order.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, grouped, runs
from windrow.order.exchange import Exchange
from windrow.store.cache import Arrays, kept
from windrow.store.store import TokenStore
from windrow.windows.best_fit import best_fit_decreasing, next_places
from windrow.windows.epoch_documents import remembered
from windrow.windows.spans import Key, Spans, document_bounds

__all__ = ["INDEX_VERSION", "Exchanged", "LongDocuments", "Pieces", "find_pieces", "rows_of"]

INDEX_VERSION = 1
_MOST_KEPT = 1 << 20  # pieces
_AT_A_TIME = 1 << 17  # documents
_MANY, _LONG = 1 << 16, 4  # rows of so many pieces, of documents of so many each, are kept as ``LongDocuments``


class Pieces(NamedTuple):
    """Row r holds pieces ``edges[r]`` to ``edges[r + 1]``, each ``lengths`` tokens of the store from ``starts`` on.

    The rows of every epoch are the same.
    """

    starts: Int64  # (P,)
    lengths: NDArray[np.int32]  # (P,)
    edges: NDArray[Any]  # (num_rows + 1,) int64, or int32 where that will do

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return len(self.edges) - 1

    @property
    def may_mask(self) -> bool:
        """Whether there is a row in which some target does not count: nearly all have padding or several pieces."""
        return True

    @property
    def most_in_a_row(self) -> int:
        """The most pieces in a row."""
        return int(np.diff(self.edges).max(initial=0))

    def spans(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Spans:
        """The pieces of rows ``ids`` (B,)."""
        places = self.places(ids)
        row = np.repeat(np.arange(len(ids)), self.edges[ids + 1] - self.edges[ids])
        return Spans(self.starts[places], self.lengths[places].astype(np.int64), row, np.ones_like(row))

    def places(self, ids: Int64) -> Int64:
        """The numbers of the pieces of rows ``ids`` (B,), row by row: (n,)."""
        return runs(self.edges[ids], self.edges[ids + 1] - self.edges[ids])

    def between(self, start: int, stop: int, epoch: int, *, key: Key) -> tuple[Int64, Spans, Int64]:
        """The pieces that hold one of the tokens ``[start, stop)``, rising: their rows (K,), spans, places in a row."""
        touching = self.touching(start, stop)
        if self.num_rows == len(self.starts):
            return touching, self.spans(touching, epoch, key=key), np.zeros_like(touching)
        return self.placed(touching, touching)

    def placed(self, places: Int64, pieces: Int64) -> tuple[Int64, Spans, Int64]:
        """``between`` of these ``pieces`` (n,), where they stand at these ``places`` (n,) of the rows."""
        order = np.argsort(self.starts[pieces], kind="stable")
        rows, row = np.unique(np.searchsorted(self.edges, places, side="right") - 1, return_inverse=True)
        row = row[order]
        here = np.stack([self.edges[rows][row], places[order]])  # the first of the row, and the piece itself
        head, begin = np.cumsum(self.lengths, dtype=np.uint32)[here] - self.lengths[here].astype(np.uint32)
        starts, lengths = self.starts[pieces[order]], self.lengths[here[1]].astype(np.int64)
        return rows, Spans(starts, lengths, row, np.ones_like(row)), (begin - head).astype(np.int64)  # if it wraps, too

    def touching(self, start: int, stop: int) -> Int64:
        """The pieces that hold one of the tokens ``[start, stop)``: (n,), rising."""
        if self.num_rows == len(self.starts):  # a piece a row: in the store's order, neighbours sharing a token at most
            first, end = np.searchsorted(self.starts, [start, stop - 1], side="right").tolist()
            places = np.arange(max(first - 2, 0), end)
        else:
            longest = int(self.lengths.max(initial=0))
            places = np.flatnonzero((self.starts < stop) & (self.starts > start - longest))
        return places[self.starts[places] + self.lengths[places] > start]


class LongDocuments(Pieces):
    """Few, long documents: row r that is kept is rows ``first[r]`` to ``first[r + 1]``, ``step`` tokens apart."""

    first: Int64  # (rows kept + 1,)
    step: int

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return int(self.first[-1])

    def spans(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Spans:
        """The pieces of rows ``ids`` (B,)."""
        held = np.searchsorted(self.first, ids, side="right") - 1
        spans = super().spans(held, epoch, key=key)
        return spans._replace(starts=spans.starts + ((ids - self.first[held]) * self.step)[spans.row])

    def between(self, start: int, stop: int, epoch: int, *, key: Key) -> tuple[Int64, Spans, Int64]:
        """The pieces that hold one of the tokens ``[start, stop)``, rising: their rows (K,), spans, places in a row."""
        begun = np.maximum((start - self.starts - self.lengths) // self.step + 1, 0)  # those that end before ``start``
        most = np.repeat(np.diff(self.first), np.diff(self.edges))
        num = np.maximum(np.minimum(-((self.starts - stop) // self.step), most) - begun, 0)
        order = np.argsort(self.starts)
        pieces, further = order.repeat(num[order]), runs(begun[order], num[order])
        held, spans, in_row = self.placed(pieces, pieces)
        rows, row = np.unique(self.first[held][spans.row] + further, return_inverse=True)
        return rows, spans._replace(starts=spans.starts + further * self.step, row=row), in_row


class Exchanged:
    """Rows in which pieces of one length change places from epoch to epoch; which lengths a row holds stays.

    8 bytes a piece are kept; where there are at most a million, 8 more for each of two epochs.
    """

    may_mask = True

    def __init__(self, store: TokenStore, max_length: int) -> None:
        self._pieces = find_pieces(store, max_length, "pack", each=True)
        self.num_rows: int = self._pieces.num_rows
        self._counts = np.bincount(self._pieces.lengths)  # of each length
        self._before = np.cumsum(self._counts) - self._counts
        places = _kept(store, f"exchange-v{INDEX_VERSION}-{max_length}", self._all_places)
        self._by_length, self._rank = places["by_length"], places["rank"]
        self._starts: dict[tuple[int, Key], Int64] = {}

    @property
    def most_in_a_row(self) -> int:
        """The most pieces in a row."""
        return self._pieces.most_in_a_row

    def spans(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Spans:
        """What stands in rows ``ids`` (B,) in ``epoch``."""
        held, places = self._pieces.spans(ids, epoch, key=key), self._pieces.places(ids)
        epochs = np.broadcast_to(np.asarray(epoch, dtype=np.int64), np.shape(ids))[held.row]
        if len(self._rank) > _MOST_KEPT:
            return held._replace(starts=self._pieces.starts[self._moved(Exchange.forward, places, epochs, key)])
        starts = np.empty_like(places)
        for one, here in grouped(epochs):
            all_starts = remembered(self._starts, (one, key), partial(self._all_starts, one, key))
            starts[here] = all_starts[places[here]]
        return held._replace(starts=starts)

    def between(self, start: int, stop: int, epoch: int, *, key: Key) -> tuple[Int64, Spans, Int64]:
        """The pieces that hold one of the tokens ``[start, stop)``, rising: their rows (K,), spans, places in a row."""
        pieces = self._pieces.touching(start, stop)
        return self._pieces.placed(self._moved(Exchange.inverse, pieces, epoch, key), pieces)

    def _all_places(self) -> Arrays:
        """The pieces from the shortest to the longest, and the place of each among them."""
        by_length = np.argsort(self._pieces.lengths, kind="stable").astype(np.uint32)
        rank = np.empty_like(by_length)
        rank[by_length] = np.arange(len(rank), dtype=np.uint32)
        return {"by_length": by_length, "rank": rank}

    def _all_starts(self, epoch: int, key: Key) -> Int64:
        return self._pieces.starts[self._moved(Exchange.forward, np.arange(len(self._rank)), epoch, key)]

    def _moved(self, way: Callable[..., Int64], places: Int64, epoch: Int64 | int, key: Key) -> Int64:
        """The place that each of ``places`` (n,) goes to, among those of its length."""
        length = self._pieces.lengths[places].astype(np.int64)
        before, within = self._before[length], self._rank[places].astype(np.int64)
        moved = way(Exchange("pieces", *key), within - before, self._counts[length], epoch, length)
        places_there: Int64 = self._by_length[before + moved].astype(np.int64)
        return places_there


def find_pieces(store: TokenStore, max_length: int, policy: str, *, each: bool = False) -> Pieces:
    """The rows of ``store`` under "pad", "pack" or "bos", long documents kept as such unless ``each`` piece is."""
    long = not each and policy != "bos" and store.num_tokens // max_length >= max(_MANY, _LONG * store.num_documents)

    def make() -> Arrays:
        if policy == "bos":
            return _bos(store, max_length)._asdict()
        parts = partial(_cut, store, max_length)
        return _long(store, max_length, policy) if long else rows_of(parts, max_length, policy)._asdict()

    found = _kept(store, f"{policy}{'-long' * long}-v{INDEX_VERSION}-{max_length}", make)
    if not long:
        return Pieces(**found)
    rows = LongDocuments(found["starts"], found["lengths"], found["edges"])
    rows.first, rows.step = found["first"], max_length
    return rows


def _kept(store: TokenStore, name: str, make: Callable[[], Arrays]) -> Arrays:
    """What ``make`` makes; of a store that has files it is kept, by the boundaries that were read."""
    return kept(f"{name}-{store.boundaries}", make) if store.path else make()


def _long(store: TokenStore, max_length: int, policy: str) -> Arrays:
    """The arrays of ``LongDocuments``: of each document the pieces that fill a row, as one, and what is left of it."""
    begins, ends = document_bounds(store)
    middles = begins + (ends - begins - 1) // max_length * max_length
    starts, stops = (np.stack(both, axis=1).reshape(-1) for both in ((begins, middles), (middles, ends - 1)))
    held = np.flatnonzero(starts < stops)
    lengths = np.minimum(stops - starts, max_length)[held].astype(np.int32) + 1
    rows = rows_of(lambda: [(held, lengths)], max_length, policy)
    counts = -((starts - stops) // max_length)[rows.starts[rows.edges[:-1]]]
    return {**rows._asdict(), "starts": starts[rows.starts], "first": np.append(0, np.cumsum(counts))}


def rows_of(parts: Callable[[], Iterable[tuple[Int64, NDArray[Any]]]], max_length: int, policy: str) -> Pieces:
    """Rows by "pad" or "pack", numbered by their first piece; ``parts`` gives, twice, starts and lengths, (n,) each."""
    lengths = np.concatenate([np.empty(0, np.int32), *(part[1] for part in parts())])
    row = best_fit_decreasing(lengths, max_length + 1) if policy == "pack" else None  # (P,)
    narrow: Any = np.int32 if len(lengths) < 2**31 - 1 else np.int64
    edges = np.arange(len(lengths) + 1, dtype=narrow) if row is None else np.append(0, np.cumsum(np.bincount(row)))
    starts, following, end = np.empty(len(lengths), np.int64), edges if row is None else edges[:-1].copy(), 0
    for part in parts():
        here = slice(end, end := end + len(part[0]))
        places = here if row is None else next_places(row[here], following)
        starts[places], lengths[places] = part
    return Pieces(starts, lengths, edges)


def _bos(store: TokenStore, max_length: int) -> Pieces:
    """Each row starts at the first document that begins at or after the end of the row before's inputs."""
    parts, reach = [np.empty(0, np.int64)], 0
    for edges in _document_edges(store):
        starts = edges[:-1]
        following = np.append(np.searchsorted(starts, starts + max_length), len(starts))
        parts.append(starts[_chain(following, int(np.searchsorted(starts, reach)))])
        reach = int(parts[-1][-1]) + max_length if len(parts[-1]) else reach
    begins = np.concatenate(parts)
    lengths = np.minimum(max_length + 1, store.num_tokens - begins)
    kept = lengths > 1  # only the last row can be one token, with no target
    return Pieces(begins[kept], lengths[kept].astype(np.int32), np.arange(np.count_nonzero(kept) + 1))


def _document_edges(store: TokenStore) -> Iterator[Int64]:
    """Where documents begin, and where the last of them ends, of so many documents at a time."""
    for first in range(0, store.num_documents, _AT_A_TIME):
        yield store.document_ends(np.arange(first - 1, min(first + _AT_A_TIME, store.num_documents)))


def _cut(store: TokenStore, max_length: int) -> Iterator[tuple[Int64, NDArray[np.int32]]]:
    """All pieces of all documents, in the store's order: starts and lengths, (n,) each, of so many documents a time."""
    for edges in _document_edges(store):
        num = -(-(np.diff(edges) - 1) // max_length)
        begins = edges[:-1].repeat(num) + runs(np.zeros_like(num), num) * max_length
        yield begins, np.minimum(max_length + 1, edges[1:].repeat(num) - begins).astype(np.int32)


def _chain(following: Int64, first: int) -> Int64:
    """``first``, what follows it, what follows that, up to the last number, which follows itself and is left out.

    Doubled each round: with the steps of the first 2**k known, those of the next are 2**k steps ahead of them.
    """
    last = len(following) - 1
    chain, ahead = np.array([first]), following
    while chain[-1] < last:
        chain = np.concatenate([chain, ahead[chain]])
        ahead = ahead[ahead]
    return chain[chain < last]
