"""Samples -> tokens and masks, from one member or several.

Guarantee: one gather per member and batch, no loop over samples. Rows are (3, B): member number, window, epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.errors import WindrowError
from windrow.exclusions import Exclusion
from windrow.member import Member

__all__ = ["Draw", "all_count"]

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Draw:
    """Draws rows from ``members``; ``max_repeats`` is how many epochs of its own each may run."""

    def __init__(self, members: Mapping[str, Member], seed: int, max_repeats: int | None) -> None:
        self._members, self._seed, self._max_repeats = members, seed, max_repeats

    def tokens(self, rows: Int64) -> tuple[NDArray[Any], Mask | None]:
        """Tokens (B, L + 1) of the ``rows`` (3, B), and which targets count, (B, L), or None when all do."""
        if self._max_repeats is not None and (rows[2] >= self._max_repeats).any():
            raise WindrowError(self._too_often(rows))
        parts = list(self._parts(rows))
        if len(parts) == 1:
            _, tokens, mask = parts[0]
            return tokens, mask
        tokens = np.empty((rows.shape[1], parts[0][1].shape[1]), dtype=np.result_type(*(part[1] for part in parts)))
        mask = None
        for here, drawn, counts in parts:
            tokens[here] = drawn
            if counts is not None:
                mask = all_count(tokens) if mask is None else mask
                mask[here] = counts
        return tokens, mask

    def hidden(self, positions: Int64, rows: Int64, exclusions: Sequence[Exclusion]) -> Mask:
        """Which ``rows`` (3, B) at ``positions`` (B,) are excluded: (B,)."""
        out = np.zeros(rows.shape[1], dtype=np.bool_)
        for one in exclusions:
            number = list(self._members).index(one.member)
            here = np.flatnonzero((rows[0] == number) & (positions >= one.position))
            member, key = self._members[one.member], (self._seed, one.member)
            out[here] |= one.hits(member, rows[1, here], rows[2, here], key=key)
        return out

    def _parts(self, rows: Int64) -> Iterator[tuple[Int64, NDArray[Any], Mask | None]]:
        for number, (name, member) in enumerate(self._members.items()):
            here = np.flatnonzero(rows[0] == number)
            if len(here):
                asked: dict[str, Any] = {"ids": rows[1, here], "epoch": rows[2, here], "key": (self._seed, name)}
                yield here, member.gather(**asked), member.target_mask(**asked)

    def _too_often(self, rows: Int64) -> str:
        number = int(rows[0, rows[2] >= self._max_repeats][0])
        return (
            f"member {list(self._members)[number]!r} has been read {self._max_repeats} times, its max_repeats, and the "
            "next samples would repeat it once more. Stop here, raise max_repeats, or lower its weight in a stage."
        )


def all_count(tokens: NDArray[Any]) -> Mask:
    """The mask (B, L) of ``tokens`` (B, L + 1) under which every target counts."""
    return np.ones((tokens.shape[0], tokens.shape[1] - 1), dtype=np.bool_)
