"""Names for arrays that go from room to room, the target that does not count, how arrays are walked and checked.

Shapes stand where arrays are made or taken.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from windrow.errors import LARGEST, brief

__all__ = ["IGNORE_INDEX", "Int64", "Mask", "Tokens", "UInt64", "cut_at", "digest", "grouped", "runs", "whole_numbers"]

IGNORE_INDEX = -100  # PyTorch's ignore_index: a target that does not count
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.unsignedinteger[Any]]  # ids as a store holds them: uint16 or uint32


def whole_numbers(name: str, values: ArrayLike) -> Int64:
    """``values`` as int64, of any shape, or the ``ValueError`` that names them; nothing is rounded, nothing wraps."""
    found = np.asarray(values)
    if found.dtype == np.int64 or not found.size:
        return found.astype(np.int64, copy=False)
    if found.dtype.kind not in "iu" or int(found.max()) > LARGEST:
        raise ValueError(f"{name} are {brief(values)}, and they must be whole numbers below 2**63")
    return found.astype(np.int64)


def digest(about: str, *arrays: NDArray[Any]) -> str:
    """sha256 (hex) of ``about`` and the bytes of ``arrays``, one after the other."""
    content = sha256(about.encode())
    for array in arrays:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def runs(first: Int64, lengths: Int64) -> Int64:
    """``first[i], first[i] + 1, ...``, ``lengths[i]`` of them, one after the other: (lengths.sum(),)."""
    before = np.cumsum(lengths) - lengths
    out: Int64 = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
    return out


def grouped(values: Int64) -> Iterator[tuple[int, Int64]]:
    """``(value, where it stands)`` for each value among ``values`` (n,), rising; one sort, however many there are."""
    rises = bool((values[1:] >= values[:-1]).all())
    order = np.arange(len(values)) if rises else np.argsort(values, kind="stable")
    ordered = values if rises else values[order]
    edges = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(values)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield int(ordered[begin]), order[begin:end]


def cut_at(edges: Int64, starts: Int64, stops: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Stretches (n,), none of them empty, cut where they cross one of the rising ``edges``; behind the last is no end.

    ``(which, part, starts, stops)``, (k,) each, in order: of which stretch, from which edge on, and where from there.
    """
    part = np.searchsorted(edges, starts, side="right") - 1
    num = np.searchsorted(edges, stops) - part
    which = np.repeat(np.arange(len(starts)), num)
    if len(which) > len(starts):
        part = runs(part, num)
        ends = np.append(edges[1:], np.iinfo(np.int64).max)
        starts, stops = np.maximum(starts[which], edges[part]), np.minimum(stops[which], ends[part])
    return which, part, starts - edges[part], stops - edges[part]
