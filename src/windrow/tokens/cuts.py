"""Where text may be cut without changing its ids, and where records end.

Guarantee: at a place that ``first_cut`` gives, each of ``PATTERNS`` begins a new piece whatever comes before and after,
so the ids of the parts are those of the whole, also where NFC comes first. The rule asks for less than is true, a
letter or digit of a fixed table, then a character of another, to be the same on every Python. Cost: a regex over 2 kB
where text is ordinary.

Why it is true. All patterns match letters (with marks) in one run, and digits in another, each to its end; only a
contraction may follow in the same piece. So the run ends a piece if what comes next is neither letter, mark nor
apostrophe (after a letter), or no number (after a digit); blanks look ahead, but none stand before the place. NFC joins
what comes next to nothing before it.
"""

import itertools
import re
from collections.abc import Callable, Sequence

from windrow.tokens.patterns import PATTERNS

__all__ = ["LIMIT", "PIECE", "Rule", "cut_long", "first_cut", "next_cut", "rule_of"]

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
_BLANK = re.compile(rf"(?<=[{_LETTERS}0-9])(?=[\t\n\r \u3000-\u3002\uff01\uff0c\uff1a\uff1b\uff1f])")
Rule = bool | str  # where a text may be cut: True, "blank" (for tokens with signs in them, as <think>), or nowhere
_RULES: dict[Rule, re.Pattern[str]] = {True: _CUT, "blank": _BLANK}


def rule_of(pattern: str | None, added: Sequence[str]) -> Rule:
    """The rule for text that is cut by ``pattern`` around the tokens ``added``, none of which a cut may divide."""
    rules = _RULES.items() if pattern in PATTERNS else ()
    return next((rule for rule, cut in rules if not any(map(cut.search, added))), False)


def first_cut(read: Read, start: int, cuttable: Rule = True) -> int | None:
    """The first place at or after ``start`` where the text may be cut; its end if there is none; None past LIMIT."""
    begin = max(start - 64, 0)
    near = _search(_RULES[cuttable], read(begin, begin + _NEAR), start - begin) if cuttable else None  # usually there
    if near is not None:
        return begin + near
    while begin < start + LIMIT:
        window = read(begin, begin + _STEP)
        found = _search(_RULES[cuttable], window, max(start - begin, 0)) if cuttable else None
        if found is not None:
            return begin + found
        if len(window) < _STEP:
            return begin + len(window)
        begin += _STEP - 64  # enough for what the rule looks back at
    return None


def _search(rule: re.Pattern[str], window: bytes, at: int) -> int | None:
    while at < len(window) and window[at] & 0xC0 == 0x80:  # to the start of a character
        at += 1
    head = len(window[:at].decode("utf-8", "surrogateescape"))  # bytes that are not text are single, and no letters
    text = window.decode("utf-8", "surrogateescape")
    found = rule.search(text, head)
    return len(text[: found.start()].encode("utf-8", "surrogateescape")) if found else None


def cut_long(data: bytes, cuttable: Rule = True) -> list[bytes] | None:
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
