"""Exact evaluation: every target once, for any cut."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windrow import Loader, TokenStore, Windows
from windrow.errors import NotEnoughTokensError, WindrowError
from windrow.gpt import GPT, GPTConfig


def windows_of(n: int, max_length: int, stride: int) -> Windows:
    return Windows(TokenStore.from_ids(np.arange(n), eos_id=0), max_length, stride, tail="pad")


@given(st.integers(2, 90), st.integers(1, 12), st.data(), st.integers(1, 7), st.integers(1, 4))
def test_every_target_is_scored_once_for_any_batch_size_and_world(
    n: int, max_length: int, data: st.DataObject, batch_size: int, world: int
) -> None:
    stride = data.draw(st.integers(1, max_length))
    loaders = [
        Loader.evaluation(windows_of(n, max_length, stride), batch_size, dp_rank=rank, dp_world_size=world)
        for rank in range(world)
    ]
    passes = [list(loader) for loader in loaders]
    targets = np.concatenate([batch.targets.ravel() for batches in passes for batch in batches])
    inputs = np.concatenate([batch.inputs.ravel() for batches in passes for batch in batches])
    counts = targets != -100
    assert sorted(targets[counts]) == list(range(1, n))
    assert np.array_equal(inputs[counts] + 1, targets[counts])
    assert sum(batch.num_targets for batches in passes for batch in batches) == n - 1
    assert len({len(batches) for batches in passes}) == 1


def test_the_overlap_is_context_only() -> None:
    rows = next(iter(Loader.evaluation(windows_of(10, 4, 2), 9)))
    assert rows.inputs.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert rows.targets.tolist() == [[1, 2, 3, 4], [-100, -100, 5, 6], [-100, -100, 7, 8], [-100, -100, 9, -100]]


def test_the_order_is_fixed_and_each_pass_is_the_same() -> None:
    loader = Loader.evaluation(windows_of(50, 4, 3), 3)
    first, second = ([batch.inputs.tolist() for batch in loader] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (3, 1), (2, 2), (5, 3)])
def test_summed_losses_do_not_depend_on_the_cut(batch_size: int, world: int) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=100, context_length=16, width=16, num_layers=1, num_heads=2)).double().eval()
    windows = windows_of(100, 16, 10)
    whole = next(iter(Loader.evaluation(windows, 1000, device="cpu")))
    with torch.no_grad():
        expected = float(model.loss_sum(*whole))
        total = 0.0
        for rank in range(world):
            loader = Loader.evaluation(windows, batch_size, dp_rank=rank, dp_world_size=world, device="cpu")
            total += sum(float(model.loss_sum(*batch)) for batch in loader)
    assert total == pytest.approx(expected, rel=1e-6)


def test_a_stride_that_would_leave_targets_out_raises() -> None:
    with pytest.warns(UserWarning, match="never trained"):
        windows = Windows(TokenStore.from_ids(np.arange(50)), 4, 5)
    with pytest.raises(ValueError, match="stride is 5 > max_length 4"):
        Loader.evaluation(windows, 2)


def test_a_store_without_a_target_raises() -> None:
    with pytest.raises(NotEnoughTokensError, match="needs 2"):
        Loader.evaluation(windows_of(1, 4, 4), 2)


def test_excluding_from_an_evaluation_raises() -> None:
    loader = Loader.evaluation(windows_of(50, 4, 4), 2)
    with pytest.raises(WindrowError, match="scores every target once"):
        loader.exclude(documents=[0])
