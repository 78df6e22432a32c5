"""The invariants of the architecture page, each a property test of its name."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import Loader, Mixture, TokenStore, Windows
from windrow.testing import assert_covers, assert_elastic, assert_resumes, stream

Make = Callable[..., Loader]


def numbered(num_samples: int, max_length: int = 3, first: int = 0, **kwargs: Any) -> Windows:
    """Windows over rising ids: each row tells which window it is."""
    tokens = np.arange(first, first + num_samples * max_length + 1)
    return Windows(TokenStore.from_ids(tokens, eos_id=0), max_length, **kwargs)


def plain(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    return Loader(numbered(23), batch_size, seed=11, dp_rank=dp_rank, dp_world_size=dp_world_size, **kwargs)


def phased(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    windows = Windows(TokenStore.from_ids(np.arange(100)), 5, 3, phase="epoch")
    return Loader(windows, batch_size, seed=11, dp_rank=dp_rank, dp_world_size=dp_world_size, **kwargs)


def blocked(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    return plain(batch_size, dp_rank, dp_world_size, shuffle_block=5, **kwargs)


def mixed(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    members = {"a": (numbered(9), 1.0), "b": (numbered(14, first=1000), 3.0)}
    return Loader(Mixture(members), batch_size, dp_rank=dp_rank, dp_world_size=dp_world_size, **kwargs)


def staged(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    members = {"a": (numbered(9), 1.0), "b": (numbered(14, first=1000), 3.0)}
    mixture = Mixture(members, stages={65_536: {"a": 1, "b": 0}}, epoch_samples=65_530)
    return Loader(mixture, batch_size, dp_rank=dp_rank, dp_world_size=dp_world_size, **kwargs)


def evaluated(batch_size: int = 3, dp_rank: int = 0, dp_world_size: int = 1, **_: Any) -> Loader:
    windows = Windows(TokenStore.from_ids(np.arange(70), eos_id=0), 6, 4)
    return Loader.evaluation(windows, batch_size, dp_rank=dp_rank, dp_world_size=dp_world_size)


KINDS = [plain, phased, blocked, mixed, evaluated]
KEPT = [{}, {"drop_last": False}, {"epochs": None}, {"shuffle": False}]


@given(
    st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(), st.sampled_from([None, 1, 3, 8]), st.data()
)
def test_pure(n: int, batch_size: int, world: int, seed: int, block: int | None, data: st.DataObject) -> None:
    """The sample at a position is the same for any batch size and rank, asked for in any order, and any history."""
    reference = Loader(numbered(n), 1, seed=seed, shuffle_block=block, epochs=None)
    rank = data.draw(st.integers(0, world - 1))
    loader = Loader(
        numbered(n), batch_size, seed=seed, shuffle_block=block, epochs=None, dp_rank=rank, dp_world_size=world
    )
    walked = [batch for batch, _ in zip(loader, range(3), strict=False)]
    for step in data.draw(st.permutations(range(6))):
        first = (step * world + rank) * batch_size
        expected = np.concatenate([reference[p].inputs for p in range(first, first + batch_size)])
        assert np.array_equal(loader[step].inputs, expected)
        if step < 3:
            assert np.array_equal(walked[step].inputs, expected)


@given(st.integers(1, 300), st.integers(0, 3), st.sampled_from([None, 1, 2, 7, 1000]), st.integers())
def test_cover(n: int, epoch: int, block: int | None, seed: int) -> None:
    """In an epoch of a member every window appears exactly once."""
    loader = Loader(numbered(n, 1), n, seed=seed, shuffle_block=block)
    assert sorted(sample.window for sample in loader.lookup(epoch)) == list(range(n))


@pytest.mark.parametrize("block", [None, 64])
@pytest.mark.parametrize("n", [2**16 + 1, 4**9 + 1, 10**5])
def test_cover_at_sizes_where_others_lose_a_sample(n: int, block: int | None) -> None:
    loader = Loader(numbered(n, 1), n, shuffle_block=block)
    assert np.array_equal(np.sort(loader[1].inputs[:, 0]), np.arange(n))


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=25)
def test_cover_holds_for_each_member_of_a_mixture(a: int, b: int, weight_a: int, weight_b: int) -> None:
    mixture = Mixture({"a": (numbered(a), weight_a), "b": (numbered(b, first=5000), weight_b)})
    loader = Loader(mixture, 1024, epochs=None)
    samples = [sample for step in range(4) for sample in loader.lookup(step)]
    for name, n in (("a", a), ("b", b)):
        windows = [sample.window for sample in samples if sample.member == name]
        for whole in range(len(windows) // n):
            assert sorted(windows[whole * n : (whole + 1) * n]) == list(range(n))


@pytest.mark.parametrize("make", [plain, phased, blocked, mixed])
def test_one_stream_cut_differently(make: Make) -> None:
    """1 -> 2 -> 4 -> 3 ranks with odd batch sizes read one and the same stream."""
    whole = np.concatenate([batch.inputs for batch, _ in zip(make(1, epochs=None), range(400), strict=False)])
    plan = [(3, 1, 4), (5, 2, 3), (1, 4, 7), (7, 3, 5), (2, 1, 3)]
    assert_elastic(lambda *sizes: make(*sizes, epochs=None), plan, whole)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
def test_one_stream_over_all_ranks_covers_an_epoch(world: int, batch_size: int) -> None:
    assert_covers(lambda *sizes: plain(*sizes, drop_last=False), 23, world, batch_size)


@pytest.mark.parametrize("kwargs", KEPT, ids=str)
@pytest.mark.parametrize("make", KINDS)
def test_resume(make: Make, kwargs: dict[str, Any]) -> None:
    """A state taken after any batch, loaded once or twice, continues bit for bit, over three epochs."""
    assert_resumes(lambda: make(**kwargs), 26)


def test_resume_across_the_edge_of_a_stage() -> None:
    def near_the_edge() -> Loader:
        loader = staged(epochs=None)
        loader.skip(65_520)
        return loader

    assert_resumes(near_the_edge, 12)


@pytest.mark.parametrize("rank", [0, 2])
def test_resume_on_a_rank_of_several(rank: int) -> None:
    assert_resumes(lambda: plain(2, rank, 3, drop_last=False), 12)


def test_resume_survives_json_and_torch_save(tmp_path: Any) -> None:
    import torch

    loader = mixed(epochs=None)
    next(stream(loader))
    torch.save(loader.state_dict(), tmp_path / "state.pt")
    states = [json.loads(json.dumps(loader.state_dict())), torch.load(tmp_path / "state.pt", weights_only=True)]
    for state in states:
        again = mixed(epochs=None)
        again.load_state_dict(state)
        assert np.array_equal(next(iter(again)).inputs, loader[1].inputs)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=4))
def test_resume_elsewhere_keeps_every_step_of_the_run(plan: list[tuple[int, int, int]]) -> None:
    """``loader[step]`` stays true after any changes of sizes, also at the edges of epochs."""
    state, trained = None, []
    for batch_size, world, num_steps in plan:
        loader = plain(batch_size, 0, world)
        if state:
            loader.load_state_dict(state)
        batches = stream(loader)
        trained += [next(batches).inputs for _ in range(num_steps)]
        state = loader.state_dict()
    assert loader.step == len(trained)
    for step, inputs in enumerate(trained):
        assert np.array_equal(loader[step].inputs, inputs)


@given(
    st.integers(2, 90),
    st.integers(1, 7),
    st.integers(1, 9),
    st.sampled_from([{}, {"tail": "pad"}, {"phase": "epoch"}]),
    st.integers(0, 2),
)
def test_shift(n: int, max_length: int, stride: int, kwargs: dict[str, Any], epoch: int) -> None:
    """A target that counts is the next token of the store, and the next input of its row."""
    if n < max_length + stride + 1:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        windows = Windows(TokenStore.from_ids(np.arange(n) + 7, eos_id=0), max_length, stride, **kwargs)
    inputs, targets = Loader(windows, windows.num_samples)[epoch]
    counts = targets != -100
    assert np.array_equal(targets[counts], inputs[counts] + 1)
    assert np.array_equal(targets[:, :-1][counts[:, :-1]], inputs[:, 1:][counts[:, :-1]])


@pytest.mark.parametrize("make", [plain, phased, blocked, mixed, staged])
def test_invert(make: Make) -> None:
    """``positions_of`` undoes ``lookup``, over epochs and members and across a stage."""
    loader = make(64, epochs=None)
    for step in (0, 1, 5, 1023, 1024, 1025):
        for sample in loader.lookup(step):
            assert loader.positions_of(sample.window, sample.epoch, member=sample.member) == sample.position


def test_invert_says_never_of_a_window_that_the_last_stage_leaves_out() -> None:
    assert staged().positions_of(0, 10**6, member="b") == -1


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(1, 8), st.integers(1, 8))
def test_disjoint(n: int, valid_fraction: float, max_length: int, stride: int) -> None:
    """No token of valid is an input or a target of train."""
    cut = int(np.floor(n * (1 - valid_fraction)))
    if not max_length < cut < n or n - cut <= max_length:
        return
    read = []
    for part in TokenStore.from_ids(np.arange(n)).split(valid_fraction):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            windows = Windows(part, max_length, stride)
        read.append(set(windows.gather(np.arange(windows.num_samples)).ravel().tolist()))
    assert read[0].isdisjoint(read[1])
