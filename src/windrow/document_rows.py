"""The rows of a policy other than "concat": pieces of documents side by side, then eos.

Guarantee: row r holds the pieces that the index gives it, in the store's order; within a piece every token but the
first is a target, and no target counts across two pieces or in padding. Cost: the store's gather. Knows no order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.pieces import Pieces
from windrow.spans import documents_of, lay_out, runs
from windrow.store.store import TokenStore

__all__ = ["DocumentRows"]

Int64 = NDArray[np.int64]


class DocumentRows:
    """The rows that ``pieces`` of ``store`` make, ``max_length + 1`` tokens each, filled up with ``eos_id``."""

    def __init__(self, store: TokenStore, max_length: int, pieces: Pieces, eos_id: int) -> None:
        self.pieces, self._store, self._width, self._eos_id = pieces, store, max_length + 1, eos_id

    @property
    def max_documents(self) -> int:
        """The most pieces in a row."""
        return int(np.diff(self.pieces.edges).max(initial=0))

    def starts(self, ids: Int64) -> Int64:
        """The first token of each row."""
        return self.pieces.starts[self.pieces.edges[ids]]

    def gather(self, ids: Int64) -> NDArray[Any]:
        starts, lengths, counts = self.pieces.of(ids)
        tokens = self._store.gather(runs(starts, lengths), 1)[:, 0]
        return lay_out(tokens, _sums(lengths, counts), self._width, self._eos_id)

    def target_mask(self, ids: Int64) -> NDArray[np.bool_]:
        _, lengths, counts = self.pieces.of(ids)
        followed = np.ones(int(lengths.sum()), dtype=np.bool_)
        followed[np.cumsum(lengths) - 1] = False  # the last token of a piece: what comes next is another document
        mask: NDArray[np.bool_] = lay_out(followed, _sums(lengths, counts), self._width, False)[:, :-1]
        return mask  # (B, L)

    def documents(self, ids: Int64) -> Int64:
        starts, lengths, counts = self.pieces.of(ids)
        return lay_out(documents_of(self._store, starts, lengths), _sums(lengths, counts), self._width, -1)

    def touches(self, ids: Int64, documents: Int64) -> NDArray[np.bool_]:
        starts, lengths, counts = self.pieces.of(ids)
        first, last = self._store.document_at(starts), self._store.document_at(starts + lengths - 1)
        hit = np.searchsorted(documents, first, side="left") < np.searchsorted(documents, last, side="right")
        touched: NDArray[np.bool_] = _sums(hit, counts) > 0
        return touched


def _sums(values: NDArray[Any], counts: Int64) -> Int64:
    """Sums over groups of ``counts`` (B,) neighbouring values, each of one or more: (B,)."""
    first = np.cumsum(counts) - counts
    return np.add.reduceat(values.astype(np.int64), first) if len(first) else first
