"""A phrase looked for in a store, on decoded bytes.

Guarantee: every place where the bytes of the phrase stand in the text that the tokens decode to, also across the edges
of what is read at a time; a place is the tokens that hold those bytes. Cost: linear, one pass over the store, a few MB
of memory; a look at each token, and at bytes only where tokens follow one another as parts of the phrase do. It does
not do: other spellings, case or white space; tokenizing the phrase, whose ids differ by its neighbours.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np

from windrow.arrays import Int64, Tokens
from windrow.errors import WindrowError
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer

__all__ = ["find_text"]

AT_A_TIME = 1 << 16  # tokens
_BEGINS, _FOLLOWS, _HOLDS, _OTHER, _UNKNOWN = 1, 2, 4, 8, 16


def find_text(
    store: TokenStore, phrase: str, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, int]]:
    """``(start, stop)``: the tokens of each place, rising. ``on_progress`` gets tokens done and found so far."""
    needle, found = phrase.encode(), 0
    if not needle:
        raise WindrowError("the text to look for is empty, and that is everywhere. Give some words.")
    decode = _decoder(store.tokenizer)
    one = cache(lambda token: decode([token]))
    parts = _Parts(needle, one, store.tokenizer.vocab_size)
    for first in range(0, store.num_tokens, AT_A_TIME):
        tokens = store.tokens(first, first + AT_A_TIME + len(needle))  # a token has one byte or more
        for places in parts.stretches(tokens):
            held = tokens[places].tolist()
            for start, stop in _in_stretch(decode(held), needle, map(len, map(one, held))):
                if places[start] < AT_A_TIME:  # what begins later is found in the next stretch
                    found += 1
                    yield first + int(places[start]), first + int(places[stop - 1]) + 1
        if on_progress:
            on_progress(min(first + AT_A_TIME, store.num_tokens), found)


class _Parts:
    """Which part of ``needle`` a token can be, worked out once for each that occurs; ``one`` gives its bytes."""

    def __init__(self, needle: bytes, one: Callable[[int], bytes], vocab_size: int) -> None:
        self._needle, self._one, self._parts = needle, one, np.full(vocab_size, _UNKNOWN, np.uint8)

    def stretches(self, tokens: Tokens) -> Iterator[Int64]:
        """Where the needle can stand in ``tokens`` (n,): places side by side, those of tokens of no bytes left out."""
        parts = self._parts.take(tokens)
        if new := {*tokens[parts == _UNKNOWN].tolist()}:
            self._parts[[*new]] = [*map(self._part, map(self._one, new))]
            parts = self._parts.take(tokens)
        there, length = np.arange(len(tokens)), len(self._needle)
        if not parts.all():
            there = np.flatnonzero(parts)
            parts = parts[there]
        begins = np.flatnonzero((parts & _HOLDS) | (parts & _BEGINS & np.append(parts[1:] & _FOLLOWS, 0) >> 1))
        for near in np.split(begins, np.flatnonzero(np.diff(begins) >= length) + 1) if len(begins) else ():
            yield there[near[0] : near[-1] + length]

    def _part(self, token: bytes) -> int:
        """The bits of a token: it ends as the needle begins, it goes on within it, it holds it; none of no bytes."""
        needle = self._needle
        if not token:
            return 0
        if needle in token:
            return _HOLDS | _BEGINS | _FOLLOWS
        most = min(len(token), len(needle) - 1)
        begins = any(token.endswith(needle[:count]) for count in range(1, most + 1))
        follows = token in needle or any(token.startswith(needle[-count:]) for count in range(1, most + 1))
        return _OTHER | _BEGINS * begins | _FOLLOWS * follows


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
