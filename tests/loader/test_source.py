"""A run's steps as a sequence: the loader's own, by number, in any thread and process, beyond an epoch."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest

from loader_helpers import loader_of
from windrow.errors import WindrowError
from windrow.testing import stream


def same(item: dict[str, Any], batch: Any) -> bool:
    return np.array_equal(item["inputs"], batch.inputs) and np.array_equal(item["targets"], batch.targets)


def test_item_i_is_step_i_of_the_run_also_beyond_an_epoch_and_nothing_moves() -> None:
    loader = loader_of(seed=3)
    num_steps = 3 * len(loader) + 1
    source = loader.as_source(num_steps)
    assert len(source) == num_steps
    expected = list(islice(stream(loader_of(seed=3)), num_steps))
    assert all(same(source[i], batch) for i, batch in enumerate(expected))
    assert not same(source[0], expected[len(loader)])  # the next epoch has an order of its own
    assert loader.position == 0


def test_threads_and_a_pickle_get_the_same_items() -> None:
    loader = loader_of(seed=3)
    source = loader.as_source(2 * len(loader))
    elsewhere = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as threads:
        items = list(threads.map(source.__getitem__, range(len(source))))
    assert all(same(elsewhere[i], loader[i]) and same(item, loader[i]) for i, item in enumerate(items))


def test_an_item_is_numpy_arrays_by_name_with_the_outputs_that_were_asked_for() -> None:
    item = loader_of(outputs=("position_ids",)).as_source(2)[0]
    assert list(item) == ["inputs", "targets", "position_ids"]
    assert {type(value) for value in item.values()} == {np.ndarray}


def test_a_source_ends_and_a_rank_has_its_own() -> None:
    source = loader_of(dp_rank=1, dp_world_size=2).as_source(5)
    assert same(source[4], loader_of(dp_rank=1, dp_world_size=2)[4])
    with pytest.raises(IndexError):
        source[5]


def test_a_loader_with_a_device_and_a_length_that_is_none_are_refused() -> None:
    with pytest.raises(
        WindrowError, match=r'a source gives arrays, and device="cpu" tensors\. Use Loader\(\.\.\., device=None\)'
    ):
        loader_of(device="cpu").as_source(5)
    for num_steps in (0, None, 2.5):
        with pytest.raises(ValueError, match=r"num_steps is .*, and it must be a whole number, 1 or more"):
            loader_of().as_source(num_steps)
