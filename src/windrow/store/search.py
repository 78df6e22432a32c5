"""A phrase looked for in a store, on decoded bytes.

Guarantee: every place where the bytes of the phrase stand in the text that the tokens decode to, also across the edges
of what is read at a time; a place is the tokens that hold those bytes. Cost: linear, one pass over the store, a few MB
of memory. It does not do: other spellings, case or white space; tokenizing the phrase, whose ids differ by its
neighbours.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np

from windrow.errors import WindrowError
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer

__all__ = ["find_text"]

AT_A_TIME = 1 << 16  # tokens


def find_text(
    store: TokenStore, phrase: str, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, int]]:
    """``(start, stop)``: the tokens of each place, rising. ``on_progress`` gets tokens done and found so far."""
    needle, found = phrase.encode(), 0
    if not needle:
        raise WindrowError("the text to look for is empty, and that is everywhere. Give some words.")
    decode = _decoder(store.tokenizer)
    length = cache(lambda token: len(decode([token])))
    for first in range(0, store.num_tokens, AT_A_TIME):
        tokens = store.tokens(first, first + AT_A_TIME + len(needle)).tolist()  # a token has one byte or more
        for start, stop in _in_stretch(decode(tokens), needle, map(length, tokens)):
            if start < AT_A_TIME:  # what begins later is found in the next stretch
                found += 1
                yield first + start, first + stop
        if on_progress:
            on_progress(min(first + AT_A_TIME, store.num_tokens), found)


def _in_stretch(data: bytes, needle: bytes, lengths: Iterable[int]) -> Iterator[tuple[int, int]]:
    at = data.find(needle)
    if at < 0:
        return
    ends = np.cumsum([*lengths])  # (n,) one past the last byte of each token
    while at >= 0:
        start, stop = np.searchsorted(ends, [at, at + len(needle) - 1], side="right")
        yield int(start), int(stop) + 1
        at = data.find(needle, at + 1)


def _decoder(tokenizer: Tokenizer) -> Callable[[list[int]], bytes]:
    """Tokens to bytes; a tokenizer without ``decode_bytes`` is asked for text, token by token."""
    one = cache(lambda token: tokenizer.decode([token]).encode())
    decode: Callable[[list[int]], bytes] = getattr(tokenizer, "decode_bytes", lambda tokens: b"".join(map(one, tokens)))
    return decode
