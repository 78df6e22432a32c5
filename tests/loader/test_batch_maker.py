"""The fast paths give the plain path's batches: blocks of steps, dtypes, prefetch, devices, resident tokens."""

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from windrow import Loader, Mixture, TokenStore, Windows
from windrow.batches.delivery import DeviceDelivery, NumpyDelivery, TorchDelivery
from windrow.errors import ResumeError, WindrowError
from windrow.loader.meter import Meter
from windrow.loader.prefetch import prefetched
from windrow.testing import assert_resumes


def store_of(num_tokens: int, dtype: Any = np.uint16, first: int = 0) -> TokenStore:
    return TokenStore.from_ids((np.arange(num_tokens) + first).astype(dtype), eos_id=65_000)


def loader_of(**kwargs: Any) -> Loader:
    return Loader(Windows(store_of(4000, first=61_000), 7, 5), **{"batch_size": 3, "seed": 4, **kwargs})


def as_lists(loader: Loader) -> list[Any]:
    return [[np.asarray(part).tolist() for part in batch] for batch in loader]


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


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16"])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_every_dtype_holds_the_same_ids(dtype: str, device: str | None) -> None:
    loader = loader_of(dtype=dtype, device=device)
    batch = next(iter(loader))
    assert str(batch.inputs.dtype).removeprefix("torch.") == dtype
    assert as_lists(loader) == as_lists(loader_of())[1:]


@pytest.mark.parametrize(
    "kwargs", [{"drop_last": False, "dp_rank": 0, "dp_world_size": 2}, {"tail": "pad"}], ids=["ranks", "padded"]
)
def test_a_dtype_without_a_sign_is_refused_where_a_target_can_be_masked(kwargs: dict[str, Any]) -> None:
    windows = Windows(store_of(100), 8, tail=kwargs.pop("tail", "drop"))
    with pytest.raises(ValueError, match=r"uint16 cannot hold -100.*dtype='int32'"):
        Loader(windows, 2, dtype="uint16", **kwargs)
    assert Loader(windows, 2, dtype="int32", **kwargs)[0].inputs.dtype == np.int32


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


def test_resident_tokens_are_looked_at_for_int32_and_need_no_workers() -> None:
    windows = Windows(TokenStore.from_ids(np.full(40, 2**31 + 5, dtype=np.uint32)), 8)
    with pytest.raises(WindrowError, match="does not fit in int32"):
        Loader(windows, 2, device="cpu", resident=True, dtype="int32")
    with pytest.raises(WindrowError, match="needs no workers"):
        Loader(windows, 2, device="cpu", resident=True).dataloader()


def test_excluding_from_a_loader_without_a_sign_raises() -> None:
    with pytest.raises(WindrowError, match="uint16 cannot hold -100"):
        loader_of(dtype="uint16").exclude(windows=[0])


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32"])
def test_other_dtypes_are_refused_with_the_list(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"dtype is {dtype}, and batches are int64, int32 or the store's own uint16"):
        loader_of(dtype=dtype)


def test_ids_that_int32_would_wrap_raise() -> None:
    windows = Windows(store_of(100, np.uint32, first=2**31 - 50), 4)
    with pytest.raises(WindrowError, match="does not fit in int32"):
        list(Loader(windows, 2, dtype="int32"))
    assert max(int(batch.targets.max()) for batch in Loader(windows, 2)) == 2**31 + 46


@pytest.mark.parametrize("prefetch", [1, 5, 1000])
@pytest.mark.parametrize("tokens_at_once", [1, 100])
def test_any_prefetch_depth_gives_the_same_stream_and_state(
    monkeypatch: pytest.MonkeyPatch, prefetch: int, tokens_at_once: int
) -> None:
    monkeypatch.setattr("windrow.loader.batch_maker._BLOCK_TOKENS", tokens_at_once)
    assert as_lists(loader_of(prefetch=prefetch)) == as_lists(loader_of())
    assert_resumes(lambda: Loader(Windows(store_of(60), 4), 3, prefetch=prefetch), 10)


def threads() -> int:
    return sum(thread.name == "windrow-prefetch" for thread in threading.enumerate())


def wait_for_no_thread() -> None:
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == 0


def test_the_prefetch_thread_stops_when_the_loader_is_dropped_or_exhausted() -> None:
    wait_for_no_thread()
    batches = iter(loader_of(prefetch=2, epochs=None))
    next(batches)
    assert threads() == 1
    del batches
    gc.collect()
    wait_for_no_thread()
    list(loader_of(prefetch=2))
    wait_for_no_thread()


def test_an_exception_in_the_thread_arrives_in_its_place() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("read error")

    items = prefetched(failing(), 8)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="read error"):
        next(items)
    wait_for_no_thread()


