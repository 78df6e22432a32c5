"""Documents and windows that a run leaves out from some position on: for a take-down, or after a loss spike.

Guarantee: nothing moves. A sample that is left out keeps its position, and all its targets are masked. What was
excluded when is part of the state, not of the recipe, so that steps of before stay what they were.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from windrow.arrays import Int64, Mask, grouped
from windrow.errors import LARGEST, WindrowError, brief, read_json, require_shape, whole_number
from windrow.windows.spans import Key
from windrow.windows.windows import Windows

__all__ = ["Exclusion", "LeftOut", "dump_exclusions", "hidden", "load_exclusions"]


@dataclass(frozen=True)
class Exclusion:
    """From ``position`` on, the samples of ``member`` that touch ``documents`` or are ``windows`` do not count."""

    position: int
    member: str
    documents: tuple[int, ...]
    windows: tuple[int, ...]

    @classmethod
    def of(cls, position: int, member: str, documents: Iterable[int], windows: Iterable[int]) -> Self:
        return cls(position, member, _numbers("document", documents), _numbers("window", windows))

    def require_there(self, windows: Windows) -> None:
        """Raise ``WindrowError`` when the member's ``windows`` have no such documents or windows to exclude."""
        if windows.policy == "evaluation":
            raise WindrowError("an evaluation scores every target once, so nothing can be excluded from it")
        counts = (windows.num_samples, windows.store.num_documents)
        for name, numbers, count in zip(("window", "document"), (self.windows, self.documents), counts, strict=True):
            if numbers and numbers[-1] >= count:
                raise WindrowError(f"there is no {name} {numbers[-1]} to exclude: they are 0 to {count - 1}")


class LeftOut:
    """What ``exclusions`` leave out of ``member``: rising numbers, and the position from which on each is left out."""

    def __init__(self, exclusions: Iterable[Exclusion], member: str) -> None:
        mine = [one for one in exclusions if one.member == member]
        self._windows = _earliest([(one.position, one.windows) for one in mine])
        self._documents = _earliest([(one.position, one.documents) for one in mine])

    def since(self, windows: Windows, ids: Int64, epoch: Int64, *, key: Key) -> Int64:
        """The position from which on each of the samples ``ids`` (B,) is left out, ``LARGEST`` for never: (B,)."""
        (numbers, froms), (documents, documents_from) = self._windows, self._documents
        place = np.searchsorted(numbers[:-1], ids)
        out = np.where(numbers[place] == ids, froms[place], LARGEST)
        if len(documents) > 1:
            spans = windows.spans(ids, epoch, key=key)
            first, last = spans.ends(windows.store)
            bounds = np.stack([np.searchsorted(documents[:-1], first), np.searchsorted(documents[:-1], last, "right")])
            held = np.flatnonzero(bounds[0] < bounds[1])
            earliest = np.minimum.reduceat(documents_from, bounds[:, held].T.reshape(-1))[::2]
            np.minimum.at(out, spans.row[held], earliest)
        return out


def _earliest(given: Sequence[tuple[int, tuple[int, ...]]]) -> tuple[Int64, Int64]:
    """The numbers that are given, rising, and the first position of each; behind them -1, which never is."""
    flat = np.array([number for _, numbers in given for number in numbers], dtype=np.int64)
    at = np.repeat(np.array([position for position, _ in given], np.int64), [len(numbers) for _, numbers in given])
    order = np.lexsort((at, flat))
    numbers, first = np.unique(flat[order], return_index=True)
    return np.append(numbers, -1), np.append(at[order][first], LARGEST)


def hidden(
    left_out: Mapping[str, LeftOut], members: Mapping[str, Windows], seed: int, samples: Int64, positions: Int64
) -> Mask:
    """Which ``samples`` (3, n) at ``positions`` (n,) are left out: (n,)."""
    out, names = np.zeros(samples.shape[1], dtype=np.bool_), list(members)
    for number, here in grouped(samples[0]):
        if one := left_out.get(name := names[number]):
            since = one.since(members[name], samples[1, here], samples[2, here], key=(seed, name))
            out[here] = positions[here] >= since
    return out


def dump_exclusions(exclusions: Sequence[Exclusion]) -> str:
    """``[[position, member, documents, windows], ...]`` as JSON."""
    return json.dumps([[e.position, e.member, e.documents, e.windows] for e in exclusions])


def load_exclusions(text: str) -> list[Exclusion]:
    """Undo ``dump_exclusions``. Raises ``ValueError`` or ``TypeError`` for what are none."""
    return [_loaded(*row) for row in read_json(text, [list])]


def _loaded(position: int, member: str, documents: Any, windows: Any) -> Exclusion:
    require_shape([documents, windows], [list], "excluded")
    require_shape(member, str, "the excluded member")
    return Exclusion.of(whole_number("position", position, at_least=0), member, documents, windows)


def _numbers(name: str, given: Iterable[int]) -> tuple[int, ...]:
    """``given`` sorted, each once. Raises ``ValueError`` for what are no numbers of documents or windows."""
    if not isinstance(given, Iterable):
        raise ValueError(f"{name}s is {brief(given)}, and it is a list of numbers: {name}s=[{brief(given)}]")
    return tuple(sorted({whole_number(name, one, at_least=0) for one in given}))
