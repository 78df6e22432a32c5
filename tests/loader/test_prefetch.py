"""Batches made ahead in a thread are those made when asked for, and the thread ends with its loader."""

import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from loader_helpers import as_lists, loader_of, store_of
from windrow import Loader, Windows
from windrow.loader.prefetch import prefetched
from windrow.testing import assert_resumes


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
    deadline = time.monotonic() + 60
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


def exit_code_of_a_fork(body: Callable[[], int]) -> int:
    """What ``body`` returns in a process forked off here; a child that hangs is ended by its alarm."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # a fork beside threads
        child = os.fork()
    if not child:
        signal.alarm(60)
        code = 99
        try:
            code = body()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_off_in_a_loop_is_told_so_and_goes_on_with_a_new_iterator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("windrow.loader.batch_maker._BLOCK_TOKENS", 1)
    loader, whole = loader_of(prefetch=2), as_lists(loader_of())
    batches = iter(loader)
    for _ in range(3):
        next(batches)

    def goes_on() -> int:
        with pytest.raises(ValueError, match=r"forked off in the middle of a loop.*Begin again with iter\(loader\)"):
            next(batches)
        return 7 if as_lists(loader) == whole[3:] else 1

    assert exit_code_of_a_fork(goes_on) == 7
    assert len(list(batches)) == len(whole) - 3
