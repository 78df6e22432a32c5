"""What stands in a row, of JSON or of a table -> its document: a text; parts; or ids and their mask.

Guarantee: a row that holds something else is ``Bad``, with the reason; half a surrogate pair is no text. Ids and masks
are handed on as they stand: who knows the vocabulary looks at them. Cost: what is in the row.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from windrow.text.reading import Reading

__all__ = ["Bad", "Document", "document_of", "has_half_a_pair", "row_of"]


class Document(NamedTuple):
    """A text and where it lies: ``line`` counts from 1 within the block (0: it has none).

    ``kept`` are the values of the fields that are kept of its row, as they were read. ``row`` holds its parts, each a
    text and whether it counts; or instead of a text ids and their mask, not looked at.
    """

    text: str
    line: int
    start: int
    stop: int
    kept: tuple[object, ...] = ()
    row: tuple[Any, ...] | None = None


class Bad(NamedTuple):
    """What stands where a document belongs; ``is_fatal``: what comes after it in the source is lost as well."""

    reason: str
    line: int
    start: int
    stop: int
    is_fatal: bool = False


def document_of(row: Mapping[str, Any], line: int, start: int, stop: int, reading: Reading) -> Document | Bad:
    """What a row holds, with the fields that are kept of it."""
    try:
        text, parts = row_of(row, reading)
    except ValueError as error:
        return Bad(str(error), line, start, stop)
    return Document(text, line, start, stop, tuple(map(row.get, reading.keep)), parts)


def row_of(row: Mapping[str, Any], reading: Reading) -> tuple[str, tuple[Any, ...] | None]:
    """The text of a row, and its parts ``((text, counts), ...)``, ids ``(ids,)`` or ids and mask ``(ids, mask)``."""
    for name, key in reading.keys.items():
        if key not in row:
            held = ", ".join(map(repr, list(row)[:8]))
            raise ValueError(f"no key {key!r} (it has {held}). Name the right one with {name}")
    if reading.ids_key is not None:
        return "", tuple(row[key] for key in reading.keys.values())
    ((name, key),) = reading.keys.items()
    if name == "text_key":
        return _text(row[key], key), None
    parts = _parts(row[key], key)
    return "".join(text for text, _ in parts), parts


def _parts(found: Any, key: str) -> tuple[tuple[str, int], ...]:
    if not isinstance(found, (list, tuple)):
        raise ValueError(f"{key!r} is {_kind(found)}, and parts are a list: [[text, 0 or 1], ...]")
    for number, part in enumerate(found):
        if not (isinstance(part, (list, tuple)) and len(part) == 2 and isinstance(part[1], int) and part[1] in (0, 1)):
            raise ValueError(f"part {number} of {key!r} is no pair of a text and 0 (context only) or 1 (it counts)")
    return tuple((_text(text, f"part {number} of {key}"), int(counts)) for number, (text, counts) in enumerate(found))


def _text(text: Any, where: str) -> str:
    if isinstance(text, UnicodeDecodeError):  # what a table has in the text's place
        wrong = f"byte 0x{text.object[text.start]:02x} at offset {text.start} of the text ({text.reason})"
        raise ValueError(f"{where!r} is not UTF-8: {wrong}")
    if not isinstance(text, str):
        raise ValueError(f"{where!r} is {_kind(text)}, and text is a string")
    if has_half_a_pair(text):
        raise ValueError(f"{where!r} has half a surrogate pair, and UTF-8 has none")
    return text


def has_half_a_pair(text: str) -> bool:
    """Whether a text holds half a surrogate pair, which UTF-8 has none of."""
    return not text.isascii() and text.encode("utf-8", "replace") != text.encode("utf-8", "surrogatepass")


def _kind(found: Any) -> str:
    return "null" if found is None else type(found).__name__
