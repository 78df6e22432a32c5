"""The order of samples as arithmetic: position -> (member, window, epoch), and back.

Guarantee: the answer depends on the arguments and nothing else; no state, no memory that grows with the number
of samples, the same numbers on every platform. Cost: tens of nanoseconds a position when asked for thousands at
a time. Knows no files, ranks or batches.

A shuffle is a keyed Feistel network over the smallest power of two that holds ``num`` values; a value that falls
outside is fed in again until it lands inside (cycle walking), so that the result is a permutation of ``range(num)``
for every ``num``. Format-preserving encryption does the same: Black and Rogaway, "Ciphers with arbitrary finite
domains" (2002).
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_SAMPLES",
    "ORDER_VERSION",
    "MemberOrder",
    "Order",
    "Permutation",
    "PlainOrder",
    "keyed_integers",
]

ORDER_VERSION = 1
MAX_SAMPLES = 2**63 - 1

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

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
    """A permutation of ``range(num)`` chosen by ``key``, computed value by value.

    ``num`` is 1 .. 2**63 - 1. ``forward`` and ``inverse`` map int64 arrays of any shape (B,) to arrays of the
    same shape; values outside ``range(num)`` are the caller's mistake.
    """

    def __init__(self, num: int, *key: int | str) -> None:
        if not 1 <= num <= MAX_SAMPLES:
            raise ValueError(f"a permutation needs 1 <= num <= 2**63 - 1, and num is {num}")
        self.num = num
        bits = (num - 1).bit_length()
        rounds = _ROUNDS_SMALL if num < 2**16 else _ROUNDS_LARGE
        self._low_bits = np.uint64(bits // 2)
        self._masks = (np.uint64((1 << (bits - bits // 2)) - 1), np.uint64((1 << (bits // 2)) - 1))
        self._keys = tuple(keyed_integers(rounds, *key))

    def forward(self, indices: Int64, tweaks: Int64 | None = None) -> Int64:
        """Where each of ``indices`` (B,) int64 goes: (B,) int64. Each of ``tweaks`` (B,) is a shuffle of its own."""
        return self._walk(indices, tweaks, range(len(self._keys)))

    def inverse(self, values: Int64, tweaks: Int64 | None = None) -> Int64:
        """Where each of ``values`` (B,) int64 came from: (B,) int64."""
        return self._walk(values, tweaks, range(len(self._keys) - 1, -1, -1))

    def _walk(self, values: Int64, tweaks: Int64 | None, rounds: Sequence[int]) -> Int64:
        out = np.array(values, dtype=np.uint64).reshape(-1)  # a copy: worked on in place
        spread = None if tweaks is None else _spread(tweaks)
        for first in range(0, len(out), _SLICE):
            part = out[first : first + _SLICE]
            tweak = None if spread is None else spread[first : first + _SLICE]
            self._network(part, tweak, rounds)
            outside = np.flatnonzero(part >= self.num)
            while len(outside):
                again = part[outside]
                self._network(again, None if tweak is None else tweak[outside], rounds)
                part[outside] = again
                outside = outside[again >= self.num]
        return out.view(np.int64).reshape(np.shape(values))

    def _network(self, values: UInt64, tweak: UInt64 | None, rounds: Sequence[int]) -> None:
        halves = (values >> self._low_bits, values & self._masks[1])  # high half, low half
        mixed, shifted = np.empty_like(values), np.empty_like(values)
        for r in rounds:
            target, other = halves[r % 2], halves[1 - r % 2]
            np.bitwise_xor(other, self._keys[r], out=mixed)
            if tweak is not None:
                np.bitwise_xor(mixed, tweak, out=mixed)
            np.multiply(mixed, _MIX_1, out=mixed)
            np.right_shift(mixed, _HALF, out=shifted)
            np.bitwise_xor(mixed, shifted, out=mixed)
            np.multiply(mixed, _MIX_2, out=mixed)
            np.right_shift(mixed, _HALF, out=mixed)
            np.bitwise_and(mixed, self._masks[r % 2], out=mixed)
            np.bitwise_xor(target, mixed, out=target)
        np.left_shift(halves[0], self._low_bits, out=values)
        np.bitwise_or(values, halves[1], out=values)


def _spread(tweaks: Int64) -> UInt64:
    """Small numbers as unrelated 64-bit ones, (B,) uint64: each bit of a number reaches all."""
    mixed = tweaks.astype(np.uint64) * _MIX_1
    mixed ^= mixed >> _HALF
    mixed *= _MIX_2
    return mixed ^ (mixed >> _HALF)


# Making a permutation costs a hash; a loader asks for the same one or two epochs again and again.
_permutation = lru_cache(maxsize=256)(Permutation)


class MemberOrder:
    """The order of one member: its n-th sample is in epoch ``n // num_samples``, a permuted window within it.

    ``name`` is the member's name (``""`` in a plain loader): members of one mixture are shuffled by their own
    keys, so that adding one moves no other. With ``shuffle_block=K`` blocks of K neighbouring windows are permuted,
    and the windows within each block: a store on a slow disk is then read nearly in sequence.
    """

    def __init__(
        self, num_samples: int, *, seed: int, name: str = "", shuffle: bool = True, shuffle_block: int | None = None
    ) -> None:
        self.num_samples = num_samples
        self._key, self._shuffle = (seed, name), shuffle
        self._block = None if shuffle_block is None else min(shuffle_block, num_samples)

    def at(self, indices: Int64) -> tuple[Int64, Int64]:
        """``(window, epoch)``, each (B,) int64, of the member's samples number ``indices`` (B,) int64."""
        epoch, index = np.divmod(indices, self.num_samples)
        return self._per_epoch(index, epoch, inverse=False), epoch

    def indices_of(self, window: Int64, epoch: Int64) -> Int64:
        """Which of the member's samples is ``window`` (B,) in ``epoch`` (B,): (B,) int64."""
        return epoch * self.num_samples + self._per_epoch(window, epoch, inverse=True)

    def _per_epoch(self, values: Int64, epoch: Int64, *, inverse: bool) -> Int64:
        if not self._shuffle or not len(values):
            return values
        translate = self._translate if self._block is None else self._translate_blocks
        if (epoch == epoch[0]).all():
            return translate(values, int(epoch[0]), inverse)
        out = np.empty_like(values)
        for one in np.unique(epoch):
            here = epoch == one
            out[here] = translate(values[here], int(one), inverse)
        return out

    def _translate(self, values: Int64, epoch: int, inverse: bool) -> Int64:
        permutation = _permutation(self.num_samples, "epoch", *self._key, epoch)
        return permutation.inverse(values) if inverse else permutation.forward(values)

    def _translate_blocks(self, values: Int64, epoch: int, inverse: bool) -> Int64:
        assert self._block is not None
        size, last = self._block, (self.num_samples - 1) // self._block
        blocks = _permutation(last + 1, "blocks", *self._key, epoch)
        # The last block may be short: the places after the one it takes begin earlier by what it lacks.
        short_place = int(blocks.inverse(np.array([last]))[0])
        lacks = (last + 1) * size - self.num_samples
        if inverse:
            block = values // size
            place = blocks.inverse(block)
            inner = self._within(values - block * size, block, last, epoch, inverse=True)
            return place * size - lacks * (place > short_place) + inner
        place = (values + lacks * (values >= (short_place + 1) * size - lacks)) // size
        block = blocks.forward(place)
        inner = values - place * size + lacks * (place > short_place)
        return block * size + self._within(inner, block, last, epoch, inverse=False)

    def _within(self, inner: Int64, block: Int64, last: int, epoch: int, *, inverse: bool) -> Int64:
        """``inner`` permuted within its ``block``; the last block has a length of its own."""
        assert self._block is not None
        out = np.empty_like(inner)
        for here, length in ((block != last, self._block), (block == last, self.num_samples - last * self._block)):
            permutation = _permutation(length, "within", *self._key, epoch)
            translate = permutation.inverse if inverse else permutation.forward
            out[here] = translate(inner[here], block[here])
        return out


