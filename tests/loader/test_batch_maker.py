"""Steps that are made together, in blocks, are those made alone: same ids, memory of their own, no growth."""

import gc
from typing import Any

import numpy as np
import pytest

from loader_helpers import as_lists, loader_of, store_of
from windrow import Loader, Windows
from windrow.errors import ResumeError, WindrowError


@pytest.mark.parametrize("tokens_at_once", [1, 50, 1 << 18])
@pytest.mark.parametrize("kwargs", [{}, {"drop_last": False}, {"drop_last": False, "dp_rank": 1, "dp_world_size": 2}])
def test_steps_made_together_are_those_made_alone(
    monkeypatch: pytest.MonkeyPatch, tokens_at_once: int, kwargs: dict[str, Any]
) -> None:
    monkeypatch.setattr("windrow.loader.batch_maker._BLOCK_TOKENS", tokens_at_once)
    loader = loader_of(**kwargs)
    walked = [as_lists(loader) for _ in range(2)]
    alone = [[np.asarray(part).tolist() for part in loader[step]] for step in range(2 * len(loader))]
    assert walked[0] + walked[1] == alone


def test_every_batch_of_an_epoch_can_be_held_and_each_has_memory_of_its_own_to_write_in() -> None:
    held = list(loader_of(drop_last=False))
    expected = as_lists(loader_of(drop_last=False))
    for batch in held:
        assert batch.inputs.flags.c_contiguous
        assert batch.targets.flags.c_contiguous
        assert batch.inputs.flags.writeable
        assert not np.shares_memory(batch.inputs, batch.targets)
    held[0].inputs[:] = -1  # what a user does to one batch reaches no other
    gc.collect()
    list(loader_of())
    assert [[batch.inputs.tolist(), batch.targets.tolist()] for batch in held[1:]] == expected[1:]


def test_a_state_with_exclusions_is_refused_where_there_is_no_sign() -> None:
    loader = loader_of()
    loader.exclude(windows=[1])
    with pytest.raises(ResumeError, match="uint16 cannot hold -100"):
        loader_of(dtype="uint16").load_state_dict(loader.state_dict())


def test_an_old_short_step_is_not_wrapped_into_a_dtype_without_a_sign() -> None:
    windows = Windows(store_of(321), 32)  # 10 windows
    first = Loader(windows, 3, drop_last=False, dp_rank=0, dp_world_size=2)
    list(first)
    second = Loader(windows, 2, dtype="uint16", dp_rank=1, dp_world_size=2)
    second.load_state_dict(first.state_dict())
    with pytest.raises(WindrowError, match="uint16 cannot hold -100"):
        second[1]


def test_excluding_from_a_loader_without_a_sign_raises() -> None:
    with pytest.raises(WindrowError, match="uint16 cannot hold -100"):
        loader_of(dtype="uint16").exclude(windows=[0])


def test_memory_does_not_grow_with_the_number_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr("windrow.loader.batch_maker._BLOCK_TOKENS", 100)  # or a block more or less hides a leak
    batches = iter(loader_of(epochs=None))
    for _ in range(3000):
        next(batches)
    tracemalloc.start()
    for _ in range(1000):
        next(batches)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        next(batches)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000  # ten bytes a batch
