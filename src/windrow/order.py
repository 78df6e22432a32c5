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
        if not 1 <= num <= MAX_SAMPLES:
            raise ValueError(f"a permutation needs 1 <= num <= 2**63 - 1, and num is {num}")
        self.num = num
        bits = (num - 1).bit_length()
        rounds = _ROUNDS_SMALL if num < 2**16 else _ROUNDS_LARGE
        self._low_bits = np.uint64(bits // 2)
        self._masks = (np.uint64((1 << (bits - bits // 2)) - 1), np.uint64((1 << (bits // 2)) - 1))
        self._tweak_key, *self._keys = keyed_integers(rounds + 1, *key)

    def forward(self, indices: Int64, *tweaks: Tweak) -> Int64:
        """Where each of ``indices`` (B,) int64 goes: (B,) int64."""
        return self._walk(indices, self._absorbed(tweaks), range(len(self._keys)))

    def inverse(self, values: Int64, *tweaks: Tweak) -> Int64:
        """Where each of ``values`` (B,) int64 came from: (B,) int64."""
        return self._walk(values, self._absorbed(tweaks), range(len(self._keys) - 1, -1, -1))

    def _absorbed(self, tweaks: Sequence[Tweak]) -> UInt64:
        """The tweaks as one 64-bit number, or one for each value: () or (B,)."""
        mixed: UInt64 = np.array(self._tweak_key)
        for tweak in tweaks:
            row = np.asarray(tweak, dtype=np.int64)
            if row.ndim and len(row) and (row == row[0]).all():
                row = row[0]  # one epoch: a number serves all, and costs nothing
            mixed = _spread(np.bitwise_xor(mixed, row.astype(np.uint64)))
        return mixed

    def _walk(self, values: Int64, tweak: UInt64, rounds: Sequence[int]) -> Int64:
        out = np.array(values, dtype=np.uint64)  # (B,) a copy: worked on in place
        for first in range(0, len(out), _SLICE):
            part = out[first : first + _SLICE]
            own = tweak[first : first + _SLICE] if tweak.ndim else tweak
            self._network(part, own, rounds)
            outside = np.flatnonzero(part >= self.num)
            while len(outside):
                again = part[outside]
                self._network(again, own[outside] if own.ndim else own, rounds)
                part[outside] = again
                outside = outside[again >= self.num]
        return out.view(np.int64)

    def _network(self, values: UInt64, tweak: UInt64, rounds: Sequence[int]) -> None:
        halves = (values >> self._low_bits, values & self._masks[1])  # high half, low half
        mixed, shifted = np.empty_like(values), np.empty_like(values)
        for r in rounds:
            target, other = halves[r % 2], halves[1 - r % 2]
            np.bitwise_xor(other, self._keys[r] ^ tweak, out=mixed)
            np.multiply(mixed, _MIX_1, out=mixed)
            np.right_shift(mixed, _HALF, out=shifted)
            np.bitwise_xor(mixed, shifted, out=mixed)
            np.multiply(mixed, _MIX_2, out=mixed)
            np.right_shift(mixed, _HALF, out=mixed)
            np.bitwise_and(mixed, self._masks[r % 2], out=mixed)
            np.bitwise_xor(target, mixed, out=target)
        np.left_shift(halves[0], self._low_bits, out=values)
        np.bitwise_or(values, halves[1], out=values)


def _spread(numbers: UInt64) -> UInt64:
    """Each number as an unrelated one: one-to-one, every bit reaches all."""
    mixed = np.multiply(numbers, _MIX_1, out=np.empty_like(numbers))  # with out: a scalar's overflow would warn
    mixed = mixed ^ (mixed >> _HALF)
    mixed = np.multiply(mixed, _MIX_2, out=np.empty_like(numbers))
    return np.asarray(mixed ^ (mixed >> _HALF))


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
        whole = not shuffle_block or shuffle_block >= num_samples
        self._shuffle: Permutation | _BlockShuffle | None = None
        if shuffle and whole:
            self._shuffle = Permutation(num_samples, "epoch", seed, name)
        elif shuffle and shuffle_block:
            self._shuffle = _BlockShuffle(num_samples, shuffle_block, seed, name)

    def at(self, indices: Int64) -> tuple[Int64, Int64]:
        """``(window, epoch)``, each (B,) int64, of the member's samples number ``indices`` (B,) int64."""
        epoch, index = np.divmod(indices, self.num_samples)
        return self._shuffle.forward(index, epoch) if self._shuffle else index, epoch

    def indices_of(self, window: Int64, epoch: Int64) -> Int64:
        """Which of the member's samples is ``window`` (B,) in ``epoch`` (B,): (B,) int64."""
        index = self._shuffle.inverse(window, epoch) if self._shuffle else window
        return epoch * self.num_samples + index


class _BlockShuffle:
    """Blocks of ``size`` values permuted, and the values within each block; the last block may be short."""

    def __init__(self, num: int, size: int, *key: int | str) -> None:
        self._size, self._last = size, (num - 1) // size
        self._lacks = (self._last + 1) * size - num  # what the last block is short of
        self._blocks = Permutation(self._last + 1, "blocks", *key)
        self._whole = Permutation(size, "within", *key)
        self._short = Permutation(size - self._lacks, "within", *key)

    def forward(self, indices: Int64, epoch: Int64) -> Int64:
        after_short = self._short_end(epoch)
        place = (indices + self._lacks * (indices >= after_short)) // self._size
        inner = indices - self._begin(place, after_short)
        block = self._blocks.forward(place, epoch)
        return block * self._size + self._within(inner, block, epoch, inverse=False)

    def inverse(self, values: Int64, epoch: Int64) -> Int64:
        block, inner = np.divmod(values, self._size)
        place = self._blocks.inverse(block, epoch)
        return self._begin(place, self._short_end(epoch)) + self._within(inner, block, epoch, inverse=True)

    def _short_end(self, epoch: Int64) -> Int64:
        """One past the place, in values, that the short block takes in each epoch: (B,)."""
        epochs, inverse = np.unique(epoch, return_inverse=True)
        place = self._blocks.inverse(np.full(len(epochs), self._last), epochs)
        ends: Int64 = ((place + 1) * self._size - self._lacks)[inverse]
        return ends

    def _begin(self, place: Int64, after_short: Int64) -> Int64:
        begin = place * self._size
        return begin - self._lacks * (begin >= after_short)

    def _within(self, inner: Int64, block: Int64, epoch: Int64, *, inverse: bool) -> Int64:
        out = np.empty_like(inner)
        for here, permutation in ((block != self._last, self._whole), (block == self._last, self._short)):
            translate = permutation.inverse if inverse else permutation.forward
            out[here] = translate(inner[here], epoch[here], block[here])
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
