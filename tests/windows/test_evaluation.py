"""Exact evaluation: every target once, for any cut."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windrow import Loader, Mixture, TokenStore, Windows, explain, plan, sightings
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


def test_each_iter_of_an_evaluation_begins_at_the_first_batch() -> None:
    loader = Loader.evaluation(windows_of(50, 4, 3), 3)
    whole = [batch.inputs.tolist() for batch in loader]
    for _ in zip(range(2), loader, strict=False):  # a sanity check before the first validation
        pass
    assert [batch.inputs.tolist() for batch in loader] == whole
    assert (loader.position, loader.step) == (16, 6)
    for _ in zip(range(2), loader, strict=False):
        pass
    assert (loader.position, loader.step) == (6, 2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_so_does_each_iter_of_its_dataloader(num_workers: int) -> None:
    loader = Loader.evaluation(windows_of(50, 4, 3), 3, device="cpu")
    dataloader = loader.dataloader(num_workers)
    next(iter(dataloader))
    assert [batch.inputs.tolist() for batch in dataloader] == [batch.inputs.tolist() for batch in loader]


def test_a_state_of_an_evaluation_goes_on_once_and_then_it_begins_at_the_first_batch() -> None:
    first, second = (Loader.evaluation(windows_of(50, 4, 3), 3) for _ in range(2))
    whole = [batch.inputs.tolist() for batch in first]
    next(iter(first))
    second.load_state_dict(first.state_dict())
    assert [batch.inputs.tolist() for batch in second] == whole[1:]
    assert [batch.inputs.tolist() for batch in second] == whole


def members_of() -> dict[str, tuple[Windows, float]]:
    """Web before code, as given; 29 and 19 targets, and a member of weight 0 with 9."""
    starts = {"web": (0, 30), "code": (100, 20), "notes": (200, 10)}
    stores = {name: TokenStore.from_ids(np.arange(first, first + n), eos_id=0) for name, (first, n) in starts.items()}
    weights = {"web": 0.9, "code": 0.1, "notes": 0}
    return {name: (Windows(store, 4, 3), weights[name]) for name, store in stores.items()}


def test_the_members_of_a_mixture_are_scored_one_after_another_in_the_order_given() -> None:
    loader = Loader.evaluation(Mixture(members_of()), 1)
    scored = [[int(t) for t in batch.targets.ravel() if t != -100] for batch in loader]
    assert [t for targets in scored for t in targets] == [*range(1, 30), *range(101, 120), *range(201, 210)]
    assert [sample.member for step in range(len(loader)) for sample in loader.lookup(step)] == (
        ["web"] * 10 + ["code"] * 6 + ["notes"] * 3
    )


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (3, 1), (7, 2), (40, 3)])
def test_each_target_of_a_mixture_is_scored_once_for_any_cut(batch_size: int, world: int) -> None:
    ranks: dict[str, Any] = {"dp_world_size": world}
    loaders = [Loader.evaluation(Mixture(members_of()), batch_size, dp_rank=rank, **ranks) for rank in range(world)]
    targets = np.concatenate([batch.targets.ravel() for loader in loaders for batch in loader])
    assert sorted(targets[targets != -100]) == [*range(1, 30), *range(101, 120), *range(201, 210)]


def test_an_evaluated_mixture_says_where_everything_is() -> None:
    loader = Loader.evaluation(Mixture(members_of()), 3)
    for step in range(2 * len(loader)):
        for sample in loader.lookup(step):
            assert loader.positions_of(sample.window, sample.epoch, member=sample.member) == sample.position
    seen = sightings(loader, 0, 20, member="code", epochs=2)
    assert sum(one.num_targets for one in seen) == 2 * 19
    assert {one.step for one in seen} == {*range(3, 6), *range(10, 13)}
    made = explain(loader, 3)
    assert [row.member for row in made.rows] == ["web", "code", "code"]
    assert made.rows[1].targets == [101, 102, 103, 104]
    assert plan(loader).trained == 29 + 19 + 9
    assert {name: row["samples"] for name, row in loader.shares().items()} == {"web": 10, "code": 6, "notes": 3}


def test_an_evaluated_mixture_of_another_order_is_another_recipe() -> None:
    members = members_of()
    one = Loader.evaluation(Mixture(members), 3)
    other = Loader.evaluation(Mixture(dict(reversed(members.items()))), 3)
    assert json.loads(one.recipe)["mixture"] == {"in_turn": ["web", "code", "notes"]}
    with pytest.raises(ValueError, match=r"mixture.in_turn: saved \['web', 'code', 'notes'\], here \['notes', 'code'"):
        other.load_state_dict(one.state_dict())
