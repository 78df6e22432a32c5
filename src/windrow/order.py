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

    def forward(self, indices: Int64) -> Int64:
        """Where each of ``indices`` (B,) int64 goes: (B,) int64."""
        return self._walk(indices, range(len(self._keys)))

    def inverse(self, values: Int64) -> Int64:
        """Where each of ``values`` (B,) int64 came from: (B,) int64."""
        return self._walk(values, range(len(self._keys) - 1, -1, -1))

    def _walk(self, values: Int64, rounds: Sequence[int]) -> Int64:
        out = np.array(values, dtype=np.uint64).reshape(-1)  # a copy: worked on in place
        for first in range(0, len(out), _SLICE):
            part = out[first : first + _SLICE]
            self._network(part, rounds)
            outside = np.flatnonzero(part >= self.num)
            while len(outside):
                again = part[outside]
                self._network(again, rounds)
                part[outside] = again
                outside = outside[again >= self.num]
        return out.view(np.int64).reshape(np.shape(values))

    def _network(self, values: UInt64, rounds: Sequence[int]) -> None:
        halves = (values >> self._low_bits, values & self._masks[1])  # high half, low half
        mixed, shifted = np.empty_like(values), np.empty_like(values)
        for r in rounds:
            target, other = halves[r % 2], halves[1 - r % 2]
            np.bitwise_xor(other, self._keys[r], out=mixed)
            np.multiply(mixed, _MIX_1, out=mixed)
            np.right_shift(mixed, _HALF, out=shifted)
            np.bitwise_xor(mixed, shifted, out=mixed)
            np.multiply(mixed, _MIX_2, out=mixed)
            np.right_shift(mixed, _HALF, out=mixed)
            np.bitwise_and(mixed, self._masks[r % 2], out=mixed)
            np.bitwise_xor(target, mixed, out=target)
        np.left_shift(halves[0], self._low_bits, out=values)
        np.bitwise_or(values, halves[1], out=values)


# Making a permutation costs a hash; a loader asks for the same one or two epochs again and again.
_permutation = lru_cache(maxsize=256)(Permutation)


class MemberOrder:
    """The order of one member: its n-th sample is in epoch ``n // num_samples``, a permuted window within it.

    ``name`` is the member's name (``""`` in a plain loader): members of one mixture are shuffled by their own
    keys, so that adding one moves no other.
    """

    def __init__(self, num_samples: int, *, seed: int, name: str = "", shuffle: bool = True) -> None:
        self.num_samples = num_samples
        self._seed, self._name, self._shuffle = seed, name, shuffle

    def at(self, indices: Int64) -> tuple[Int64, Int64]:
        """``(window, epoch)``, each (B,) int64, of the member's samples number ``indices`` (B,) int64."""
        epoch, index = np.divmod(indices, self.num_samples)
        return self._per_epoch("forward", index, epoch), epoch

    def indices_of(self, window: Int64, epoch: Int64) -> Int64:
        """Which of the member's samples is ``window`` (B,) in ``epoch`` (B,): (B,) int64."""
        return epoch * self.num_samples + self._per_epoch("inverse", window, epoch)

    def _per_epoch(self, direction: str, values: Int64, epoch: Int64) -> Int64:
        if not self._shuffle or not len(values):
            return values
        if (epoch == epoch[0]).all():
            return self._map(direction, values, int(epoch[0]))
        out = np.empty_like(values)
        for one in np.unique(epoch):
            here = epoch == one
            out[here] = self._map(direction, values[here], int(one))
        return out

    def _map(self, direction: str, values: Int64, epoch: int) -> Int64:
        permutation = _permutation(self.num_samples, "epoch", self._seed, self._name, epoch)
        return permutation.forward(values) if direction == "forward" else permutation.inverse(values)


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
        """The positions (B,) at which ``window`` (B,) of ``member`` comes in its ``epoch`` (B,): undoes ``at``."""
        ...


class PlainOrder:
    """The order of a loader over one member, number 0: position p is epoch ``p // num_samples``."""

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool = True) -> None:
        self.epoch_samples = num_samples
        self._only = MemberOrder(num_samples, seed=seed, shuffle=shuffle)

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        window, epoch = self._only.at(np.asarray(positions, dtype=np.int64))
        return np.zeros_like(epoch), window, epoch

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        window, epoch = np.broadcast_arrays(np.asarray(window, np.int64), np.asarray(epoch, np.int64))
        return self._only.indices_of(window, epoch)
