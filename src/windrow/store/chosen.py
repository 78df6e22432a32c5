"""Some documents of a store, or all in another order, laid end to end: a line of its own over the tokens of the store.

Guarantee: what is returned is what a store of just these documents, in this order, would hold. Cost: 16 bytes a
document and 16 for each stretch of neighbours, so that leaving one out costs no more to read; no token is copied.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from windrow.arrays import Int64, Mask, Tokens, cut_at, whole_numbers
from windrow.store.line import Line

__all__ = ["ChosenLine", "document_numbers"]


class ChosenLine(Line):
    """``documents`` (m,) of the store ``parent``, each once: document i of this line is ``documents[i]`` there."""

    def __init__(self, parent: Any, documents: Int64) -> None:
        starts = parent.document_ends(documents - 1)
        bounds = np.append(0, np.cumsum(parent.document_ends(documents) - starts))
        super().__init__([], [bounds[1:]], parent.dtype)
        heads = np.flatnonzero(np.diff(documents, prepend=-2) != 1)  # the first of each run of neighbours
        self.documents = documents
        self.token_edges: Int64 = bounds[[0, -1]]
        self.has_counts: bool = parent.has_counts
        self._parent: Line = parent  # a store, which answers as a line does
        self._edges = np.append(bounds[heads], bounds[-1])
        self._starts = np.append(starts[heads], -1)  # in the parent, where -1 is what lies behind the end

    def gather(self, starts: Int64, length: int) -> Tokens:
        """The ``length`` tokens from each of ``starts`` (B,) on: (B, length), a fresh array."""
        there, lengths = self._in_parent(starts, np.full(len(starts), length))
        if len(there) == len(starts):
            return self._parent.gather(there, length)
        return self._parent.stretches(there, lengths).reshape(len(starts), length)

    def stretches(self, starts: Int64, lengths: Int64, fill: int = 0) -> Tokens:
        """``lengths[i]`` tokens from ``starts[i]`` on, one stretch after the other; ``fill`` from ``num_tokens`` on."""
        return self._parent.stretches(*self._in_parent(starts, lengths), fill)

    def will_need(self, starts: Int64, lengths: Int64) -> None:
        """Have stretches read from disk, and their counts, all at once; nothing waits for it."""
        self._parent.will_need(*self._in_parent(starts, lengths))

    def blocks(self, starts: Int64, lengths: Int64) -> tuple[Any, Int64] | None:
        """Of what is far away the cache, and the blocks of ``stretches`` in it."""
        return self._parent.blocks(*self._in_parent(starts, lengths))

    def counts_at(self, starts: Int64, lengths: Int64) -> Tokens | Mask | None:
        """Which tokens of ``stretches`` count as targets, or None where there are no counts."""
        return self._parent.counts_at(*self._in_parent(starts, lengths)) if self.has_counts else None

    def document_ends(self, documents: Int64) -> Int64:
        """Where each of ``documents`` (any shape) ends, same shape; document -1 ends at 0."""
        return np.where(documents < 0, 0, self.ends[0][documents])

    def places_in_shards(self, documents: Int64) -> tuple[Int64, Int64]:
        """``(shard, row)`` of ``documents`` (any shape): where they stand in the files of the parent's shards."""
        return self._parent.places_in_shards(self.documents[documents])

    def documents_in_shard(self, shard: int, rows: Int64) -> Int64:
        """The documents of this line that stand at ``rows`` of the parent's shard, rising; costs a look at each."""
        return np.flatnonzero(np.isin(self.documents, self._parent.documents_in_shard(shard, rows)))

    def _in_parent(self, starts: Int64, lengths: Int64) -> tuple[Int64, Int64]:
        """Stretches of this line as stretches of the parent, in order: starts and lengths."""
        _, part, begins, stops = cut_at(self._edges, starts, starts + lengths)
        return self._starts[part] + begins, stops - begins


def document_numbers(documents: ArrayLike, num_documents: int) -> Int64:
    """The numbers that ``documents`` gives, or where it is True: (m,), a fresh array. Raises ``ValueError``."""
    given = np.asarray(documents)
    is_mask = given.dtype.kind == "b"
    if given.ndim != 1 or (is_mask and len(given) != num_documents):
        raise ValueError(
            f"documents is {given.shape} {given.dtype}, and it is one row of numbers, or of bool with one for each of "
            f"the store's {num_documents} documents"
        )
    numbers: Int64 = np.flatnonzero(given) if is_mask else whole_numbers("documents", given).copy()
    if not len(numbers):
        raise ValueError(f"documents chooses none of the store's {num_documents}, and there would be nothing to read")
    _require_once(numbers, num_documents)
    return numbers


def _require_once(numbers: Int64, num_documents: int) -> None:
    outside = numbers[(numbers < 0) | (numbers >= num_documents)]
    if len(outside):
        raise ValueError(f"documents has number {outside[0]}, and those of the store run from 0 to {num_documents - 1}")
    seen = np.zeros(num_documents, dtype=np.bool_)
    seen[numbers] = True
    if np.count_nonzero(seen) < len(numbers):
        twice = int(np.bincount(numbers).argmax())
        raise ValueError(
            f"documents has number {twice} more than once, and a document lies in a store once. Leave repeats out "
            "(a weight in a Mixture repeats), and give a mask of 0 and 1 as bool."
        )
