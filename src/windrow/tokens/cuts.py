"""Where text may be cut without changing its ids, and where records end.

Guarantee: at a place that ``first_cut`` gives, GPT-2's, cl100k's and o200k's patterns begin a new piece whatever
comes before and after, so the ids of the parts are those of the whole. The rule asks for less than is true: a letter
or digit of a fixed table, then a character of another, so that it is the same on every Python and its Unicode
version. Cost: a regex over 2 kB where text is ordinary.

Why it is true. All three patterns match letters (with marks) in one run, and digits in another, each to its end;
only a contraction may follow in the same piece. So the run ends a piece if what comes next is neither letter, mark
nor apostrophe (after a letter), or no number (after a digit); blanks look ahead, but none stand before the place.
"""

import itertools
import re
from collections.abc import Callable

__all__ = ["LIMIT", "PIECE", "cut_long", "cuts_of", "first_cut", "next_cut"]

PIECE = 1 << 22  # bytes: a longer document is tokenized in pieces of about this size
LIMIT = 1 << 23  # bytes: how far a place to cut is looked for
_STEP = 1 << 16
_NEAR = 1 << 11
Read = Callable[[int, int], bytes]  # bytes [start, stop) of a document, fewer at its end

_LETTERS = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0391-\u03a1\u03a3-\u03c9\u0400-\u0481\u048a-\u052f"  # Latin, Greek
    "\u0531-\u0556\u0561-\u0586\u05d0-\u05ea\u0621-\u063f\u0641-\u064a\u0905-\u0939\u0995-\u09a8"  # to Bengali
    "\u0b85-\u0b8a\u0e01-\u0e30\u10d0-\u10f0\u1200-\u1248\u1780-\u17b3\u3041-\u3096\u30a1-\u30fa"  # to Katakana
    "\u3400-\u4db5\u4e00-\u9fd5\uac00-\ud7a3"  # CJK, Hangul
)
_AFTER = (
    r"\t\n\r !\"#$%&()*+,\-./:;<=>?@\[\\\]\^_`{|}~"
    "\u060c\u061b\u061f\u0964\u0965\u2013\u2014\u2018\u201c\u201d\u2026\u3000-\u3002\u3008-\u3011\uff01\uff0c\uff1a\uff1b\uff1f"
)
_CUT = re.compile(rf"(?<=[{_LETTERS}])(?<!<\|endoftext)(?=[{_AFTER}0-9])|(?<=[0-9])(?=[{_AFTER}A-Za-z])")


def first_cut(read: Read, start: int, cuttable: bool = True) -> int | None:
    """The first place at or after ``start`` where the text may be cut; its end if there is none; None past LIMIT."""
    begin = max(start - 64, 0)
    near = _search(read(begin, begin + _NEAR), start - begin) if cuttable else None  # where text is ordinary
    if near is not None:
        return begin + near
    while begin < start + LIMIT:
        window = read(begin, begin + _STEP)
        found = _search(window, max(start - begin, 0)) if cuttable else None
        if found is not None:
            return begin + found
        if len(window) < _STEP:
            return begin + len(window)
        begin += _STEP - 64  # enough for what the rule looks back at
    return None


def _search(window: bytes, at: int) -> int | None:
    while at < len(window) and window[at] & 0xC0 == 0x80:  # to the start of a character
        at += 1
    head = len(window[:at].decode("utf-8", "surrogateescape"))  # bytes that are not text are single, and no letters
    text = window.decode("utf-8", "surrogateescape")
    found = _CUT.search(text, head)
    return len(text[: found.start()].encode("utf-8", "surrogateescape")) if found else None


def cut_long(data: bytes, cuttable: bool = True) -> list[bytes] | None:
    """A document's pieces, the same wherever it stands; None when one would be longer than allowed."""
    edges = [0]
    for place in range(PIECE, len(data), PIECE):
        cut = first_cut(lambda start, stop: data[start:stop], place, cuttable)
        if cut is None:
            return None
        if edges[-1] < cut < len(data):
            edges.append(cut)
    return [data[start:stop] for start, stop in itertools.pairwise([*edges, len(data)])]


def next_cut(text: str, start: int) -> int | None:
    """The first place at or after ``start`` where a text may be cut, None if there is none."""
    found = _CUT.search(text, start)
    return found.start() if found else None


def cuts_of(text: str) -> list[int]:
    """All places in a short text where it may be cut."""
    return [found.start() for found in _CUT.finditer(text)]
