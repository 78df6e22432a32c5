"""A phrase looked for in a store, on decoded bytes.

Guarantee: every place where the bytes of the phrase stand in the text that the tokens decode to, also across the edges
of what is read at a time; a place is the tokens that hold those bytes. Cost: linear, one pass over the store, a few MB
of memory. It does not do: other spellings, case or white space; tokenizing the phrase, whose ids differ by its
neighbours.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    lengths = _Lengths(store.tokenizer)
    first = 0
    while first < store.num_tokens:
        tokens = store.tokens(first, first + AT_A_TIME + _overlap(needle))
        for start, stop in _in_stretch(tokens, needle, lengths):
            if start < AT_A_TIME:  # what begins later is found in the next stretch
                found += 1
                yield first + start, first + stop
        first += AT_A_TIME
        if on_progress:
            on_progress(min(first, store.num_tokens), found)


def _overlap(needle: bytes) -> int:
    return len(needle)  # a token has one byte or more


def _in_stretch(tokens: NDArray[Any], needle: bytes, lengths: "_Lengths") -> Iterator[tuple[int, int]]:
    data = lengths.decode(tokens)
    at = data.find(needle)
    if at < 0:
        return
    ends = np.cumsum(lengths.of(tokens))  # (n,) one past the last byte of each token
    while at >= 0:
        start, stop = np.searchsorted(ends, [at, at + len(needle) - 1], side="right")
        yield int(start), int(stop) + 1
        at = data.find(needle, at + 1)


class _Lengths:
    """Bytes of tokens; a tokenizer without ``decode_bytes`` is asked for text, token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._whole: Callable[[list[int]], bytes] | None = getattr(tokenizer, "decode_bytes", None)
        self._tokenizer, self._known = tokenizer, dict[int, bytes]()

    def decode(self, tokens: NDArray[Any]) -> bytes:
        return self._whole(tokens.tolist()) if self._whole else b"".join(map(self._one, tokens.tolist()))

    def of(self, tokens: NDArray[Any]) -> NDArray[np.int64]:
        return np.array([len(self._one(token)) for token in tokens.tolist()], dtype=np.int64)

    def _one(self, token: int) -> bytes:
        if token not in self._known:
            whole = self._whole
            self._known[token] = whole([token]) if whole else self._tokenizer.decode([token]).encode()
        return self._known[token]
