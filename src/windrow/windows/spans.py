"""Rows as spans of a store: the one idea that everything about a row is written over.

Guarantee: tokens, documents and masks of a row follow from its spans and the store's boundaries alone. Cost: that of
the store's gather for tokens; else arithmetic, two searches a span and one number a place. Knows no policy.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Mask, runs
from windrow.store.store import TokenStore

__all__ = ["Key", "Spans", "document_bounds", "most_documents", "most_short_documents", "num_counting"]

Key = tuple[int, str]  # seed and member name: what draws by chance within a member is keyed by
_AT_A_TIME = 1 << 20


class Spans(NamedTuple):
    """Which stretches of the store, in order, make up each of the rows that were asked for; n spans in all.

    The first ``context`` tokens of a span are inputs only; each one after them is the target of the token before it.
    """

    starts: Int64  # (n,) the first token of each
    lengths: Int64  # (n,) its tokens, 1 or more
    row: Int64  # (n,) which of the rows it is a part of, from 0, rising
    context: Int64  # (n,) 0 or more, 1 or more in the first span of a row

    @property
    def num_rows(self) -> int:
        """B, the rows that were asked for: each has a span."""
        return int(self.row[-1]) + 1 if len(self.row) else 0

    def per_row(self, values: NDArray[Any]) -> Int64:
        """Sums of ``values`` (n,) over the spans of each row: (B,)."""
        return np.bincount(self.row, values).astype(np.int64)

    def are_whole(self, width: int) -> bool:
        """Whether each row is one span that fills its ``width`` places."""
        return len(self.row) == self.num_rows and bool((self.lengths == width).all())

    def in_row(self) -> Int64:
        """The place in its row at which each span begins: (n,)."""
        before = np.cumsum(self.lengths) - self.lengths
        return before - before[np.searchsorted(self.row, self.row)]

    def laid_out(self, values: NDArray[Any], width: int, fill: Any) -> NDArray[Any]:
        """A value for each token, (lengths.sum(),), as rows of ``width`` places, the rest of a row ``fill``."""
        if len(values) == self.num_rows * width:  # no row holds more, so each is full
            return values.reshape(self.num_rows, width)
        out = np.full((self.num_rows, width), fill, dtype=values.dtype)
        out[np.arange(width) < self.per_row(self.lengths)[:, None]] = values
        return out

    def places(self) -> Int64:
        """The token of the store at each place of the rows, one after the other: (lengths.sum(),)."""
        return runs(self.starts, self.lengths)

    def tokens(self, store: TokenStore, width: int, fill: int) -> NDArray[Any]:
        """The rows' tokens, (B, width) in the store's dtype; rows of one whole span are one gather."""
        if self.are_whole(width):
            return store.gather(self.starts, width)
        padding = width - self.per_row(self.lengths)  # (B,)
        short = np.flatnonzero(padding)
        behind = np.searchsorted(self.row, short, side="right")  # the span after the last one of each short row
        starts, lengths = np.insert(self.starts, behind, -1), np.insert(self.lengths, behind, padding[short])
        return store.stretches(starts, lengths, fill).reshape(-1, width)

    def targets(self, store: TokenStore, width: int) -> Mask:
        """Which places of the rows but the first are the target of the place before, and count: (B, width - 1)."""
        narrow = np.min_scalar_type(width)  # a comparison of narrow numbers takes a third of the time
        counts = np.arange(1, width, dtype=narrow) < self.per_row(self.lengths).astype(narrow)[:, None]
        hidden = np.minimum(self.context, self.lengths)
        row, place = self.row.repeat(hidden), runs(self.in_row(), hidden)
        counts[row[place > 0], place[place > 0] - 1] = False
        if store.has_counts:
            counts &= self.laid_out(store.counts_at(self.starts, self.lengths), width, False)[:, 1:]
        return counts

    def num_targets(self, store: TokenStore, masks_edges: bool) -> int:
        """How many targets of the rows count, by ``targets``, and if so asked only within documents."""
        begins, stops = self.starts + np.minimum(self.context, self.lengths), self.starts + self.lengths
        counting = int(num_counting(store, begins, stops).sum())
        if not masks_edges:
            return counting
        first, last = store.document_at(np.maximum(begins - 1, self.starts)), store.document_at(stops - 1)
        edges = np.append(store.document_ends(runs(first, last - first)), self.starts[self.context == 0])
        return counting - int(num_counting(store, edges, edges + 1).sum())

    def documents(self, store: TokenStore, width: int) -> Int64:
        """The document of each place of the rows, (B, width), -1 where there is none."""
        first, last = self.ends(store)
        num = last - first + 1
        documents = runs(first, num)
        begins = np.maximum(store.document_ends(documents - 1), np.repeat(self.starts, num))
        ends = np.minimum(store.document_ends(documents), np.repeat(self.starts + self.lengths, num))
        return self.laid_out(np.repeat(documents, ends - begins), width, -1)

    def ends(self, store: TokenStore) -> tuple[Int64, Int64]:
        """The documents of the first and the last token of each span, (n,) each."""
        return store.document_at(self.starts), store.document_at(self.starts + self.lengths - 1)


def document_bounds(store: TokenStore) -> tuple[Int64, Int64]:
    """``(starts, ends)``, each (num_documents,), of all documents of ``store``."""
    ends = store.document_ends(np.arange(store.num_documents))
    return np.concatenate([[0], ends[:-1]]) if len(ends) else ends, ends


def num_counting(store: TokenStore, starts: Int64, stops: Int64) -> Int64:
    """How many of the tokens of each stretch (n,) count as targets by the data; none where it is empty: (n,)."""
    out: Int64 = np.maximum(stops - starts, 0)
    if store.has_counts and (held := np.flatnonzero(out)).size:
        counts, lengths = store.counts_at(starts[held], out[held]), out[held]
        out[held] = np.add.reduceat(counts, np.cumsum(lengths) - lengths, dtype=np.int64)
    return out


def most_documents(store: TokenStore, length: int) -> int:
    """The most documents that any ``length`` neighbouring tokens touch."""
    most = 0
    for first in range(0, store.num_documents, _AT_A_TIME):
        documents = np.arange(first, min(first + _AT_A_TIME, store.num_documents))
        last_token = store.document_ends(documents) - 1  # a span that begins there touches the most
        beyond = store.document_at(np.minimum(last_token + length - 1, store.num_tokens - 1))
        most = max(most, int((beyond - documents).max()) + 1)
    return most


def most_short_documents(store: TokenStore, length: int) -> int:
    """The most documents that ``length`` tokens touch when documents may lie in any order: the ends of two, one token
    each, and between them as many of the shortest as fit."""
    starts, ends = document_bounds(store)
    lengths = ends - starts
    few = min(length, len(lengths) - 1)
    shortest = np.sort(np.partition(lengths, few)[: few + 1])
    whole = int(np.searchsorted(np.cumsum(shortest), length - 2, side="right"))
    return min(whole + 2, len(lengths), length)
