"""Samples -> tokens and masks, from one member or several.

Guarantee: one gather per member and batch, no loop over samples. Rows are (3, B): member number, window, epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.loader.exclusions import Exclusion
from windrow.windows.member import Member

__all__ = ["Draw"]

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Draw:
    """Draws rows from ``members`` under ``seed``."""

    def __init__(self, members: Mapping[str, Member], seed: int) -> None:
        self._members, self._seed = members, seed
        self._dtype = np.result_type(*(member.dtype for member in members.values()))  # the widest

    def tokens_hidden(
        self, rows: Int64, positions: Int64, num_rows: int, exclusions: Sequence[Exclusion]
    ) -> tuple[Any, Mask]:
        """The same, with no target that counts in rows that ``exclusions`` hit and in those from ``num_rows`` on.

        The latter lie beyond the pass and are filled with eos; ``positions`` (n,) are those of the rows.
        """
        tokens, mask = self.tokens(rows)
        mask = all_count(tokens) if mask is None else mask
        self._fill(tokens, num_rows)
        mask[num_rows:] = False
        mask[self._hidden(positions, rows, exclusions)] = False
        return tokens, mask

    def documents(self, rows: Int64) -> Int64:
        """The document of each token of the ``rows``, (n, L + 1), by its member's own numbers; -1 is none."""
        length = next(iter(self._members.values())).max_length
        out = np.empty((rows.shape[1], length + 1), dtype=np.int64)
        for number, (name, member) in enumerate(self._members.items()):
            here = np.flatnonzero(rows[0] == number)
            if len(here):
                out[here] = member.documents(rows[1, here], rows[2, here], key=(self._seed, name))
        return out

    def tokens(self, rows: Int64) -> tuple[Any, Mask | None]:
        """Tokens (n, L + 1) of the ``rows`` (3, n), and which targets count, (n, L), or None when all do."""
        if len(self._members) == 1:
            ((name, only),) = self._members.items()
            key = (self._seed, name)
            return only.gather(rows[1], rows[2], key=key), only.target_mask(rows[1], rows[2], key=key)
        tokens, mask = None, None
        for here, drawn, counts in self._parts(rows):
            if tokens is None:
                tokens = np.empty((rows.shape[1], drawn.shape[1]), dtype=self._dtype)
            tokens[here] = drawn
            if counts is not None:
                mask = all_count(tokens) if mask is None else mask
                mask[here] = counts
        return tokens, mask

    def _parts(self, rows: Int64) -> Iterator[tuple[Int64, NDArray[Any], Mask | None]]:
        for number, (name, member) in enumerate(self._members.items()):
            here = np.flatnonzero(rows[0] == number)
            if len(here):
                asked: dict[str, Any] = {"ids": rows[1, here], "epoch": rows[2, here], "key": (self._seed, name)}
                yield here, member.gather(**asked), member.target_mask(**asked)

    def _hidden(self, positions: Int64, rows: Int64, exclusions: Sequence[Exclusion]) -> Mask:
        """Which ``rows`` (3, n) at ``positions`` (n,) are excluded: (n,)."""
        out = np.zeros(rows.shape[1], dtype=np.bool_)
        for one in exclusions:
            number = list(self._members).index(one.member)
            here = np.flatnonzero((rows[0] == number) & (positions >= one.position))
            member, key = self._members[one.member], (self._seed, one.member)
            out[here] |= one.hits(member, rows[1, here], rows[2, here], key=key)
        return out

    def _fill(self, tokens: Any, num_rows: int) -> None:
        tokens[num_rows:] = next(iter(self._members.values())).eos_id


def all_count(tokens: Any) -> Mask:
    """The mask (B, L) of ``tokens`` (B, L + 1) under which every target counts."""
    return np.ones((tokens.shape[0], tokens.shape[1] - 1), dtype=np.bool_)
