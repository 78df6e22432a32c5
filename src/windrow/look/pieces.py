"""Tokens as a person reads them: the text of one, and neighbours joined that only together are a character.

Guarantee: the pieces hold every token once and in order, and none ends inside a character that the tokens go on with
(U+FFFD is shown as its tokens: it is what part of a character decodes to). Cost: a decoding a token, up to 16 for bytes
that are no character. It does not do: style. The text of a piece is raw, all other text is made harmless.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from windrow.shown import safe, visible
from windrow.tokens.protocol import Tokenizer

__all__ = ["Piece", "chip_text", "hues_of", "passages", "pieces", "reading", "token_text"]

_MOST = 16  # tokens tried as one piece
_KEPT = "\n\t\u200c\u200d"  # of what does not print, what reading needs: lines, tabs, joiners of letters and emoji


class Piece(NamedTuple):
    """Neighbouring tokens, most often one, the place of the first in its row, and their text."""

    place: int
    ids: Sequence[int]
    text: str


def pieces(ids: Sequence[int], tokenizer: Tokenizer | None) -> Iterator[Piece]:
    """``ids`` in pieces of whole characters; a token that is part of none here is a piece of its own."""
    place = 0
    while place < len(ids):
        count, text = _whole(ids[place : place + _MOST], tokenizer) or (1, token_text(tokenizer, ids[place]))
        yield Piece(place, ids[place : place + count], text)
        place += count


def _whole(ids: Sequence[int], tokenizer: Tokenizer | None) -> tuple[int, str] | None:
    """How many of the first ``ids`` it takes to end with a character, and their text."""
    for count in range(1, len(ids) + 1):
        if tokenizer is None or ids[count - 1] < 0:
            return None
        if "\ufffd" not in (text := tokenizer.decode(ids[:count])):
            return count, text
    return None


def token_text(tokenizer: Tokenizer | None, token: int) -> str:
    """The text of one token; bytes that are part of a character are written ``\\xNN``, and -100 is -100."""
    if tokenizer is None or token < 0:
        return f"<{token}>" if token >= 0 else str(token)
    decode_bytes = getattr(tokenizer, "decode_bytes", None)
    if decode_bytes is None:
        return tokenizer.decode([token])
    data: bytes = decode_bytes([token])
    return data.decode("utf-8", errors="backslashreplace")


def chip_text(text: str) -> str:
    """``text`` of a piece as its chip shows it: a blank is ``·``, what does not print is an escape."""
    return visible(text).replace(" ", "·")


def hues_of(places: Iterable[int]) -> str:
    """The colour of each token, a digit: by its place in the store, so that it is the same in every row."""
    return "".join(str(place % 5) for place in places)


def passages(ids: Sequence[int], tokenizer: Tokenizer | None, eos_id: int | None) -> list[str]:
    """How ``ids`` read, a text for each document among them; none where no tokenizer is known."""
    runs = [[*run] for is_end, run in groupby(ids, lambda token: token == eos_id) if not is_end]
    return [visible(tokenizer.decode(run), keep=_KEPT) for run in runs] if tokenizer else []


def reading(texts: Sequence[str]) -> str:
    """HTML of ``passages``, each written in its own direction."""
    shown = "".join(f'<bdi dir="auto">{safe(text, keep=_KEPT)}</bdi>' for text in texts)
    return f"<div class=reading>{shown}</div>"
