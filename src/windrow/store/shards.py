"""The files of a shard, mapped.

Guarantee: what is mapped has the shape and the dtype that the manifest says. Cost: opening a file; nothing is read.
What boundaries say is looked at when they are first asked for, by ``require_rising``.
"""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from windrow.arrays import Int64, Tokens, grouped
from windrow.errors import StoreError
from windrow.store.manifest import Column, Manifest, Shard

__all__ = ["map_column", "map_documents", "map_origins", "map_tokens", "of_documents", "require_rising"]


def map_tokens(path: Path, num_tokens: int, dtype: str) -> Tokens:
    """The tokens, or the counts, in ``path`` (num_tokens,), mapped. Raises ``StoreError`` when they cannot be."""
    if not num_tokens:
        return np.empty(0, dtype=dtype)  # an empty file cannot be mapped
    try:
        return np.memmap(path, dtype=np.dtype(dtype).newbyteorder("<"), mode="r")
    except OSError as error:
        raise _cannot_map(path, error) from error


def map_documents(folder: Path, shard: Shard) -> Int64:
    """Where each document of ``shard`` ends, (num_documents,), mapped. Raises ``StoreError`` for another file."""
    return _map_rows(folder / shard.documents, (shard.num_documents,), "boundary", "int64")


def map_origins(folder: Path, shard: Shard) -> Int64:
    """Source, line and bytes of each document of ``shard``, (num_documents, 4), mapped. Raises ``StoreError`` too."""
    return _map_rows(folder / shard.origins, (shard.num_documents, 4), "origins", "int64")


def require_rising(what: str, ends: Int64, num_tokens: int, *, to_the_last: bool = True) -> None:
    """Raise ``StoreError`` unless ``ends`` (n,) of documents rise from above 0 to at most, or to, ``num_tokens``."""
    edges = np.append(0, ends)
    wrong = np.flatnonzero((edges[1:] <= edges[:-1]) | (edges[1:] > num_tokens))
    if len(wrong) or (to_the_last and edges[-1] != num_tokens):
        first = int([*wrong[:1], len(ends) - 1][0])
        raise StoreError(
            f"{what} must rise from above 0 to the number of tokens, {num_tokens}, and number {first + 1} of "
            f"{len(ends)} is {edges[first + 1]}, after {edges[first]}."
        )


def map_column(folder: Path, manifest: Manifest, name: str) -> list[NDArray[Any]]:
    """The values of a column in each shard (num_documents,): mapped numbers, or the strings of a category as objects.

    Raises ``StoreError`` when there is no such column, or its files are damaged.
    """
    for number, column in enumerate(manifest.columns):
        if column.name == name:
            paths = [(folder / shard.columns[number].file, shard.num_documents) for shard in manifest.shards]
            return [_values(path, num_documents, column) for path, num_documents in paths]
    names = ", ".join(repr(column.name) for column in manifest.columns)
    raise StoreError(
        f"{folder} has no column {name!r}; it has {names or 'none'}. Prepare it with keep=[{name!r}] to have it."
    )


def _values(path: Path, num_documents: int, column: Column) -> NDArray[Any]:
    if column.categories is None:
        return _map_rows(path, (num_documents,), "column", column.type)
    codes = _map_rows(path, (num_documents,), "column", "uint16", "int32")
    if codes.max(initial=0) >= len(column.categories) or codes.min(initial=0) < -1:
        raise StoreError(
            f"{path} holds codes from {codes.min()} to {codes.max()}, and {column.name!r} has "
            f"{len(column.categories)} categories. Restore it from a copy, or prepare the store again."
        )
    texts: NDArray[Any] = np.array([*column.categories, "missing"], object)[codes]
    return texts


def of_documents(of_shards: Sequence[NDArray[Any]], shards: Int64, rows: Int64) -> NDArray[Any]:
    """Of the values for the documents of each shard those at ``(shards, rows)`` (n,): (n,), a fresh array."""
    found = np.empty(len(rows), of_shards[0].dtype)
    for shard, here in grouped(shards):
        found[here] = of_shards[shard][rows[here]]
    return found


def _map_rows(path: Path, shape: tuple[int, ...], what: str, *dtypes: str) -> NDArray[Any]:
    try:
        rows: NDArray[Any] = open_memmap(path, mode="r")
    except OSError as error:
        raise _cannot_map(path, error) from error
    except Exception as error:  # a header is read as Python, so it may raise nearly anything
        raise StoreError(f"{path} is no {what} file ({error!r:.200}). Restore it or prepare it again.") from error
    if rows.dtype not in map(np.dtype, dtypes) or rows.shape != shape:
        raise StoreError(
            f"{path} holds {rows.shape} {rows.dtype}, and the manifest says {shape} {' or '.join(dtypes)}. Restore it "
            "from a copy, or prepare the store again."
        )
    return rows


def _cannot_map(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(
            f"{path} cannot be opened: too many files are open. A store keeps two or three open for each shard. Raise "
            "the limit (ulimit -n), or open fewer stores at a time."
        )
    return StoreError(f"{path} cannot be read: {error.strerror}. Restore it from a copy, or prepare the store again.")
