"""How documents become rows: each row a list of pieces of the store, for the policies "pad", "pack" and "bos".

Guarantee: an index over the store, which is neither read nor rewritten; the same for equal stores, on every machine.
A document of n tokens is cut every ``max_length`` tokens into pieces that share one token, so that every token but its
first is a target exactly once; a document of one token has no target and no piece. Row r holds the pieces that the
index gives it, in the store's order, then eos; no target counts across two pieces or in padding. Cost: vectorised over
the documents, ten million of them in seconds. Knows no order.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.store.cache import kept
from windrow.store.store import TokenStore
from windrow.windows.best_fit import best_fit_decreasing
from windrow.windows.spans import document_bounds, documents_of, lay_out, runs

__all__ = ["INDEX_VERSION", "DocumentRows", "Pieces", "find_pieces", "pack"]

INDEX_VERSION = 1
Int64 = NDArray[np.int64]


class Pieces(NamedTuple):
    """Row r holds pieces ``edges[r]`` to ``edges[r + 1]``, each ``lengths`` tokens of the store from ``starts`` on."""

    starts: Int64  # (P,)
    lengths: NDArray[np.int32]  # (P,)
    edges: Int64  # (num_rows + 1,)

    @property
    def num_rows(self) -> int:
        return len(self.edges) - 1

    def of(self, rows: Int64) -> tuple[Int64, Int64, Int64]:
        """``(starts, lengths, counts)``: the pieces of ``rows`` (B,), (K,) each, and how many each has, (B,)."""
        counts = self.edges[rows + 1] - self.edges[rows]
        chosen = runs(self.edges[rows], counts)
        return self.starts[chosen], self.lengths[chosen].astype(np.int64), counts


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


def find_pieces(store: TokenStore, max_length: int, policy: str) -> Pieces:
    """The rows of ``store`` under ``policy``: "pad", "pack" or "bos"; a row has at most ``max_length + 1`` tokens."""
    return {"pad": _pad, "pack": _pack, "bos": _bos}[policy](store, max_length)


def _pad(store: TokenStore, max_length: int) -> Pieces:
    """A row for each piece."""
    starts, lengths = _cut(store, max_length)
    return Pieces(starts, lengths, np.arange(len(starts) + 1))


def _pack(store: TokenStore, max_length: int) -> Pieces:
    """Pieces of several documents in a row; kept in the cache for a store that has files."""
    if store.path is None:
        return pack(*_cut(store, max_length), max_length)
    name = f"pack-v{INDEX_VERSION}-{max_length}-{store.fingerprint}"
    return Pieces(**kept(name, lambda: pack(*_cut(store, max_length), max_length)._asdict()))


def pack(starts: Int64, lengths: NDArray[np.int32], max_length: int) -> Pieces:
    """The pieces in rows, rows numbered by their first piece, pieces within a row in the order given."""
    row = best_fit_decreasing(lengths, max_length + 1)  # (P,)
    order = np.argsort(row, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(row)))
    return Pieces(starts[order], lengths[order], edges.astype(np.int64))


def _bos(store: TokenStore, max_length: int) -> Pieces:
    """Each row starts at the first document that begins at or after the end of the row before's inputs."""
    starts, _ = document_bounds(store)
    following = np.append(np.searchsorted(starts, starts + max_length), len(starts))  # (num_documents + 1,)
    begins = starts[_chain(following)]
    lengths = np.minimum(max_length + 1, store.num_tokens - begins)
    kept = lengths > 1  # only the last row can be one token, with no target
    return Pieces(begins[kept], lengths[kept].astype(np.int32), np.arange(np.count_nonzero(kept) + 1))


def _cut(store: TokenStore, max_length: int) -> tuple[Int64, NDArray[np.int32]]:
    """All pieces of all documents, in the store's order: starts and lengths (P,)."""
    starts, ends = document_bounds(store)
    num = -(-(ends - starts - 1) // max_length)  # (num_documents,)
    begins = starts.repeat(num) + runs(np.zeros_like(num), num) * max_length
    return begins, np.minimum(max_length + 1, ends.repeat(num) - begins).astype(np.int32)


def _chain(following: Int64) -> Int64:
    """``0, following[0], following[following[0]], ...`` up to the last number, which follows itself and is left out.

    Doubled each round: with the steps of the first 2**k known, those of the next are 2**k steps ahead of them.
    """
    last = len(following) - 1
    chain, ahead = np.zeros(1, dtype=np.int64), following
    while chain[-1] < last:
        chain = np.concatenate([chain, ahead[chain]])
        ahead = ahead[ahead]
    return chain[chain < last]
