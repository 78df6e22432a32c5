"""What stands in a row: an object of JSON, or a dict -> a text; parts; or ids and their mask.

Guarantee: a row that holds something else raises ``ValueError`` with the reason; half a surrogate pair is no text. Ids
and masks are handed on as they stand: who knows the vocabulary looks at them. Cost: what is in the row.
"""

from collections.abc import Mapping
from typing import Any

from windrow.text.sources import Reading

__all__ = ["row_of"]


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
    if not isinstance(text, str):
        raise ValueError(f"{where!r} is {_kind(text)}, and text is a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where!r} has half a surrogate pair, and UTF-8 has none") from None
    return text


def _kind(found: Any) -> str:
    return "null" if found is None else type(found).__name__