def test_a_slow_consumer_and_a_slow_producer_lose_nothing() -> None:
    def slow(pause: float) -> Iterator[int]:
        for item in range(20):
            time.sleep(pause)
            yield item

    assert list(prefetched(slow(0.005), 3)) == list(range(20))
    fast = prefetched(iter(range(20)), 3)
    assert [item for item in fast if time.sleep(0.005) is None] == list(range(20))


@pytest.mark.parametrize("change", ["skip", "exclude"])
@pytest.mark.parametrize("prefetch", [0, 4])
def test_what_was_made_ahead_is_made_again_after_a_change(change: str, prefetch: int) -> None:
    loader = loader_of(prefetch=prefetch)
    seen = []
    for batch in loader:
        seen.append([batch.inputs.tolist(), batch.targets.tolist()])
        if len(seen) == 4 and change == "skip":
            loader.skip(30)
        if len(seen) == 4 and change == "exclude":
            loader.exclude(windows=range(0, 800, 2))
    assert seen == [[loader[i].inputs.tolist(), loader[i].targets.tolist()] for i in range(len(seen))]
    assert len(seen) == len(loader) - (10 if change == "skip" else 0)
    assert (-100 in np.array(seen)[4:, 1]) == (change == "exclude")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("out", [np.int64, np.int32])
@pytest.mark.parametrize("masked", [False, True])
def test_the_device_path_gives_what_the_cpu_path_gives(dtype: Any, out: Any, masked: bool) -> None:
    rng = np.random.default_rng(0)
    top = 2**16 if dtype == np.uint16 else 2**31
    for num_steps, rows in ((1, 1), (3, 4), (5, 2)):
        tokens = rng.integers(0, top, (num_steps * rows, 9)).astype(dtype)
        mask = rng.random((num_steps * rows, 8)) < 0.5 if masked else None
        ways = [
            NumpyDelivery(np.dtype(out)),
            TorchDelivery(np.dtype(out)),
            DeviceDelivery(torch.device("cpu"), np.dtype(out)),
        ]
        plain, *others = [list(way.batches(tokens, mask, num_steps)) for way in ways]
        assert len(plain) == num_steps
        for batches in others:
            for a, b in zip(plain, batches, strict=True):
                assert np.array_equal(a.inputs, b.inputs.numpy())
                assert np.array_equal(a.targets, b.targets.numpy())
                assert a.num_targets == b.num_targets
                assert b.inputs.is_contiguous()
                assert b.targets.is_contiguous()
                assert b.inputs.shape == (rows, 8)


@pytest.mark.parametrize("kwargs", [{}, {"epochs": None}, {"drop_last": False, "dp_rank": 1, "dp_world_size": 2}])
def test_resident_tokens_give_the_same_stream_and_state(kwargs: dict[str, Any]) -> None:
    def make(**more: Any) -> Loader:
        phased = Windows(store_of(500, first=61_000), 7, 5, phase="epoch")
        mixture = Mixture({"a": (phased, 1), "b": (Windows(store_of(100), 7), 2)})
        return Loader(mixture, 3, seed=4, device="cpu", **kwargs, **more)

    for step in range(20):
        plain, resident = make()[step], make(resident=True)[step]
        assert torch.equal(plain.inputs, resident.inputs)
        assert torch.equal(plain.targets, resident.targets)
    assert make().state_dict() == make(resident=True).state_dict()
    assert_resumes(lambda: make(resident=True), 6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "device is None"),
        ({"device": "cpu", "tail": "pad"}, "without tail='pad'"),
    ],
)
def test_resident_refuses_what_it_cannot_gather(kwargs: dict[str, Any], message: str) -> None:
    windows = Windows(store_of(100), 8, tail=kwargs.pop("tail", "drop"))
    with pytest.raises(ValueError, match=message):
        Loader(windows, 2, resident=True, **kwargs)


def test_the_meter_tells_a_loop_that_waits_from_one_that_does_not() -> None:
    loader = loader_of()
    for _ in loader:
        time.sleep(0.0005)
    stats = loader.stats()
    assert stats["num_batches"] == len(loader)
    assert float(stats["work_seconds"]) > 0.0005 * len(loader) * 0.9
    assert "not data-bound" in str(Meter(10, 0.001, 1.0).stats(8)["verdict"])
    verdict = str(Meter(10, 0.5, 0.5).stats(8)["verdict"])
    assert "data-bound: 50.0%" in verdict
    assert "prefetch" in verdict
    assert Meter(9, 0.5, 0.5).stats(8)["verdict"] == "too early to tell: 9 batches"
    assert Meter(10, 0.5, 0.5).stats(8)["tokens_per_wait_second"] == 160


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
