"""How often each token of a store lies in one of many spans, without a number for each token.

Guarantee: exact integers. Cost: a sort of the spans' ends; memory for the spans, not for the tokens.
"""

import numpy as np

from windrow.arrays import Int64

__all__ = ["Coverage"]


class Coverage:
    """The spans ``[starts, stops)`` (K,) in ``num_tokens`` tokens, each counted ``weights`` (K,) times."""

    def __init__(self, starts: Int64, stops: Int64, weights: Int64, num_tokens: int) -> None:
        used = (weights > 0) & (stops > starts)
        starts, stops, weights = starts[used], stops[used], weights[used]
        places = np.concatenate([[0], starts, stops])
        order = np.argsort(places, kind="stable")
        self._places = places[order]  # from each of them to the next, the level is one and the same
        self._levels = np.cumsum(np.concatenate([[0], weights, -weights])[order])
        self._widths = np.diff(self._places, append=num_tokens)

    def at(self, places: Int64) -> Int64:
        """How often each token of ``places`` (B,) is covered: (B,)."""
        return self._levels[np.searchsorted(self._places, places, side="right") - 1]

    def histogram(self) -> dict[int, int]:
        """``{times: how many tokens are covered so often}``, 0 among them, rising."""
        levels, where = np.unique(self._levels, return_inverse=True)
        tokens = np.zeros(len(levels), dtype=np.int64)
        np.add.at(tokens, where, self._widths)
        return {0: 0} | {level: n for level, n in zip(levels.tolist(), tokens.tolist(), strict=True) if n}

    @property
    def num_covered(self) -> int:
        """Tokens covered once or more."""
        return int(self._widths[self._levels > 0].sum())

    @property
    def hull(self) -> tuple[int, int]:
        """The first token covered, and one past the last; (0, 0) when none is."""
        covered = np.flatnonzero((self._levels > 0) & (self._widths > 0))
        if not len(covered):
            return 0, 0
        return int(self._places[covered[0]]), int(self._places[covered[-1]] + self._widths[covered[-1]])
