"""Windows that slide over the concatenation of all documents: window id, epoch -> one span.

Guarantee: window ``id`` begins at ``id * stride + phase``. Nothing is materialised; the count is arithmetic.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from windrow.arrays import Int64, runs
from windrow.order.permutation import keyed_integers
from windrow.windows.epoch_documents import EpochDocuments
from windrow.windows.spans import Key, Spans

__all__ = ["Relaid", "Sliding"]


@dataclass(frozen=True)
class Sliding:
    """A window of ``max_length + 1`` tokens every ``stride`` tokens of ``num_tokens``.

    ``moves`` shifts all windows of an epoch by an offset drawn for it; ``pads`` adds a last, shorter window where
    targets are left over; ``once`` makes the overlap of a window with the one before it context, so that every target
    counts once.
    """

    num_tokens: int
    max_length: int
    stride: int
    moves: bool = False
    pads: bool = False
    once: bool = False

    @cached_property
    def num_full(self) -> int:
        """Windows that the tokens fill, at every offset."""
        spare = self.num_tokens - self.max_length - (not self.moves)
        return max(0, spare // self.stride + (not self.moves))

    @cached_property
    def num_rows(self) -> int:
        """Windows in all."""
        last_target = (self.num_full - 1) * self.stride + self.max_length if self.num_full else 0
        num_left = self.num_tokens - self.num_full * self.stride  # tokens from the next window's start on
        left_over = self.num_tokens - 1 > last_target and num_left >= 2
        return self.num_full + (self.pads and left_over)

    @property
    def may_mask(self) -> bool:
        """Whether there is a window in which some target does not count."""
        return self.once or self.num_rows > self.num_full

    @cached_property
    def is_plain(self) -> bool:
        """Whether every window is whole, and in the same place in every epoch."""
        return not (self.may_mask or self.moves)

    def starts(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Int64:
        """The first token of each of the windows ``ids`` (B,): (B,)."""
        starts = ids * self.stride
        return starts + self.offsets(epoch, key=key) if self.moves else starts

    def spans(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Spans:
        """One span for each of the windows ``ids`` (B,)."""
        starts, context = self.starts(ids, epoch, key=key), np.ones_like(ids)
        if self.once:
            context[ids > 0] += self.max_length - self.stride
        lengths = np.minimum(self.max_length + 1, self.num_tokens - starts)
        return Spans(starts, lengths, np.arange(len(ids)), context)

    def holding(self, start: Int64 | int, stop: Int64 | int, epoch: int, *, key: Key) -> Int64:
        """The windows of ``epoch`` that hold one of the tokens ``[start, stop)``, of any of several: (K,), rising."""
        offset = int(self.starts(np.zeros(1, dtype=np.int64), epoch, key=key)[0])
        reaching = -((self.max_length + offset - np.atleast_1d(start)) // self.stride)  # the first that reaches start
        last = np.minimum((np.atleast_1d(stop) - 1 - offset) // self.stride, self.num_rows - 1)
        first = np.maximum(reaching, 0)
        found = runs(first, np.maximum(last - first + 1, 0))
        return found if len(first) == 1 else np.unique(found)

    def between(self, start: int, stop: int, epoch: int, *, key: Key) -> tuple[Int64, Spans, Int64]:
        """The windows of ``holding`` (K,), their spans (n,), and the place in its window at which each begins (n,)."""
        ids = self.holding(start, stop, epoch, key=key)
        spans = self.spans(ids, epoch, key=key)
        return ids, spans, spans.in_row()

    def offsets(self, epoch: Int64 | int, *, key: Key) -> Int64:
        """The phase of each of ``epoch`` (any shape): int64 in ``[0, stride)``, of that shape."""
        epochs, inverse = np.unique(np.asarray(epoch, dtype=np.int64), return_inverse=True)
        offsets = [int(keyed_integers(1, "phase", *key, int(e))[0]) % self.stride for e in epochs]
        return np.array(offsets, dtype=np.int64)[inverse].reshape(np.shape(epoch))


@dataclass(frozen=True)
class Relaid(Sliding):
    """Windows that slide over the documents as each epoch lays them out anew: a row is spans of several documents."""

    documents: EpochDocuments = field(kw_only=True)
    is_plain = False

    def spans(self, ids: Int64, epoch: Int64 | int, *, key: Key) -> Spans:
        """A span for each document in each of the windows ``ids`` (B,)."""
        return self.documents.cut(super().spans(ids, epoch, key=key), epoch, key=key)

    def holding(self, start: Any, stop: Any, epoch: int, *, key: Key) -> Int64:
        """The windows of ``epoch`` that hold one of the tokens ``[start, stop)``: (K,), rising."""
        return super().holding(*self.documents.stretches(start, stop, epoch, key=key), epoch, key=key)
