"""Documents and windows that a run leaves out from some position on: for a take-down, or after a loss spike.

Guarantee: nothing moves. A sample that is left out keeps its position, and all its targets are masked. What was
excluded when is part of the state, not of the recipe, so that steps of before stay what they were.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from windrow.errors import whole_number
from windrow.windows.member import Key, Member

__all__ = ["Exclusion", "dump_exclusions", "load_exclusions"]

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Exclusion:
    """From ``position`` on, the samples of ``member`` that touch ``documents`` or are ``windows`` do not count."""

    position: int
    member: str
    documents: tuple[int, ...]
    windows: tuple[int, ...]

    @classmethod
    def of(cls, position: int, member: str, documents: Iterable[int], windows: Iterable[int]) -> Self:
        numbers = [
            {whole_number(name, one, at_least=0) for one in given}
            for name, given in (("document", documents), ("window", windows))
        ]
        return cls(position, member, tuple(sorted(numbers[0])), tuple(sorted(numbers[1])))

    def hits(self, member: Member, ids: Int64, epoch: Int64, *, key: Key) -> NDArray[np.bool_]:
        """Which of the samples ``ids`` (B,) are left out: (B,)."""
        hit = np.isin(ids, self.windows)
        if self.documents:
            hit |= member.touches(ids, epoch, np.array(self.documents, dtype=np.int64), key=key)
        return hit


def dump_exclusions(exclusions: Sequence[Exclusion]) -> str:
    """``[[position, member, documents, windows], ...]`` as JSON."""
    return json.dumps([[e.position, e.member, e.documents, e.windows] for e in exclusions])


def load_exclusions(text: str) -> list[Exclusion]:
    """Undo ``dump_exclusions``. Raises ``ValueError`` or ``TypeError`` when the text is something else."""
    rows: list[Any] = json.loads(text)
    return [
        Exclusion.of(whole_number("position", at, at_least=0), str(name), docs, ids) for at, name, docs, ids in rows
    ]
