"""Steps against an oracle that walks the run one step at a time."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.order.steps import Segments, StepSizes

TAILS = st.sampled_from(["drop", "keep", "straddle"])
SIZES = st.builds(StepSizes, st.integers(1, 5), st.integers(1, 4), TAILS, st.just(1))


def walk(position: int, sizes: StepSizes, epoch_samples: int) -> Iterator[int]:
    """The start of every step from ``position`` on."""
    while True:
        left = epoch_samples - position % epoch_samples
        if sizes.tail == "drop" and left < sizes.global_batch:
            position += left
            continue
        yield position
        position += sizes.global_batch if sizes.tail == "straddle" else min(left, sizes.global_batch)


def usable(sizes: StepSizes, epoch_samples: int) -> bool:
    return sizes.tail != "drop" or sizes.global_batch <= epoch_samples


@given(SIZES, st.integers(1, 30), st.integers(0, 40), st.integers(0, 12))
def test_the_position_some_steps_on_is_where_a_walk_gets(sizes: StepSizes, n: int, first: int, num_steps: int) -> None:
    sizes = replace(sizes, epoch_samples=n)
    if not usable(sizes, n):
        return
    steps = walk(first, sizes, n)
    expected = [next(steps) for _ in range(num_steps + 1)][num_steps]
    assert sizes.start(sizes.after(first, num_steps)) == expected


@given(SIZES, st.integers(1, 30), st.integers(0, 40), st.integers(0, 12))
def test_between_undoes_after(sizes: StepSizes, n: int, first: int, num_steps: int) -> None:
    sizes = replace(sizes, epoch_samples=n)
    if usable(sizes, n):
        first = sizes.start(first)
        assert sizes.between(first, sizes.after(first, num_steps)) == num_steps


@given(st.lists(st.tuples(SIZES, st.integers(0, 7)), min_size=1, max_size=5), st.integers(1, 25))
def test_a_run_whose_sizes_change_keeps_every_step(plan: list[tuple[StepSizes, int]], n: int) -> None:
    plan = [(replace(sizes, epoch_samples=n), count) for sizes, count in plan if usable(sizes, n)]
    if not plan:
        return
    segments, position, walked = Segments.begin(plan[0][0]), 0, []
    for sizes, count in plan:
        segments = segments.jumped(position, position, sizes)
        steps = walk(position, sizes, n)
        here = [next(steps) for _ in range(count + 1)]
        walked += [(start, sizes) for start in here[:count]]
        position = here[count]
    restored = Segments.from_json(segments.to_json(), n)
    assert [(restored.position_of(i), restored.sizes_of(i)) for i in range(len(walked))] == walked
    assert restored.step_of(position) == len(walked)


@pytest.mark.parametrize("text", ["[]", "[[0, 1, 2, 1, 'drop']]", '[[0, 3, 2, 1, "drop"]]', '[[0,0,0,1,"drop"]]'])
def test_damaged_segments_raise(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error or ours
        Segments.from_json(text, 10)
