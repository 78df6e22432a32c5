"""Bytes of a block -> its documents.

Guarantee: every document comes with its line (from 1, counted from the block's own start) and its bytes ``[start,
stop)`` in the source; what cannot be a document comes as ``Bad``, with the reason, and is never left out in silence.
Only lines of white space between lines of JSON are nothing at all. Cost: one block in memory.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from windrow.errors import SourceError
from windrow.text.blocks import delimiter
from windrow.text.json_forms import JSON, LINE_FORMS, elements
from windrow.text.reading import Reading
from windrow.text.rows import Bad, Document, document_of
from windrow.text.sources import BOM
from windrow.text.streams import num_lines
from windrow.tokens.protocol import EOT

__all__ = ["documents", "read_text", "split_literal"]

_WITH_NUMBERS = json.JSONDecoder(parse_int=lambda digits: int(digits[:40]))  # Python refuses those of 5000 digits
_Decode = Callable[[bytes], str | None]


def documents(data: bytes, form: str, start: int, reading: Reading) -> Iterator[Document | Bad]:
    """The documents of a block of whole documents that starts at byte ``start`` of its source."""
    if form not in LINE_FORMS:
        return _texts(data, start, reading)
    is_array = form == "json" and start <= len(BOM) and re.match(rb"\s*\[", data)
    return (_array if is_array else _lines)(data, start, reading)


def split_literal(document: Document) -> Iterator[Document]:
    """The documents that literal ``<|endoftext|>`` separates; an empty rest after the last one is none."""
    parts = document.text.split(EOT)
    for number, text in enumerate(parts):
        if text or number < len(parts) - 1 or number == 0:
            yield document._replace(text=text)


def _texts(data: bytes, start: int, reading: Reading) -> Iterator[Document | Bad]:
    between = delimiter("text", reading)
    here, line = 0, 1
    for found in between.finditer(data) if between else ():
        yield _decoded(data[here : found.start()], line, start + here)
        line += num_lines(data, here, found.end())
        here = found.end()
    if here < len(data) or not here:
        yield _decoded(data[here:], line, start + here)


def _decoded(data: bytes, line: int, start: int) -> Document | Bad:
    try:
        return Document(data.decode("utf-8"), line, start, start + len(data))
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        return Bad(not_utf8(data, error, start), line, start, start + len(data))


def not_utf8(data: bytes, error: UnicodeDecodeError, start: int) -> str:
    """The reason for ``data`` at byte ``start`` of its source, which did not decode."""
    if not start and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "not UTF-8 but UTF-16, as its first bytes say. Save the file as UTF-8: iconv -f UTF-16 -t UTF-8"
    return (
        f"not UTF-8: byte 0x{data[error.start]:02x} at offset {start + error.start} ({error.reason}). Replacing it "
        "would change the text in silence. Save the file as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8"
    )


def read_text(path: Path) -> str:
    """The text of one file, line ends as "\\n". Raises ``SourceError`` when it is not UTF-8, or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is {not_utf8(error.object, error, 0)}.") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check the path.") from error


def _lines(data: bytes, start: int, reading: Reading) -> Iterator[Document | Bad]:
    decode = _decoder(reading)
    for number, line in enumerate(data.split(b"\n"), 1):
        if line and not line.isspace():
            yield _document(line, number, start, reading, decode)
        start += len(line) + 1


def _array(data: bytes, start: int, reading: Reading) -> Iterator[Document | Bad]:
    """The elements of one JSON array, each at the line where it starts."""
    decode, here, line = _decoder(reading), 0, 1
    try:
        for first, stop in elements(data):
            line += num_lines(data, here, first)
            here, row = first, data[first:stop]
            yield _document(row, line, start + first, reading, decode)
    except (ValueError, RecursionError) as error:
        yield Bad(f"no whole JSON array: {error}", line, start + here, start + len(data), True)


def _document(row: bytes, line: int, start: int, reading: Reading, decode: _Decode) -> Document | Bad:
    """The fast decoder does not look at what it passes over, so whether all of a row is UTF-8 is asked before."""
    try:
        text = decode(row) if row.isascii() or row.decode() else None
    except (ValueError, RecursionError):
        text = None
    if text is None:
        return _looked_at(row, line, start, reading)
    return Document(text, line, start, start + len(row))


def _looked_at(data: bytes, line: int, start: int, reading: Reading) -> Document | Bad:
    """A row that the fast decoder does not take, by the json module, which has the last word on any row."""
    stop = start + len(data)
    try:
        row = (_WITH_NUMBERS if reading.has_rows or reading.keep else JSON).decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Bad(not_utf8(data, error, start), line, start, stop)
    except json.JSONDecodeError as error:
        return Bad(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}", line, start, stop)
    except RecursionError:
        return Bad("not JSON that can be read: nested too deep", line, start, stop)
    if not isinstance(row, dict):
        return Bad(f"a JSON {type(row).__name__}, and each document is an object", line, start, stop)
    return document_of(row, line, start, stop, reading)


@cache
def _decoder(reading: Reading) -> _Decode:
    """The text of a row; None or ValueError when it takes a closer look."""
    try:
        import msgspec
    except ImportError:
        msgspec = None  # type: ignore[assignment]
    if msgspec is None or reading.has_rows or reading.keep:
        return lambda row: None
    rename = {"text": reading.keys["text_key"]}
    row = msgspec.defstruct("Row", [("text", str | None, None)], rename=rename, gc=False)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(row).decode
    return lambda row: decode(row).text
