"""Parquet and Arrow IPC files (what Hugging Face ``datasets`` keeps): row groups and batches -> documents.

Guarantee: rows come in the order of the file, null texts and those that are not UTF-8 as ``Bad``; the row's number,
from 1, stands where text files have a line. Cost: some thousand rows in memory. Needs pyarrow (extra ``io``).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from windrow.distribution import install_line
from windrow.errors import SourceError
from windrow.far.objects import is_far
from windrow.text.blocks import Block
from windrow.text.reading import Reading
from windrow.text.rows import Bad, Document, document_of
from windrow.text.sources import Source
from windrow.text.streams import chunks, open_binary

__all__ = ["row_groups", "rows"]

_ROWS = 1024
_LIST = r"(large_|fixed_size_)?list<\w+: (u?int\d+|bool)( not null)?>(\[\d+\])?"
_WANTED = {  # what stands under a key, what it is, and its type
    "text_key": ("text", "text is a string", r"(large_)?string(_view)?"),
    "ids_key": ("ids", "ids are lists of whole numbers", _LIST),
    "mask_key": ("masks", "masks are lists of whole numbers", _LIST),
}


def row_groups(source: Source, reading: Reading, target: int) -> Iterator[tuple[Block, int]]:
    """Runs ``[start, stop)`` of row groups with about ``target`` bytes of text, and their bytes."""
    sizes = _sizes(source, reading)
    start = held = 0
    for number, nbytes in enumerate(sizes):
        held += nbytes
        if held >= target or number == len(sizes) - 1:
            yield Block(start, number + 1, number + 1), held
            start, held = number + 1, 0


def rows(source: Source, block: Block, reading: Reading) -> Iterator[Document | Bad]:
    """The documents of some row groups; ``line`` is the row within the file."""
    read = _parquet_columns if source.form == "parquet" else _arrow_columns
    with _opened(source) as file, _damage_named(source):
        for batch, first in read(file, source, block, reading):
            names = [name for name in (*reading.keys.values(), *reading.keep) if name in batch.schema.names]
            columns = (_values(batch.column(name)) for name in names)
            for number, values in enumerate(zip(*columns, strict=True), first + 1):
                yield document_of(dict(zip(names, values, strict=True)), number, 0, 0, reading)


def _pyarrow() -> Any:
    try:
        arrow = import_module("pyarrow")
        import_module("pyarrow.ipc")
        import_module("pyarrow.parquet")
    except ImportError:
        raise SourceError(f"reading .parquet and .arrow needs pyarrow: {install_line('io')}") from None
    return arrow


def _opened(source: Source) -> BinaryIO:
    """The file, unpacked if need be: its parts are found by seeking."""
    if not source.compression:
        return open_binary(str(source.path))
    file: Any = TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.writelines(chunks(source))
    file.seek(0)
    return file  # type: ignore[no-any-return]


def _sizes(source: Source, reading: Reading) -> list[int]:
    with _opened(source) as file, _damage_named(source):
        if source.form == "arrow":
            return [_checked(batch, reading).nbytes for batch in _batches(file, source, reading)]
        parquet = _pyarrow().parquet.ParquetFile(file)
        _require_columns(source, parquet.schema_arrow, reading)
        names = [parquet.schema.column(number).path for number in range(len(parquet.schema))]
        key = next(iter(reading.keys.values()))
        within = [number for number, name in enumerate(names) if name.startswith(f"{key}.")]
        leaf = names.index(key) if key in names else [*within, 0][0]
        groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
        return [group.column(leaf).total_uncompressed_size for group in groups]


def _parquet_columns(file: BinaryIO, source: Source, block: Block, reading: Reading) -> Iterator[tuple[Any, int]]:
    """Some rows, and the number of rows before them."""
    parquet = _pyarrow().parquet.ParquetFile(file)
    first = sum(parquet.metadata.row_group(number).num_rows for number in range(block.start))
    groups = list(range(block.start, block.stop))
    names = [name for name in (*reading.keys.values(), *reading.keep) if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(_ROWS, row_groups=groups, columns=names, use_threads=False):
        yield batch, first
        first += batch.num_rows


def _arrow_columns(file: BinaryIO, source: Source, block: Block, reading: Reading) -> Iterator[tuple[Any, int]]:
    """Some rows, and the number of rows before them."""
    first = 0
    for number, batch in enumerate(islice(_batches(file, source, reading), block.stop)):
        if number >= block.start:
            checked = _checked(batch, reading)
            for start in range(0, batch.num_rows, _ROWS):
                yield checked.slice(start, _ROWS), first + start
        first += batch.num_rows


def _batches(file: BinaryIO, source: Source, reading: Reading) -> Iterator[Any]:
    """Record batches of the file format or of the stream format."""
    arrow = _pyarrow()
    is_mapped = not (source.compression or is_far(source.path))
    mapped: Any = arrow.memory_map(str(source.path)) if is_mapped else arrow.PythonFile(file)
    is_file = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    opener = arrow.ipc.open_file if is_file else arrow.ipc.open_stream
    reader = opener(mapped)
    _require_columns(source, reader.schema, reading)
    return map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)


@contextmanager
def _damage_named(source: Source) -> Iterator[None]:
    """What pyarrow raises about a damaged file, as an error that names the file."""
    try:
        yield
    except SourceError:
        raise
    except (OSError, ValueError, OverflowError) as error:  # ArrowInvalid is a ValueError
        raise SourceError(
            f"{source.path} is no whole {source.form} file ({error}). Download or copy it again."
        ) from error


def _require_columns(source: Source, schema: Any, reading: Reading) -> None:
    """Raise ``SourceError`` unless there is one column of the right type under each key, and no two of one to keep."""
    names = schema.names
    for name in reading.keep:
        if names.count(name) > 1:
            raise SourceError(f"{source.path} has {names.count(name)} columns {name!r}. Take it out of keep.")
    for name, key in reading.keys.items():
        wanted, flag = _WANTED[name], f"{name} (--{name.replace('_', '-')})"
        if names.count(key) != 1:
            has = f"has {names.count(key)} columns" if key in names else "has no column"
            raise SourceError(
                f"{source.path} {has} {key!r}; it has {', '.join(map(repr, names[:12]))}. Name the one column of "
                f"{wanted[0]} with {flag}."
            )
        kind = schema.field(key).type
        if not re.fullmatch(wanted[2], str(kind.value_type if _pyarrow().types.is_dictionary(kind) else kind)):
            raise SourceError(
                f"column {key!r} of {source.path} is of type {kind}, and {wanted[1]}. Name another column with {flag}."
            )


def _checked(batch: Any, reading: Reading) -> Any:
    """A batch that leads nowhere out of it. Whether its texts are UTF-8 is asked row by row."""
    batch.validate()
    for name in {*reading.keep} & {*batch.schema.names}:
        batch.column(name).validate(full=True)
    for name, key in reading.keys.items():
        column = batch.column(key)
        (column.view(_as_bytes(column.type)) if name == "text_key" else column).validate(full=True)
    return batch


def _as_bytes(kind: Any) -> Any:
    arrow = _pyarrow()
    if arrow.types.is_dictionary(kind):
        return arrow.dictionary(kind.index_type, _as_bytes(kind.value_type))
    return getattr(arrow, str(kind).replace("string", "binary"))()


def _values(column: Any) -> list[Any]:
    """The values of a column as Python has them; a text that is no UTF-8 as the error it makes."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:  # nobody looks at the bytes when such a file is written
        return [_value(value) for value in column]


def _value(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return error
