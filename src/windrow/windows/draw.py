"""Samples -> tokens and masks, from one member or several.

Guarantee: one gather per member and batch, no loop over samples. Samples are (3, n): member number, window, epoch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from windrow.arrays import Int64, Mask, grouped
from windrow.windows.spans import Key
from windrow.windows.windows import Windows

__all__ = ["Draw"]


class Draw:
    """Draws samples from ``members`` under ``seed``."""

    def __init__(self, members: Mapping[str, Windows], seed: int) -> None:
        self.members = members
        self.seed = seed
        self.eos_id: int = next(iter(members.values())).eos_id
        self.dtype: np.dtype[Any] = np.result_type(*(member.dtype for member in members.values()))  # the widest

    def tokens(self, samples: Int64, num_samples: int, hidden: Mask | None = None) -> tuple[Any, Mask | None]:
        """Tokens (n, L + 1) of ``samples`` (3, n), and which targets count, (n, L), or None when all do.

        No target counts in the ``hidden`` ones (n,), nor from ``num_samples`` on: these lie beyond the pass and are
        filled with eos.
        """
        tokens, mask = self._drawn(samples)
        if hidden is None and num_samples == samples.shape[1]:
            return tokens, mask
        mask = all_count(tokens) if mask is None else mask
        self._fill(tokens, num_samples)
        mask[num_samples:] = False
        if hidden is not None:
            mask[hidden] = False
        return tokens, mask

    def documents(self, samples: Int64) -> Int64:
        """The document of each token of the ``samples``, (n, L + 1), by its member's own numbers; -1 is none."""
        length = next(iter(self.members.values())).max_length
        out = np.empty((samples.shape[1], length + 1), dtype=np.int64)
        for here, member, key in self.parts(samples):
            out[here] = member.documents(samples[1, here], samples[2, here], key=key)
        return out

    def will_need(self, samples: Int64) -> None:
        """Have the tokens of ``samples`` (3, n) read from disk, all at once; nothing waits for it."""
        for here, member, key in self.parts(samples):
            spans = member.spans(samples[1, here], samples[2, here], key=key)
            member.store.will_need(spans.starts, spans.lengths)

    def blocks(self, samples: Int64) -> list[tuple[Any, Int64]]:
        """The cache of each member whose store is far away, and which blocks of it ``samples`` (3, n) need."""
        spans = (
            (member, member.spans(samples[1, h], samples[2, h], key=key)) for h, member, key in self.parts(samples)
        )
        return [found for member, one in spans if (found := member.store.blocks(one.starts, one.lengths))]

    def parts(self, samples: Int64) -> Iterator[tuple[Int64, Windows, Key]]:
        """``(which of the samples, their member, its key)`` for each member that is among them."""
        named = list(self.members.items())
        for number, here in grouped(samples[0]):
            name, member = named[number]
            yield here, member, (self.seed, name)

    def _drawn(self, samples: Int64) -> tuple[Any, Mask | None]:
        if len(self.members) == 1:
            ((name, only),) = self.members.items()
            return only.rows(samples[1], samples[2], key=(self.seed, name))
        tokens, mask = None, None
        for here, member, key in self.parts(samples):
            drawn, counts = member.rows(samples[1, here], samples[2, here], key=key)
            if tokens is None:
                tokens = np.empty((samples.shape[1], drawn.shape[1]), dtype=self.dtype)
            tokens[here] = drawn
            if counts is not None:
                mask = all_count(tokens) if mask is None else mask
                mask[here] = counts
        return tokens, mask

    def _fill(self, tokens: Any, first: int) -> None:
        """Write eos over the rows from ``first`` on."""
        tokens[first:] = self.eos_id


def all_count(tokens: Any) -> Mask:
    """The mask (B, L) of ``tokens`` (B, L + 1) under which every target counts."""
    return np.ones((tokens.shape[0], tokens.shape[1] - 1), dtype=np.bool_)
