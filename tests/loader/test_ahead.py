"""What is fetched ahead, and what is forgotten, beside a program that knows the future and nothing of windrow."""

import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import windrow as wr

pytest.importorskip("obstore")

from windrow.errors import WindrowError
from windrow.far import ahead
from windrow.far.ahead import Ahead
from windrow.far.cache import Cache, FarBlock
from windrow.store import copying, far_store

BLOCK = 1024  # bytes
NUM_BLOCKS, NUM_SLOTS, LENGTH = 128, 16, 15
MIXED = 5 * BLOCK // 2 // LENGTH  # windows: five blocks


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BLOCK", BLOCK)
    monkeypatch.setattr(far_store, "BLOCK", BLOCK)
    for name in ("ahead._PAUSE", "ahead._ANYHOW", "cache._LOOK", "cache._PATIENCE"):
        monkeypatch.setattr(f"windrow.far.{name}", 0.0005)


@pytest.fixture
def url(tmp_path: Path, small: None) -> str:
    ids = np.random.default_rng(0).integers(0, 250, NUM_BLOCKS * BLOCK // 2)
    wr.prepare(iter([{"ids": ids.tolist()}]), tmp_path / "here", ids_key="ids", tokenizer="bytes")
    (tmp_path / "far").mkdir()
    wr.copy_store(tmp_path / "here", (tmp_path / "far").as_uri())
    return (tmp_path / "far" / "train").as_uri()


def opened(url: str, cache: Path, num_slots: int = NUM_SLOTS) -> wr.TokenStore:
    small = sum(path.stat().st_size for path in Path(url[7:]).glob("*[0s].[nj][ps]*") if path.name != "manifest.json")
    return wr.open_store(url, cache=cache, cache_bytes=num_slots * BLOCK + small)


def loaders(store: wr.TokenStore, ranks: int = 1, **given: Any) -> list[wr.Loader]:
    asked = {"batch_size": 2, "seed": 3, "shuffle_block": MIXED, "dp_world_size": ranks, **given}
    return [wr.Loader(wr.Windows(store, LENGTH), dp_rank=rank, **asked) for rank in range(ranks)]


def fewest_fetches(uses: list[int], num_slots: int) -> int:
    """How many fetches Belady's rule needs for ``uses``, told block by block; each look ahead goes to the end."""
    held, fetches = set[int](), 0
    for place, block in enumerate(uses):
        if block not in held:
            fetches += 1
            if len(held) == num_slots:
                rest = uses[place:]
                held.remove(max(held, key=lambda one: rest.index(one) if one in rest else len(uses)))
            held.add(block)
    return fetches


def uses_of(loader: wr.Loader, num_epochs: int) -> list[int]:
    """The blocks of the windows of the whole stream, one after the other, by their bytes."""
    out: list[int] = []
    for sample in loader.samples_at(0, num_epochs * loader.epoch_samples):
        first = sample.window * LENGTH * 2
        out += range(first // BLOCK, (first + (LENGTH + 1) * 2 - 1) // BLOCK + 1)
    return out


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks that are fetched from here on, as they are."""
    numbers, fetch = list[int](), Cache._fetch

    def noted(self: Cache, about: FarBlock) -> bytes:
        numbers.append(about.start // BLOCK)
        return fetch(self, about)

    monkeypatch.setattr(Cache, "_fetch", noted)
    return numbers


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when who looks ahead has found nothing to do, twice running: once another may have been quicker."""
    found, claimed, idle = threading.Event(), Ahead._claimed, [False]

    def noted(self: Ahead) -> tuple[int, int] | None:
        claim = claimed(self)
        if claim is None and idle[0]:
            found.set()
        idle[0] = claim is None
        return claim

    monkeypatch.setattr(Ahead, "_claimed", noted)
    return found


def settle(idle: threading.Event) -> None:
    idle.clear()
    assert idle.wait(30)


@pytest.mark.skipif(not os.environ.get("WINDROW_EXHAUSTIVE"), reason="half a minute; set WINDROW_EXHAUSTIVE to run it")
def test_four_ranks_fetch_hardly_more_than_anyone_could(
    url: str, tmp_path: Path, fetched: list[int], idle: threading.Event
) -> None:
    stores = [opened(url, tmp_path / "cache") for _ in range(4)]
    ranks = [loaders(store, 4, batch_size=1)[rank] for rank, store in enumerate(stores)]
    for _ in range(2):
        for _ in zip(*ranks, strict=True):
            settle(idle)  # the loop is slower than the link
    least = fewest_fetches(uses_of(ranks[0], 2), NUM_SLOTS)
    assert least < 2 * NUM_BLOCKS  # the second epoch finds some of the first
    assert len(fetched) <= 1.1 * least


def test_what_fits_is_fetched_once_in_the_order_of_first_need_and_ahead_of_it(
    url: str, tmp_path: Path, fetched: list[int], idle: threading.Event
) -> None:
    store = opened(url, tmp_path / "cache", NUM_BLOCKS + 9)
    (loader,) = loaders(store, epochs=None)
    batches = iter(loader)
    next(batches)
    while loader.stats()["bytes_fetched"] < NUM_BLOCKS * BLOCK:  # what is being fetched is nothing to do for others
        settle(idle)
    assert sorted(fetched) == list(range(NUM_BLOCKS))
    wanted = list(dict.fromkeys(uses_of(loader, 1)))
    assert (
        max(wanted.index(block) - place for place, block in enumerate(fetched)) <= 16
    )  # a thread may be late with one
    before = loader.stats()
    next(batches)
    assert loader.stats()["waits"] == before["waits"]
    assert before["bytes_fetched"] == NUM_BLOCKS * BLOCK


def test_nothing_is_fetched_for_what_comes_after_the_epoch(
    url: str, tmp_path: Path, fetched: list[int], idle: threading.Event
) -> None:
    (loader,) = loaders(opened(url, tmp_path / "cache"))
    loader.skip(loader.epoch_samples - 20)
    for _ in loader:
        settle(idle)
    last = set(uses_of(loader, 1)[-60:])
    assert set(fetched) <= last


def test_what_the_end_of_an_epoch_needs_is_fetched_ahead_too(url: str, tmp_path: Path, idle: threading.Event) -> None:
    (loader,) = loaders(opened(url, tmp_path / "cache"), batch_size=1, shuffle_block=400)
    loader.skip(loader.epoch_samples - 2)
    last_two = iter(loader)
    next(last_two)
    settle(idle)
    before = loader.stats()["waits"]
    assert len(list(last_two)) == 1
    assert loader.stats()["waits"] == before


def test_a_program_ends_also_while_a_thread_of_it_looks_ahead(url: str, tmp_path: Path) -> None:
    script = (
        "import gc, sys, threading, time, types, windrow as wr\n"
        "from windrow.store import copying, far_store\n"
        f"copying.BLOCK = far_store.BLOCK = {BLOCK}\n"
        "from windrow.far.ahead import Ahead\n"
        "begun = threading.Event()\n"
        "Ahead._claimed = lambda self: (begun.set(), time.sleep(3600))\n"
        "store = wr.open_store(sys.argv[1], cache=sys.argv[2], cache_bytes=100 << 20)\n"
        "batches = iter(wr.Loader(wr.Windows(store, 15), 2))\n"
        "next(batches)\n"
        "begun.wait()\n"
        "gc.collect()\n"
        "cycle = types.SimpleNamespace(batches=batches)\n"
        "cycle.itself = cycle\n"
        "del cycle, batches\n"  # collected when the threads are gone
    )
    subprocess.run([sys.executable, "-c", script, url, str(tmp_path / "cache")], timeout=60, check=True)


def test_a_loader_of_what_is_here_follows_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.loader.stream.Following", None)
    assert len(list(wr.Loader(wr.Windows(wr.open_store(tmp_path / "here" / "train"), LENGTH), 64))) > 1


def test_nothing_is_under_way_any_more_when_the_program_ends(url: str, tmp_path: Path) -> None:
    (loader,) = loaders(opened(url, tmp_path / "cache", NUM_BLOCKS + 9))
    batches = iter(loader)
    next(batches)
    ahead._end()
    left = [thread for thread in threading.enumerate() if thread.name in ("windrow-ahead", "windrow-fetch")]
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


def test_members_of_a_mixture_and_evaluations_are_read_ahead_too(url: str, tmp_path: Path) -> None:
    far, here = opened(url, tmp_path / "cache", 40), wr.open_store(tmp_path / "here" / "train")

    def batches(store: wr.TokenStore) -> list[bytes]:
        parts = dict(zip("ab", store.split(0.4), strict=True))
        mixture = wr.Mixture({name: (wr.Windows(part, LENGTH), 1) for name, part in parts.items()})
        loader = wr.Loader(mixture, 4, seed=1, shuffle_block=MIXED)
        scored = wr.Loader.evaluation(wr.Windows(parts["b"], LENGTH), 4)
        return [batch.inputs.tobytes() for each in (loader, scored, loader) for batch in each]

    assert batches(far) == batches(here)


def test_two_recipes_and_an_iterator_that_is_left_behind_share_a_cache(url: str, tmp_path: Path) -> None:
    far, here = opened(url, tmp_path / "cache"), wr.open_store(tmp_path / "here" / "train")
    left, other = iter(loaders(far)[0]), iter(loaders(far, seed=8)[0])
    next(left)
    wanted = loaders(here)[0]
    for number, (found, expected) in enumerate(zip(loaders(far)[0], wanted, strict=True)):
        assert found.inputs.tolist() == expected.inputs.tolist()
        if number % 4 == 0:
            next(other)


def test_workers_of_a_torch_loader_are_spawned_and_get_the_same(url: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    far, here = opened(url, tmp_path / "cache"), wr.open_store(tmp_path / "here" / "train")
    (loader,), (wanted,) = loaders(far, batch_size=300), loaders(here, batch_size=300)
    found = [batch.inputs.tolist() for batch in pickle.loads(pickle.dumps(loader)).dataloader(0)]
    assert found == [batch.inputs.tolist() for batch in wanted]
    assert loader.dataloader(2)._blocks.__self__._steps.is_far
    assert not wanted.dataloader(2)._blocks.__self__._steps.is_far


@pytest.mark.parametrize("given", [{"shuffle_block": None}, {"shuffle_block": 20 * MIXED}])
def test_a_shuffle_that_does_not_fit_is_an_error_with_numbers_that_do(
    url: str, tmp_path: Path, given: dict[str, Any]
) -> None:
    store = opened(url, tmp_path / "cache")
    with pytest.raises(WindrowError, match=f"holds {NUM_SLOTS} of its {NUM_BLOCKS} blocks") as caught:
        loaders(store, **given)
    said = re.search(r"shuffle_block=(\d+), or ([\d,]+) more cache_bytes", str(caught.value))
    assert said
    loaders(store, shuffle_block=int(said[1]))
    loaders(opened(url, tmp_path / "other", NUM_SLOTS + int(said[2].replace(",", "")) // BLOCK), **given)


@pytest.mark.parametrize("given", [{"policy": "pack"}, {"documents": "epoch"}], ids=str)
def test_rows_that_lie_anywhere_need_the_whole_store(url: str, tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(WindrowError, match="more cache_bytes"):
        wr.Loader(wr.Windows(opened(url, tmp_path / "cache"), LENGTH, **given), 2, shuffle_block=MIXED)
