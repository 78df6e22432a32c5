"""Checks of the promises that a loader makes, for windrow's own tests and for yours.

Each takes ``make``, a function that builds a fresh loader, and raises ``AssertionError`` that says where it differs.
Anything that can be iterated and has ``state_dict`` and ``load_state_dict`` is a loader here, also a trainer's own
loop around one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import IGNORE_INDEX, Int64

__all__ = ["assert_covers", "assert_elastic", "assert_resumes", "stream"]


class Resumable(Protocol):
    """What these checks ask of a loader."""

    def __iter__(self) -> Iterator[Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


Make = Callable[[], Resumable]
MakeRank = Callable[[int, int, int], Resumable]  # batch_size, dp_rank, dp_world_size


def stream(loader: Resumable) -> Iterator[Any]:
    """The batches of ``loader``, pass after pass, without end."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        assert not empty, "a pass over the loader gave no batch"


def assert_resumes(make: Make, num_batches: int) -> None:
    """A state taken after any of ``num_batches`` batches, loaded once or twice, continues bit for bit.

    A state at 0, in the middle, at an epoch's end and in later epochs, each loaded into a fresh loader; the loader's
    own state straight after loading must load again; and loading must not depend on what the loader did before.
    """
    loader = make()
    states, batches = [loader.state_dict()], []
    batches_to_come = stream(loader)
    for _ in range(num_batches):
        batches.append(_arrays(next(batches_to_come)))
        states.append(loader.state_dict())
    for place, state in enumerate(states):
        once, twice, used = make(), make(), make()
        next(stream(used))
        once.load_state_dict(state)
        twice.load_state_dict(once.state_dict())
        used.load_state_dict(state)
        for loader in (once, twice, used):
            _assert_continues(loader, batches, place)


def assert_elastic(make: MakeRank, plan: Sequence[tuple[int, int, int]], whole: Int64) -> None:
    """Other batch sizes and ranks continue one and the same stream of samples.

    ``plan`` rows are (batch_size, dp_world_size, steps); each stretch resumes from the state that the one before left.
    ``whole`` (n, L) are the inputs of the stream, one row a sample, which the stretches together must begin with.
    """
    state, seen = None, []
    for batch_size, dp_world_size, num_steps in plan:
        ranks = [make(batch_size, rank, dp_world_size) for rank in range(dp_world_size)]
        for loader in ranks:
            if state is not None:
                loader.load_state_dict(state)
        streams = [stream(loader) for loader in ranks]
        for _ in range(num_steps):
            seen += [_arrays(next(one))[0] for one in streams]
        states = [loader.state_dict() for loader in ranks]
        assert all(other == states[0] for other in states), "the ranks' states differ, so one checkpoint cannot do"
        state = states[0]
    rows = np.concatenate(seen)
    assert np.array_equal(rows, whole[: len(rows)]), f"the stream differs from row {_first_difference(rows, whole)} on"


def assert_covers(make: MakeRank, num_samples: int, dp_world_size: int, batch_size: int) -> None:
    """All ranks of a run with ``drop_last=False`` together see each sample of an epoch exactly once.

    ``make`` loads windows whose first inputs all differ. Ranks must take the same number of steps.
    """
    passes = [list(make(batch_size, rank, dp_world_size)) for rank in range(dp_world_size)]
    assert len({len(batches) for batches in passes}) == 1, "the ranks took different numbers of steps"
    firsts = [
        int(row[0])
        for batches in passes
        for batch in batches
        for row, targets in zip(*_arrays(batch), strict=True)
        if (targets != IGNORE_INDEX).any()
    ]
    assert len(firsts) == len(set(firsts)) == num_samples, f"{len(firsts)} samples, {len(set(firsts))} different"


def _assert_continues(loader: Resumable, batches: Sequence[Sequence[NDArray[Any]]], place: int) -> None:
    following = stream(loader)
    for number, expected in enumerate(batches[place:], start=place):
        got = _arrays(next(following))
        same = len(got) == len(expected) and all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
        assert same, f"resumed after batch {place}, batch {number} is not the one of the uninterrupted run"


def _arrays(batch: Any) -> list[NDArray[Any]]:
    return [np.asarray(part) for part in batch]


def _first_difference(rows: NDArray[Any], whole: NDArray[Any]) -> int:
    n = min(len(rows), len(whole))
    different = np.flatnonzero((rows[:n] != whole[:n]).any(axis=1))
    return int(different[0]) if len(different) else n
