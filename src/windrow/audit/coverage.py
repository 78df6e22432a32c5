"""How often the tokens of a stretch are covered by spans.

Guarantee: the count of every token, without a number for each. Cost: a sort of a group's ends and of the places where
the count changes, which are all that is kept. Knows no windows.
"""

import numpy as np

from windrow.arrays import Int64

__all__ = ["Coverage"]


class Coverage:
    """Of tokens ``begin`` to ``stop``, covered by spans that come in groups, ``most`` times at the most."""

    def __init__(self, begin: int, stop: int, most: int = np.iinfo(np.int64).max) -> None:
        self._begin, self._stop, self._most = begin, stop, most
        self._places, self._levels = np.array([begin]), np.zeros(1, dtype=np.int64)

    def add(self, starts: Int64, stops: Int64, weights: Int64) -> None:
        """Cover the spans ``[starts, stops)`` (K,), each ``weights`` (K,) times more."""
        used = weights > 0
        starts, stops = (places[used].clip(self._begin, self._stop) for places in (starts, stops))
        weights = weights[used]
        if self._most == 1:
            starts, stops = _joined(starts, stops)
            weights = np.ones_like(starts)
        places = np.concatenate([self._places, starts, stops])
        steps = np.concatenate([np.diff(self._levels, prepend=0), weights, -weights])
        order = np.argsort(places, kind="stable")
        places, levels = places[order], np.minimum(np.cumsum(steps[order]), self._most)
        last = np.append(places[1:] > places[:-1], True)  # of those at the same place
        places, levels = places[last], levels[last]
        changes = np.append(True, levels[1:] != levels[:-1])
        self._places, self._levels = places[changes], levels[changes]

    def at(self, places: Int64) -> Int64:
        """How often each token of ``places`` (B,) is covered: (B,)."""
        return self._levels[np.searchsorted(self._places, places, side="right") - 1]

    def histogram(self) -> dict[int, int]:
        """``{times: how many tokens are covered so often}``, 0 among them, rising."""
        levels, where = np.unique(self._levels, return_inverse=True)
        tokens = np.bincount(where, self._widths()).astype(np.int64)
        return {0: 0} | {level: n for level, n in zip(levels.tolist(), tokens.tolist(), strict=True) if n}

    @property
    def num_covered(self) -> int:
        """Tokens covered once or more."""
        return int(self._widths()[self._levels > 0].sum())

    def _widths(self) -> Int64:
        """From each place to the next, the count is one and the same."""
        return np.diff(self._places, append=self._stop)


def _joined(starts: Int64, stops: Int64) -> tuple[Int64, Int64]:
    """The stretches that spans (K,) cover together, rising, none of which touches the next."""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(stops[order])
    begins = np.append(True, starts[1:] > reach[:-1])[: len(starts)]
    return starts[begins], reach[np.append(begins[1:], True)[: len(starts)]]
