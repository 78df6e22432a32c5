"""Documents in memory: strings, or dicts that hold texts, parts or ids -> texts, and what is kept beside each.

Guarantee: what is no document is a ``SourceError`` with its number, whatever may be skipped. Cost: some MB of them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from windrow.errors import SourceError
from windrow.preparing.kept import Value, kept_values
from windrow.text.reading import Reading
from windrow.text.sources import Source

__all__ = ["batches"]

_BATCH = 1 << 22  # bytes


def batches(
    source: Source, reading: Reading, seen: Callable[[bytes], object]
) -> Iterator[tuple[list[str], list[tuple[Value, ...]], int]]:
    """Lists of texts (of lines of JSON) of about 4 MiB, what is kept beside each, and where the last ends."""
    texts, kept = list[str](), list[tuple[Value, ...]]()
    held = stop = 0
    for number, document in enumerate(source.documents or ()):
        text = _line_of(document, reading, number) if reading.has_rows else _text_of(document, reading, number)
        data = text.encode("utf-8", "surrogatepass")
        seen(data)
        texts.append(text)
        if reading.keep:
            kept.append(_kept_of(document, reading.keep, number))
            seen(repr(kept[-1]).encode())
        held, stop = held + len(data), stop + len(data)
        if held >= _BATCH or len(texts) >= 1 << 16:
            yield texts, kept, stop
            texts, kept, held = [], [], 0
    if texts:
        yield texts, kept, stop


def _kept_of(document: object, keep: Sequence[str], number: int) -> tuple[Value, ...]:
    try:
        if not isinstance(document, Mapping):
            raise ValueError(f"keep={[*keep]} names fields of rows. Yield dicts, or leave keep out")
        return kept_values(keep, map(document.get, keep))
    except ValueError as error:
        raise SourceError(f"document {number} of the iterable: {error}.") from error


def _line_of(document: object, reading: Reading, number: int) -> str:
    """What is wanted of a dict of parts or of ids, as a line of JSON."""
    try:
        row = {key: document[key] for key in reading.keys.values()}  # type: ignore[index]  # TypeError is the answer
        row |= {name: document.get(name) for name in reading.keep}  # type: ignore[attr-defined]
        return json.dumps(row, default=lambda array: array.tolist()) + "\n"
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        wanted = " and ".join(f"{name}={key!r}" for name, key in reading.keys.items())
        raise SourceError(
            f"document {number} of the iterable, a {type(document).__name__}, cannot be read ({type(error).__name__}: "
            f"{error}), and documents are dicts with lists under {wanted}."
        ) from None


def _text_of(document: object, reading: Reading, number: int) -> str:
    text_key = reading.keys["text_key"]
    text = document.get(text_key) if isinstance(document, Mapping) else document
    if isinstance(text, str):
        return text
    if isinstance(document, Mapping):
        held = ", ".join(map(repr, list(document)[:8]))
        what = f"has {type(text).__name__} under {text_key!r} (its keys are {held})"
    else:
        what = f"is a {type(document).__name__}"
    raise SourceError(
        f"document {number} of the iterable {what}, and documents are str, or dicts with a str under text_key="
        f"{text_key!r}. Give text_key= the right name, or yield texts."
    )
