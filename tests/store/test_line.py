"""Shards laid end to end, against one array that holds everything."""

import pickle
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from windrow import TokenStore
from windrow.arrays import grouped, runs
from windrow.store.line import Line

Lengths = st.lists(st.integers(1, 9), max_size=6)


@st.composite
def lines(draw: st.DrawFn) -> tuple[Line, list[int], list[int]]:
    """A line of one to five shards, its tokens and where its documents end; a shard may be empty."""
    shards = draw(st.lists(Lengths, min_size=1, max_size=5).filter(any))
    edges = np.cumsum([0, *map(sum, shards)])
    ids = np.arange(edges[-1], dtype=np.uint16)
    ends = [np.cumsum(lengths, dtype=np.int64) for lengths in shards]
    line = Line([ids[a:b] for a, b in pairwise(edges)], ends, np.dtype(np.uint16))
    return line, ids.tolist(), np.cumsum([length for lengths in shards for length in lengths]).tolist()


@given(lines(), st.data())
def test_stretches_are_slices_of_everything_and_what_lies_behind_it_is_fill(made: Any, data: st.DataObject) -> None:
    line, ids, _ = made
    place = st.integers(0, len(ids) - 1)
    spans = data.draw(st.lists(st.tuples(place, st.integers(1, len(ids))), max_size=8))
    spans = [(start, min(length, len(ids) - start)) for start, length in spans]
    spans += [(len(ids), data.draw(st.integers(1, 5)))] * data.draw(st.integers(0, 2))
    starts, lengths = (
        (np.array(part, dtype=np.int64) for part in zip(*spans, strict=True))
        if spans
        else [np.empty(0, dtype=np.int64)] * 2
    )
    expected = [(ids[start : start + length] or [7] * length) for start, length in spans]
    assert line.stretches(starts, lengths, 7).tolist() == [token for part in expected for token in part]


@given(lines(), st.data())
def test_gather_is_the_slices_of_one_length(made: Any, data: st.DataObject) -> None:
    line, ids, _ = made
    length = data.draw(st.integers(1, len(ids)))
    starts = data.draw(st.lists(st.integers(0, len(ids) - length), max_size=8))
    gathered = pickle.loads(pickle.dumps(line)).gather(np.array(starts, dtype=np.int64), length)
    assert gathered.tolist() == [ids[start : start + length] for start in starts]


@given(lines(), st.data())
def test_boundaries_are_found_by_place_and_by_number_in_any_order(made: Any, data: st.DataObject) -> None:
    line, ids, ends = made
    places = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=2, max_size=8))
    expected = [sum(end <= place for end in ends) for place in places]
    assert line.document_at(np.array(places).reshape(-1, 1)).reshape(-1).tolist() == expected
    numbers = data.draw(st.lists(st.integers(-1, len(ends) - 1), max_size=8))
    found = line.document_ends(np.array(numbers, dtype=np.int64))
    assert found.tolist() == [ends[number] if number >= 0 else 0 for number in numbers]


def test_single_tokens_of_several_shards_are_no_objects() -> None:
    ids, places = np.arange(60_000, dtype=np.uint16), np.arange(0, 60_000, 3)
    line = Line([ids[:25_000], ids[25_000:]], [np.array([25_000]), np.array([35_000])], ids.dtype)
    tracemalloc.start()
    assert np.array_equal(line.gather(places, 1)[:, 0], ids[places])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * len(places)  # a slice of Python's is 184 bytes


def test_tokens_in_memory_need_not_lie_side_by_side() -> None:
    ids = np.arange(40, dtype=np.uint16)[::2]
    store = TokenStore.from_ids(ids, document_ends=[3, 20])
    assert store.tokens(2, 5).tolist() == [4, 6, 8]


@given(st.lists(st.integers(-3, 5)))
def test_grouped_finds_every_value_once_and_all_its_places(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    found = {value: where.tolist() for value, where in grouped(array)}
    assert found == {value: [i for i, one in enumerate(values) if one == value] for value in sorted(set(values))}


def test_runs_count_on_from_each_first() -> None:
    assert runs(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
