"""Rows made of spans of a store: which documents they hold, and how short ones are laid out.

Guarantee: arithmetic on the boundary index; no token is read. Cost: two searches per span and one number per place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.store.store import TokenStore

__all__ = ["document_bounds", "documents_of", "lay_out", "most_documents", "runs"]

Int64 = NDArray[np.int64]
_AT_A_TIME = 1 << 20


def document_bounds(store: TokenStore) -> tuple[Int64, Int64]:
    """``(starts, ends)``, each (num_documents,), of all documents of ``store``."""
    ends = store.document_ends(np.arange(store.num_documents))
    return np.concatenate([[0], ends[:-1]]) if len(ends) else ends, ends


def runs(first: Int64, lengths: Int64) -> Int64:
    """``first[i], first[i] + 1, ...``, ``lengths[i]`` of them, one after the other: (lengths.sum(),)."""
    before = np.cumsum(lengths) - lengths
    out: Int64 = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
    return out


def documents_of(store: TokenStore, starts: Int64, lengths: Int64) -> Int64:
    """The document of each token of the spans (K,), each of one token or more: (lengths.sum(),)."""
    first, last = store.document_at(starts), store.document_at(starts + lengths - 1)
    num = last - first + 1
    documents = runs(first, num)
    begins = np.maximum(store.document_ends(documents - 1), np.repeat(starts, num))
    ends = np.minimum(store.document_ends(documents), np.repeat(starts + lengths, num))
    return np.repeat(documents, ends - begins)


def lay_out(values: NDArray[Any], lengths: Int64, width: int, fill: Any) -> NDArray[Any]:
    """Rows of ``lengths`` (B,) values each, the rest of a row ``fill``: (B, width)."""
    if len(values) == len(lengths) * width:
        return values.reshape(len(lengths), width)
    out = np.full((len(lengths), width), fill, dtype=values.dtype)
    out[np.arange(width) < lengths[:, None]] = values
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
