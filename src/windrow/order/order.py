"""The order of samples as arithmetic: position -> (member, window, epoch), and back.

Guarantee: the answer depends on the arguments and nothing else; no state, no memory that grows with the number
of samples, the same numbers on every platform. Cost: tens of nanoseconds a position when asked for thousands at
a time. Knows no files, ranks or batches.
"""

import numpy as np

from windrow.arrays import Int64
from windrow.order.permutation import Permutation

__all__ = [
    "MemberOrder",
    "PlainOrder",
]


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


class PlainOrder:
    """The order of a loader over one member, number 0: position p is epoch ``p // num_samples``."""

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool = True, shuffle_block: int | None = None) -> None:
        self.epoch_samples = num_samples
        self.members = [MemberOrder(num_samples, seed=seed, shuffle=shuffle, shuffle_block=shuffle_block)]

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        """``(member, window, epoch)``, each (B,) int64, of ``positions`` (B,) int64."""
        window, epoch = self.members[0].at(np.asarray(positions, dtype=np.int64))
        return np.zeros_like(epoch), window, epoch

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        """The positions (B,) at which ``window`` (B,) comes in its ``epoch`` (B,): undoes ``at``."""
        window, epoch = np.broadcast_arrays(np.asarray(window, np.int64), np.asarray(epoch, np.int64))
        return self.members[0].indices_of(window, epoch)

    def samples_before(self, position: int) -> list[int]:
        """How many samples of each member come before ``position``."""
        return [position]
