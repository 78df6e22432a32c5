"""The files of a shard, mapped.

Guarantee: what is mapped has the shape and the dtype that the manifest says. Cost: opening a file; nothing is read. A
mapping keeps a descriptor below Python 3.13, and none from there on.
"""

import errno
import mmap
import os
from collections.abc import Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from windrow.arrays import Int64, Tokens, grouped
from windrow.errors import StoreError
from windrow.store.manifest import Column, Manifest, Shard
from windrow.system import advise_mapping, map_descriptor, may_open_more

__all__ = [
    "advise",
    "map_column",
    "map_documents",
    "map_file",
    "map_origins",
    "of_documents",
    "require_rising",
]

_LIMITS = {
    errno.EMFILE: "this process's limit of open files (ulimit -n)",
    errno.ENFILE: "this machine's limit of open files (fs.file-max)",
    errno.ENOMEM: "the limit of mappings (vm.max_map_count) or of memory (ulimit -v)",
}
_MOST_HEADER = 1 << 16  # bytes
_READ_HEADER = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}


def map_file(path: Path, needed: int = 1, *, at_random: bool = False) -> mmap.mmap | bytes:
    """The bytes of the file ``path``, mapped; an empty one cannot be. Read ``at_random``, nothing around is read too.

    Raises ``StoreError`` when it cannot be; where too many are open, it says that ``needed`` more are to be.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if not os.fstat(descriptor).st_size:
                return b""
            mapped = map_descriptor(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EMFILE and may_open_more():
            return map_file(path, needed, at_random=at_random)
        if limit := _LIMITS.get(error.errno or 0):
            raise StoreError(
                f"{path} cannot be opened: {limit} is reached, and this store needs {needed} files more. Raise the "
                "limit, or open fewer stores at a time."
            ) from error
        raise StoreError(
            f"{path} cannot be read: {error.strerror}. Restore it from a copy, or prepare the store again."
        ) from error
    if at_random:
        advise_mapping(mapped, "MADV_RANDOM")
    return mapped


def advise(tokens: Tokens, starts: Int64, stops: Int64, advice: str) -> None:
    """Tell the kernel how those of mapped ``tokens`` from ``starts`` to ``stops`` (n,) are read, neighbours at once."""
    mapped = getattr(tokens.base, "obj", tokens.base)
    if not isinstance(mapped, mmap.mmap):
        return
    order, size = np.argsort(starts), mmap.PAGESIZE
    begins, ends = starts[order] * tokens.itemsize // size, -(-stops[order] * tokens.itemsize // size)
    reach = np.maximum.accumulate(ends)
    heads = np.flatnonzero(np.append(True, begins[1:] > reach[:-1]))
    for begin, end in zip(begins[heads].tolist(), reach[np.append(heads[1:], 0) - 1].tolist(), strict=True):
        advise_mapping(mapped, advice, begin * size, (end - begin) * size)


def map_documents(folder: Path, shard: Shard, *, is_last: bool) -> Int64:
    """Where each document of ``shard`` ends, (num_documents,), mapped and looked at. Raises ``StoreError``."""
    path = folder / shard.documents
    ends: Int64 = _map_rows(path, (shard.num_documents,), "boundary", "int64")
    what = f"{path} is damaged (restore it, or prepare the store again): its numbers"
    require_rising(what, ends, shard.num_tokens, to_the_last=is_last)
    return ends


def map_origins(folder: Path, shard: Shard) -> Int64:
    """Source, line and bytes of each document of ``shard``, (num_documents, 4), mapped. Raises ``StoreError`` too."""
    return _map_rows(folder / shard.origins, (shard.num_documents, 4), "origins", "int64")


def require_rising(what: str, ends: Int64, num_tokens: int, *, to_the_last: bool = True) -> None:
    """Raise ``StoreError`` unless ``ends`` (n,) of documents rise from above 0 to at most, or to, ``num_tokens``."""
    last = ends[-1] if len(ends) else 0
    rises = not len(ends) or (ends[0] > 0 and (ends[1:] > ends[:-1]).all())
    if not rises or last > num_tokens or (to_the_last and last != num_tokens):
        edges = np.append(0, ends)
        wrong = np.flatnonzero((edges[1:] <= edges[:-1]) | (edges[1:] > num_tokens))
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
    held = map_file(path)
    try:
        file = BytesIO(held[:_MOST_HEADER])
        found, in_columns, dtype = _READ_HEADER[read_magic(file)](file)
        rows: NDArray[Any] = np.frombuffer(held, dtype, prod(found), file.tell())
        rows = rows.reshape(found, order="F" if in_columns else "C")
    except Exception as error:  # a header is read as Python, so it may raise nearly anything
        raise StoreError(f"{path} is no {what} file ({error!r:.200}). Restore it or prepare it again.") from error
    if rows.dtype not in map(np.dtype, dtypes) or rows.shape != shape:
        raise StoreError(
            f"{path} holds {rows.shape} {rows.dtype}, and the manifest says {shape} {' or '.join(dtypes)}. Restore it "
            "from a copy, or prepare the store again."
        )
    return rows
