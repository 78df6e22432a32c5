"""Grain over a run's steps: threads and processes, and its own state."""

from typing import Any

import pytest

from trainer_helpers import cases, digest, stream_digests, toy_loader

grain = pytest.importorskip("grain")
pytestmark = pytest.mark.timeout(120)
NUM_STEPS, STOPS = 120, {"middle": 23, "epoch's end": 50, "second epoch": 77}


def dataset(threads: int, processes: int) -> Any:
    whole = grain.MapDataset.source(toy_loader(device=None).as_source(NUM_STEPS))
    steps = whole.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))
    return steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=processes)) if processes else steps


def digests(iterator: Any) -> list[str]:
    return [digest(item["inputs"], item["targets"]) for item in iterator]


@pytest.mark.parametrize(("stop", "threads", "processes"), cases(stop=[*STOPS], threads=[1, 0, 4], processes=[0, 1, 2]))
def test_a_run_resumed_by_grain_s_own_state_is_the_uninterrupted_one(stop: str, threads: int, processes: int) -> None:
    first = iter(dataset(threads, processes))
    seen = digests(next(first) for _ in range(STOPS[stop]))
    state = first.get_state()
    first.close()
    second = iter(dataset(threads, processes))
    second.set_state(state)
    assert seen + digests(second) == stream_digests(NUM_STEPS)


def test_shuffle_and_repeat_of_grain_make_another_run_than_the_loader_tells_of() -> None:
    steps = grain.MapDataset.source(toy_loader(device=None).as_source(NUM_STEPS))
    shuffled = digests(steps.shuffle(seed=1)[i] for i in range(NUM_STEPS))
    assert sorted(shuffled) == sorted(stream_digests(NUM_STEPS))
    assert shuffled != stream_digests(NUM_STEPS)
    repeated = steps.repeat(2)
    assert digests(repeated[i] for i in range(NUM_STEPS, 2 * NUM_STEPS)) == stream_digests(NUM_STEPS)


def test_two_ranks_have_sources_of_their_own_that_grain_need_not_shard() -> None:
    ranks = [toy_loader(device=None, dp_rank=rank, dp_world_size=2) for rank in range(2)]
    got = [digests(iter(grain.MapDataset.source(loader.as_source(40)).to_iter_dataset())) for loader in ranks]
    assert got == [stream_digests(40, dp_rank=rank, dp_world_size=2) for rank in range(2)]
