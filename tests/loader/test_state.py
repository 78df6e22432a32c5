"""What a state holds, and what refuses to load."""

import json
from typing import Any

import numpy as np
import pytest

from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import ResumeError

STATE_FIELDS = ["data", "excluded", "position", "recipe", "segments", "version"]


def loader_of(num_tokens: int = 100, max_length: int = 4, **kwargs: Any) -> Loader:
    windows = Windows(TokenStore.from_ids(np.arange(num_tokens)), max_length)
    return Loader(windows, **{"batch_size": 2, "seed": 1, **kwargs})


def test_a_state_is_a_flat_dict_of_ints_and_strings_the_same_on_every_rank() -> None:
    states = [loader_of(dp_rank=rank, dp_world_size=3).state_dict() for rank in range(3)]
    assert states[0] == states[1] == states[2]
    assert sorted(states[0]) == STATE_FIELDS
    assert {type(value) for value in states[0].values()} == {int, str}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 2}, "  seed: saved 1, here 2"),
        ({"shuffle": False}, "  shuffle: saved True, here False"),
        ({"shuffle_block": 3}, "  shuffle_block: saved None, here 3"),
        ({"max_length": 5}, '  members."".max_length: saved 4, here 5'),
        ({"num_tokens": 80}, '  "".num_tokens: saved 100, here 80'),
    ],
)
def test_a_state_of_another_run_names_each_field_with_both_values(other: dict[str, Any], message: str) -> None:
    loader = loader_of(**other)
    before = loader.state_dict()
    with pytest.raises(ResumeError) as caught:
        loader.load_state_dict(loader_of().state_dict())
    assert message in str(caught.value).split("\n")
    assert loader.state_dict() == before


def test_an_unknown_member_in_a_state_is_named() -> None:
    windows = Windows(TokenStore.from_ids(np.arange(100)), 4)
    one = Loader(Mixture({"web": (windows, 1), "code": (windows, 1)}), 2)
    two = Loader(Mixture({"web": (windows, 1), "books": (windows, 1)}), 2)
    next(iter(one))
    with pytest.raises(ResumeError, match=r"stages.0.books: saved 'nothing', here 32768"):
        two.load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"position": -1}, "position -1"),
        ({"position": "7"}, "position is '7'"),
        ({"segments": "[]"}, "damaged"),
        ({"segments": "nonsense"}, "damaged"),
        ({"segments": '[[9, 0, 2, 1, "drop"]]'}, "damaged"),
        ({"segments": '[[0, 0, 0, 1, "drop"]]'}, "damaged"),
        ({"segments": '[[0, 0, 2, 1, "nonsense"]]'}, "damaged"),
        ({"segments": '[[0, 0, 2.9, 1, "drop"]]'}, "damaged"),
        ({"segments": '[[0, 0, 2, 1, "drop"], [-8, 3, 2, 1, "drop"]]'}, "damaged"),
        ({"segments": '[[0, 0, 2, 1, "drop"], [9, 0, 2, 1, "drop"]]'}, "damaged"),
        ({"segments": '[[0, 0, -2, -1, "drop"]]'}, "damaged"),
        ({"excluded": '[[0, "web", [], [1]]]'}, "damaged"),
        ({"excluded": '[[0, "", [], [1.5]]]'}, "damaged"),
        ({"excluded": "{}}"}, "damaged"),
        ({"recipe": "nonsense"}, "no JSON"),
        ({"extra": 1}, "no loader state"),
    ],
)
def test_a_damaged_state_raises_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    loader = loader_of()
    before = loader.state_dict()
    with pytest.raises(ResumeError, match=message):
        loader.load_state_dict({**before, **change})
    assert loader.state_dict() == before


@pytest.mark.parametrize("state", [{}, None, "state", {"model": 1}])
def test_what_is_no_state_raises(state: Any) -> None:
    with pytest.raises(ResumeError, match="no loader state"):
        loader_of().load_state_dict(state)


def test_segments_log_every_change_of_sizes_and_of_the_tail() -> None:
    first = loader_of(batch_size=3)
    next(iter(first))
    second = loader_of(batch_size=5, drop_last=False, dp_rank=1, dp_world_size=2)
    second.load_state_dict(first.state_dict())
    assert json.loads(str(second.state_dict()["segments"])) == [[0, 0, 3, 1, "drop"], [3, 1, 5, 2, "keep"]]


def test_a_tail_that_the_new_sizes_cannot_fill_is_passed_over() -> None:
    first = loader_of()  # 24 windows, batches of 2
    for _ in zip(range(11), first, strict=False):
        pass
    second = loader_of(batch_size=5)
    second.load_state_dict(first.state_dict())
    assert (second.position, second.epoch, second.step) == (24, 1, 11)
