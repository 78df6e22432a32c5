"""Bytes of a block -> its documents.

Guarantee: every document comes with its line (from 1, counted from the block's own start) and its bytes ``[start,
stop)`` in the source; what cannot be a document comes as ``Bad``, with the reason, and is never left out in silence.
Only lines of white space between lines of JSON are nothing at all. Cost: one block in memory.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from windrow.text.blocks import delimiter
from windrow.text.sources import Reading
from windrow.text.streams import num_lines
from windrow.tokens.protocol import EOT

__all__ = ["Bad", "Document", "documents", "split_literal"]


class Document(NamedTuple):
    """A text and where it lies: ``line`` counts from 1 within the block (0: it has none)."""

    text: str
    line: int
    start: int
    stop: int


class Bad(NamedTuple):
    """What stands where a document belongs."""

    reason: str
    line: int
    start: int
    stop: int


def documents(data: bytes, form: str, start: int, reading: Reading) -> Iterator[Document | Bad]:
    """The documents of a block of whole documents that starts at byte ``start`` of its source."""
    if form == "jsonl":
        return _lines(data, start, reading.text_key)
    return _texts(data, start, reading)


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
    return (
        f"not UTF-8: byte 0x{data[error.start]:02x} at offset {start + error.start} ({error.reason}). Replacing it "
        "would change the text in silence. Save the file as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8"
    )


def _lines(data: bytes, start: int, text_key: str) -> Iterator[Document | Bad]:
    decode = _decoder(text_key)
    for number, line in enumerate(data.split(b"\n"), 1):
        stop = start + len(line)
        if line and not line.isspace():
            try:
                text = decode(line)
            except (ValueError, RecursionError):
                text = None
            if text is None:
                yield _slow_line(line, text_key, number, start)
            else:
                yield Document(text, number, start, stop)
        start = stop + 1


def _slow_line(line: bytes, text_key: str, number: int, start: int) -> Document | Bad:
    """A line that the fast decoder does not take, by the json module, which has the last word on any line."""
    stop = start + len(line)
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Bad(not_utf8(line, error, start), number, start, stop)
    except json.JSONDecodeError as error:
        return Bad(f"not JSON: {error.msg} at column {error.colno}", number, start, stop)
    except RecursionError:
        return Bad("not JSON that can be read: nested too deep", number, start, stop)
    except ValueError as error:  # a whole number of thousands of digits
        return Bad(f"not JSON that can be read: {error}", number, start, stop)
    if not isinstance(row, dict):
        return Bad(f"a JSON {type(row).__name__}, and each line must be an object", number, start, stop)
    if text_key not in row:
        keys = ", ".join(map(repr, list(row)[:8]))
        return Bad(f"no key {text_key!r} (it has {keys}). Name the right one with text_key", number, start, stop)
    text = row[text_key]
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        return Bad(f"{text_key!r} is {kind}, and text is a string", number, start, stop)
    try:
        text.encode()
    except UnicodeEncodeError:
        return Bad(f"{text_key!r} has half a surrogate pair, and UTF-8 has none", number, start, stop)
    return Document(text, number, start, stop)


@cache
def _decoder(text_key: str) -> Callable[[bytes], str | None]:
    """The text of a line; None or ValueError when it takes a closer look."""
    try:
        import msgspec
    except ImportError:
        return lambda line: None if b"\\u" in line else _plain_text(json.loads(line.decode()), text_key)
    row = msgspec.defstruct("Row", [("text", str | None, None)], rename={"text": text_key}, gc=False)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(row).decode
    return lambda line: decode(line).text


def _plain_text(row: Any, text_key: str) -> str | None:
    text = row.get(text_key) if isinstance(row, dict) else None
    return text if isinstance(text, str) else None
