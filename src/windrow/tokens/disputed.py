"""Characters that the two engines may read differently: which texts have them, and which parts of a text.

Guarantee: a text that ``is_disputed`` denies has no such character; ``disputed_parts`` are the text, cut only
where each part keeps its ids.
"""

import itertools
import re

from windrow.tokens.cuts import next_cut

__all__ = ["disputed_parts", "is_disputed"]

_PART = 4096  # characters

# Where the Unicode tables of the two engines may differ: gigatoken 0.10 knows the letters of Unicode 17, tiktoken
# 0.14 those of 16 and 0.7 those of 15; the NFC of tokenizers 0.23 orders the marks of Unicode 9 and no later ones.
# Wide on purpose: whole areas of rare scripts, which later versions fill.
DISPUTED = (
    *((0x07FD, 0x07FD), (0x0870, 0x089F), (0x08CA, 0x08D3), (0x09FE, 0x09FE), (0x0C3C, 0x0C3C), (0x0C5C, 0x0C5C)),
    *((0x0CDC, 0x0CDC), (0x0D3B, 0x0D3C), (0x0EBA, 0x0EBA), (0x1715, 0x1715), (0x1ABF, 0x1AFF), (0x1C89, 0x1C8F)),
    *((0x1DF6, 0x1DFA), (0xA7CB, 0xA7F1), (0xA82C, 0xA82C), (0x10000, 0x1CFFF), (0x1DF00, 0x1EFFF)),
    *((0x2A6E0, 0x2A6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAF), (0x2EBE1, 0x10FFFF)),
)
_DISPUTED = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in DISPUTED) + "]")

# What the UTF-8 of a disputed character begins with, by its first byte, the search for which costs next to nothing.
_DISPUTED_STARTS = {
    b"\xdf": re.compile(rb"\xdf\xbd"),
    b"\xe0": re.compile(
        rb"\xe0(?:[\xa1\xa2]|\xa3[\x8a-\x93]|\xa7\xbe|\xb0\xbc|[\xb1\xb3]\x9c|\xb4[\xbb\xbc]|\xba\xba)"
    ),
    b"\xe1": re.compile(rb"\xe1(?:\x9c\x95|[\xab\xb2]|\xaa\xbf|\xb7[\xb6-\xba])"),
    b"\xea": re.compile(rb"\xea(?:\x9f|\xa0\xac)"),
    b"\xf0": re.compile(rb"\xf0[\x90-\x9e\xaa-\xbf]"),
    **{bytes([first]): re.compile(bytes([first])) for first in range(0xF1, 0xF5)},
}


def is_disputed(text: str) -> bool:
    """Whether the engines may disagree about a character of ``text``. Raises UnicodeEncodeError on half a surrogate
    pair. Next to nothing for most text, 3 ns a byte for some scripts, 9 a character where the quick search cannot tell.
    """
    return not text.isascii() and _may_be_disputed(text.encode()) and _DISPUTED.search(text) is not None


def disputed_parts(text: str) -> list[tuple[bool, str]]:
    """``text`` in parts, and of each whether it has such a character."""
    edges = [0]
    while (cut := next_cut(text, edges[-1] + _PART)) is not None:
        edges.append(cut)
    small = [text[start:stop] for start, stop in itertools.pairwise([*edges, len(text)])]
    return [(disputed, "".join(group)) for disputed, group in itertools.groupby(small, is_disputed)]


def _may_be_disputed(data: bytes) -> bool:
    return any(starts.search(data) for first, starts in _DISPUTED_STARTS.items() if first in data)
