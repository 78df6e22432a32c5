"""Keyed permutations of ``range(num)``, computed value by value.

Guarantee: the answer depends on the arguments and nothing else; no memory that grows with ``num``, the same numbers on
every platform. Cost: tens of nanoseconds a value when asked for thousands at a time.

A shuffle is a keyed Feistel network over the smallest power of two that holds ``num`` values; a value that falls
outside is fed in again until it lands inside (cycle walking), so that the result is a permutation of ``range(num)``
for every ``num``. Format-preserving encryption does the same: Black and Rogaway, "Ciphers with arbitrary finite
domains" (2002).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Self

import numpy as np

from windrow.arrays import Int64, UInt64
from windrow.errors import LARGEST, whole_number

__all__ = ["MAX_SAMPLES", "ORDER_VERSION", "Permutation", "Tweak", "absorbed", "keyed_integers", "spread"]

ORDER_VERSION = 1
MAX_SAMPLES = LARGEST
Tweak = Int64 | int
_ROUNDS_LARGE = 6
_ROUNDS_SMALL = 24  # below 2**16 fewer rounds are visibly not uniform over the orders
_SLICE = 1 << 14  # values worked on at a time: the four temporaries stay in a core's cache
_HALF = np.uint64(32)
_MIX_1 = np.uint64(0x9E3779B97F4A7C15)  # odd multipliers with well-spread bits: the golden ratio
_MIX_2 = np.uint64(0xD6E8FEB86659FD93)  # and one that was searched for avalanche in 64-bit finalizers


def keyed_integers(count: int, *key: int | str) -> UInt64:
    """``count`` 64-bit integers (count,) uint64 from hashing ``key``; distinct keys give unrelated integers."""
    message = json.dumps(["windrow order", ORDER_VERSION, *key]).encode()
    digest = hashlib.shake_256(message).digest(8 * count)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


class Permutation:
    """A family of permutations of ``range(num)`` chosen by ``key``, computed value by value.

    ``num`` is 1 .. 2**63 - 1. ``forward`` and ``inverse`` map int64 arrays (B,) to arrays of the same shape; values
    outside ``range(num)`` are the caller's mistake. Each combination of ``tweaks``, integers or arrays (B,) of them,
    is a permutation of its own: an epoch's, a block's. (A tweakable cipher in the sense of Liskov, Rivest and
    Wagner, 2002: many permutations under one key, at no cost for changing between them.)
    """

    def __init__(self, num: int, *key: int | str) -> None:
        self.num: int = whole_number("num", num)
        bits = (self.num - 1).bit_length()
        rounds = _ROUNDS_SMALL if self.num < 2**16 else _ROUNDS_LARGE
        low_bits, keys = bits // 2, keyed_integers(rounds + 1, *key)
        made = [self.num, low_bits, (1 << (bits - low_bits)) - 1, (1 << low_bits) - 1]  # masks: high half, low half
        self._made: UInt64 = np.append(np.array(made, dtype=np.uint64), keys)[:, None]  # (5 + rounds, 1)

    def forward(self, indices: Int64, *tweaks: Tweak) -> Int64:
        """Where each of ``indices`` (B,) int64 goes: (B,) int64."""
        return _walked(self._made, indices, tweaks)

    def inverse(self, values: Int64, *tweaks: Tweak) -> Int64:
        """Where each of ``values`` (B,) int64 came from: (B,) int64."""
        return _walked(self._made, values, tweaks, step=-1)

    @classmethod
    def forward_each(cls, permutations: Sequence[Self], which: Int64, indices: Int64, tweak: Int64) -> Int64:
        """Where each of ``indices`` (B,) goes by its own, ``which`` (B,), of ``permutations``, all at once: (B,)."""
        out, num_rows = np.empty_like(indices), np.array([len(one._made) for one in permutations])
        for num in np.unique(num_rows).tolist():
            mine, here = np.flatnonzero(num_rows == num), np.flatnonzero(num_rows[which] == num)
            made = np.concatenate([permutations[one]._made for one in mine.tolist()], axis=1)
            for part in (here[first : first + _SLICE] for first in range(0, len(here), _SLICE)):
                out[part] = _walked(made[:, np.searchsorted(mine, which[part])], indices[part], [tweak[part]])
        return out


def _walked(made: UInt64, values: Int64, tweaks: Sequence[Tweak], step: int = 1) -> Int64:
    """Each of ``values`` (B,) permuted by what a permutation is ``made`` of, (n, 1), or each by its own, (n, B)."""
    out = np.array(values, dtype=np.uint64)  # (B,) a copy: worked on in place
    tweak = absorbed(made[4], tweaks)
    for first in range(0, len(out), _SLICE):
        here = slice(first, first + _SLICE)
        part, own, by = out[here], _of(tweak, here), _of(made, here)
        _network(part, own, by, step)
        outside = np.flatnonzero(part >= by[0])
        while len(outside):
            again, by_these = part[outside], _of(by, outside)
            _network(again, _of(own, outside), by_these, step)
            part[outside] = again
            outside = outside[again >= by_these[0]]
    return out.view(np.int64)


def _of(numbers: UInt64, here: slice | Int64) -> UInt64:
    """Those of the values ``here``, where not one number serves all."""
    return numbers if numbers.shape[-1] == 1 else numbers[..., here]


def _network(values: UInt64, tweak: UInt64, made: UInt64, step: int) -> None:
    _, low_bits, *masks = made[:4]
    halves = (values >> low_bits, values & masks[1])  # high half, low half
    mixed, shifted = np.empty_like(values), np.empty_like(values)
    for r in range(len(made) - 5)[::step]:
        target, other = halves[r % 2], halves[1 - r % 2]
        np.bitwise_xor(other, made[5 + r] ^ tweak, out=mixed)
        np.multiply(mixed, _MIX_1, out=mixed)
        np.right_shift(mixed, _HALF, out=shifted)
        np.bitwise_xor(mixed, shifted, out=mixed)
        np.multiply(mixed, _MIX_2, out=mixed)
        np.right_shift(mixed, _HALF, out=mixed)
        np.bitwise_and(mixed, masks[r % 2], out=mixed)
        np.bitwise_xor(target, mixed, out=target)
    np.left_shift(halves[0], low_bits, out=values)
    np.bitwise_or(values, halves[1], out=values)


def absorbed(key: UInt64 | np.uint64, tweaks: Sequence[Tweak]) -> UInt64:
    """``key`` and the tweaks as one 64-bit number, or one for each value: (), (1,) or (B,)."""
    mixed: UInt64 = np.array(key)
    for tweak in tweaks:
        row = np.asarray(tweak, dtype=np.int64)
        if row.ndim and len(row) and (row == row[0]).all():
            row = row[0]  # one epoch: a number serves all, and costs nothing
        mixed = spread(np.bitwise_xor(mixed, row.astype(np.uint64)))
    return mixed


def spread(numbers: UInt64) -> UInt64:
    """Each number as an unrelated one: one-to-one, every bit reaches all."""
    mixed = np.multiply(numbers, _MIX_1, out=np.empty_like(numbers))  # with out: a scalar's overflow would warn
    mixed = mixed ^ (mixed >> _HALF)
    mixed = np.multiply(mixed, _MIX_2, out=np.empty_like(numbers))
    return np.asarray(mixed ^ (mixed >> _HALF))
