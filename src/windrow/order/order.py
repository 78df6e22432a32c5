"""The order of samples as arithmetic: position -> (member, window, epoch), and back; positions end at 2**63 - 1.

Guarantee: the answer depends on the arguments and nothing else; no state, no memory that grows with the number
of samples, the same numbers on every platform. Cost: tens of nanoseconds a position when asked for thousands at
a time. Knows no files, ranks or batches.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from windrow.arrays import Int64, grouped
from windrow.errors import LARGEST, WindrowError
from windrow.order.permutation import Permutation

__all__ = ["MemberOrder", "PlainOrder", "counted"]


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
        return self.window_at(index, epoch), epoch

    @staticmethod
    def at_each(members: "Sequence[MemberOrder]", number: Int64, indices: Int64) -> tuple[Int64, Int64]:
        """``(window, epoch)``, each (B,), of samples ``indices`` (B,) of members ``number`` (B,)."""
        present, which = np.unique(number, return_inverse=True)
        those = [members[one] for one in present.tolist()]
        epoch, index = np.divmod(indices, np.array([one.num_samples for one in those])[which])
        shuffles = [one._shuffle for one in those if isinstance(one._shuffle, Permutation)]
        if len(shuffles) == len(those) > 2:  # of so few each by itself costs no more
            return Permutation.forward_each(shuffles, which, index, epoch), epoch
        for one, here in grouped(which):
            index[here] = those[one].window_at(index[here], epoch[here])
        return index, epoch

    def window_at(self, index: Int64, epoch: Int64) -> Int64:
        """The window (B,) that is sample ``index`` (B,) of its ``epoch`` (B,)."""
        return self._shuffle.forward(index, epoch) if self._shuffle else index

    def index_of(self, window: Int64, epoch: Int64) -> Int64:
        """Which sample of its ``epoch`` (B,) each ``window`` (B,) is: undoes ``window_at``."""
        return self._shuffle.inverse(window, epoch) if self._shuffle else window

    def indices_of(self, window: Int64, epoch: Int64) -> Int64:
        """Which of the member's samples is ``window`` (B,) in ``epoch`` (B,): (B,) int64."""
        return counted(epoch, self.num_samples, self.index_of(window, epoch))


def counted(block: Int64, size: int, index: Int64) -> Int64:
    """``block * size + index`` (B,), a place in the order. Raises ``WindrowError`` beyond its end."""
    if np.any(block > (LARGEST - index) // size):
        raise WindrowError(
            f"{np.max(block)} times {size} samples reach beyond position 2**63 - 1, where the order ends. Ask for an "
            "earlier epoch."
        )
    return block * size + index


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
    """Members one after another, by name and number of samples, each sample once an epoch; a plain loader has one.

    Position p is in epoch ``p // epoch_samples``, which is the epoch of each member. Members are numbered as given.
    """

    def __init__(
        self, num_samples: Mapping[str, int], *, seed: int, shuffle: bool = True, shuffle_block: int | None = None
    ) -> None:
        self.members: list[MemberOrder] = [
            MemberOrder(num, seed=seed, name=name, shuffle=shuffle, shuffle_block=shuffle_block)
            for name, num in num_samples.items()
        ]
        self._first = np.cumsum([0, *num_samples.values()])  # (M + 1,) the place of each member's first in an epoch
        self.epoch_samples: int = int(self._first[-1])

    def at(self, positions: Int64) -> tuple[Int64, Int64, Int64]:
        """``(member, window, epoch)``, each (B,) int64, of ``positions`` (B,) int64."""
        epoch, index = np.divmod(np.asarray(positions, dtype=np.int64), self.epoch_samples)
        if len(self.members) == 1:
            return np.zeros_like(epoch), self.members[0].window_at(index, epoch), epoch
        member, window = np.searchsorted(self._first, index, side="right") - 1, np.empty_like(index)
        for number, here in grouped(member):
            window[here] = self.members[number].window_at(index[here] - self._first[number], epoch[here])
        return member, window, epoch

    def positions_of(self, member: int, window: Int64, epoch: Int64) -> Int64:
        """The positions (B,) at which ``window`` (B,) comes in its ``epoch`` (B,): undoes ``at``."""
        window, epoch = np.broadcast_arrays(np.asarray(window, np.int64), np.asarray(epoch, np.int64))
        return counted(epoch, self.epoch_samples, self._first[member] + self.members[member].index_of(window, epoch))

    def samples_before(self, position: int) -> list[int]:
        """How many samples of each member come before ``position``."""
        epoch, index = divmod(position, self.epoch_samples)
        within = np.clip(index - self._first[:-1], 0, np.diff(self._first)).tolist()
        return [epoch * own.num_samples + num for own, num in zip(self.members, within, strict=True)]
