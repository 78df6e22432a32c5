"""Stores written as token files of other tools.

Guarantee: all files of an export are there, or none; the index, without which nobody can read it, comes last. Beside
them lies ``OUT.json``: of what store it is, and what the format has no place for. Cost: a pass over the tokens, some MB
of memory. It does not do: one export over another.
"""

import json
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64
from windrow.distribution import __version__
from windrow.errors import StoreError
from windrow.store.formats import MEGATRON_DTYPES, MEGATRON_MAGIC
from windrow.store.store import TokenStore
from windrow.store.whole import write_whole

__all__ = ["EXPORTS", "export_store"]

_AT_A_TIME = 1 << 21  # tokens, documents
_Parts = dict[str, Iterator[Any]]  # what is written behind each ending, in pieces


def export_store(store: TokenStore, out: str | Path, format: str) -> list[Path]:
    """Write ``store``, whole or a view, to files that begin with ``out``, as "megatron" or "datatrove"; the files.

    Raises ``StoreError`` for what the format cannot hold, and if a file exists already.
    """
    if format not in EXPORTS:
        raise StoreError(f"format is {format!r}, and it is one of {', '.join(EXPORTS)}.")
    parts = EXPORTS[format](store)
    about = json.dumps({"format": format, **_provenance(store, parts)}, indent=1)
    paths = {Path(f"{out}{ending}"): each for ending, each in {".json": iter([about.encode()]), **parts}.items()}
    if there := [path for path in paths if path.exists()]:
        raise StoreError(f"{there[0]} is there already, and nothing is written over. Choose another place.")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    try:
        for path, pieces in paths.items():
            write_whole(path, lambda file, pieces=pieces: file.writelines(pieces))  # type: ignore[misc]
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return [*paths]


def _provenance(store: TokenStore, parts: _Parts) -> dict[str, Any]:
    kept = ("fingerprint", "num_tokens", "num_documents", "eos_id", "boundary")
    lost = ["counts"] * (store.has_counts and ".ds.loss" not in parts) + ["columns"] * bool(store.columns)
    tokenizer = dict(store.manifest.tokenizer) if store.manifest else None
    about = {"windrow": __version__, "store": str(store.path), "tokenizer": tokenizer, "lost": lost}
    return about | {name: getattr(store, name) for name in kept}


def _megatron(store: TokenStore) -> _Parts:
    dtype = "uint16" if store.dtype == np.uint16 else "int32"
    num, size, code = store.num_documents, np.dtype(dtype).itemsize, MEGATRON_DTYPES.index(dtype)

    def index() -> Iterator[Any]:
        yield MEGATRON_MAGIC + struct.pack("<QBQQ", 1, code, num, num + 1)
        yield from (_fitting(np.diff(edges), "int32") for edges in _edges(store))
        yield from ((edges[:-1] * size).astype("<i8") for edges in _edges(store))
        yield from (np.arange(first, stop, dtype="<i8") for first, stop in _slices(num + 1))

    tokens = (_fitting(store.tokens(*part), dtype) for part in _slices(store.num_tokens))
    return {".bin": tokens, ".idx": index()}


def _datatrove(store: TokenStore) -> _Parts:
    name = store.manifest.tokenizer["name"] if store.manifest else "Unknown Tokenizer"
    about = f"{name}|{store.dtype.itemsize}\n{store.num_tokens}\n{store.num_tokens / 1e9:.3g} GT"
    parts: _Parts = {".ds": (_fitting(store.tokens(*part), store.dtype.name) for part in _slices(store.num_tokens))}
    if store.has_counts:
        slices = (np.array([[first], [stop - first]]) for first, stop in _slices(store.num_tokens))
        parts[".ds.loss"] = (store.counts_at(*each) for each in slices)
    ends = (edges[1:].astype("<u8") for edges in _edges(store))
    return {**parts, ".ds.metadata": iter([about.encode()]), ".ds.index": ends}


EXPORTS: dict[str, Callable[[TokenStore], _Parts]] = {"megatron": _megatron, "datatrove": _datatrove}


def _fitting(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    if values.max() > np.iinfo(dtype).max:
        raise StoreError(f"{values.max()} does not fit {dtype}, which the format has. Give another format.")
    return values.astype(np.dtype(dtype).newbyteorder("<"))


def _edges(store: TokenStore) -> Iterator[Int64]:
    """Where documents begin and, one more, where the last of them ends, some at a time."""
    return (store.document_ends(np.arange(first - 1, stop)) for first, stop in _slices(store.num_documents))


def _slices(num: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, num, _AT_A_TIME), num])