class Order(Protocol):
    """What a loader asks of an order. Members are numbered; positions count samples over all ranks and epochs."""

    @property
    def epoch_samples(self) -> int:
        """Samples in one epoch of the stream."""
        ...

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        """``(member, window, epoch)``, each (B,) int64, of ``positions`` (B,) int64."""
        ...

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        """The positions (B,) at which ``window`` (B,) of ``member`` comes in its ``epoch`` (B,): undoes ``at``.

        -1 where it never comes (a member that a mixture's last stage leaves out).
        """
        ...

    def samples_before(self, position: int) -> list[int]:
        """How many samples of each member come before ``position``."""
        ...


class PlainOrder:
    """The order of a loader over one member, number 0: position p is epoch ``p // num_samples``."""

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool = True, shuffle_block: int | None = None) -> None:
        self.epoch_samples = num_samples
        self._only = MemberOrder(num_samples, seed=seed, shuffle=shuffle, shuffle_block=shuffle_block)

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        window, epoch = self._only.at(np.asarray(positions, dtype=np.int64))
        return np.zeros_like(epoch), window, epoch

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        window, epoch = np.broadcast_arrays(np.asarray(window, np.int64), np.asarray(epoch, np.int64))
        return self._only.indices_of(window, epoch)

    def samples_before(self, position: int) -> list[int]:
        return [position]
