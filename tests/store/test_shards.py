"""The files of a shard as they are mapped: what the kernel is told of how they are read, and what it then reads."""

import mmap
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow import Loader, TokenStore, Windows, open_store, prepare
from windrow.store.line import Line
from windrow.store.manifest import MANIFEST
from windrow.store.shards import advise

PAGE = mmap.PAGESIZE
NEEDED, NORMAL, RANDOM = (getattr(mmap, f"MADV_{name}", None) for name in ("WILLNEED", "NORMAL", "RANDOM"))
pytestmark = pytest.mark.skipif(NEEDED is None, reason="this system takes no advice")


class Advised(mmap.mmap):
    """Memory that keeps what it was told: ``(advice, first byte, bytes)``."""

    told: list[tuple[int, int, int]]

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        self.told.append((option, start, length))
        super().madvise(option, start, length)


def advised(num_pages: int) -> tuple[Advised, np.ndarray[Any, Any]]:
    held = Advised(-1, num_pages * PAGE)
    held.told = []
    return held, np.frombuffer(held, np.uint16)


@given(st.lists(st.tuples(st.integers(0, 40 * PAGE // 2 - 1), st.integers(1, 2 * PAGE)), min_size=1, max_size=12))
def test_the_pages_of_all_stretches_are_asked_for_once_and_no_others(stretches: list[tuple[int, int]]) -> None:
    held, tokens = advised(45)
    starts, lengths = np.array(stretches).T
    stops = np.minimum(starts + lengths, len(tokens))
    advise(tokens, starts, stops, "MADV_WILLNEED")
    asked = [page for _, first, length in held.told for page in range(first // PAGE, (first + length) // PAGE)]
    pages = {
        place * 2 // PAGE for a, b in zip(starts, stops, strict=True) for place in (*range(a, b, PAGE // 2), b - 1)
    }
    assert asked == sorted(pages)
    assert all(after > first + length for (_, first, length), (_, after, _) in pairwise(held.told))


def test_who_reads_long_stretches_has_the_kernel_read_on_and_who_draws_rows_has_not() -> None:
    held, tokens = advised(100)
    store = TokenStore(Line([tokens, tokens[:5]], [np.array([len(tokens)]), np.array([5])], tokens.dtype), eos_id=0)
    held.told.clear()
    store.tokens(0, 1 << 10)
    store.stretches(np.arange(100), np.full(100, 1000))
    assert not held.told
    store.tokens(0, 1 << 16)
    assert [told for told, _, _ in held.told] == [NORMAL, RANDOM]
    assert {length for _, _, length in held.told} == {2 << 16}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 32 M tokens, whose file has other tokens than were prepared: 64 MB of what costs nothing to make."""
    folder = tmp_path_factory.mktemp("large")
    prepare(iter(["text"]), folder, tokenizer="bytes")
    path, n = folder / "train", 1 << 25
    np.zeros(n, np.uint16).tofile(path / "tokens-00000.bin")
    np.save(path / "documents-00000.npy", np.array([n]))
    text = (path / MANIFEST).read_text().replace('"num_tokens": 5', f'"num_tokens": {n}')
    (path / MANIFEST).write_text(text)
    return path


def read_bytes() -> int:
    """What this process has had read from disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="nobody counts here")
def test_a_cold_store_has_few_more_bytes_read_than_are_drawn(large: Path) -> None:
    descriptor = os.open(large / "tokens-00000.bin", os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    before = read_bytes()
    for _, _batch in zip(range(40), Loader(Windows(open_store(large), 1024), 16, seed=1), strict=False):
        pass
    assert read_bytes() - before <= 6 * 40 * 16 * 1025 * 2  # a row of 2050 bytes lies in 1.5 pages of 4096


def test_the_next_rows_are_asked_for_only_after_the_last_ones_were_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked, waits = TokenStore.from_ids(np.arange(4000) % 250), list[int](), iter([0, 0, 0, 7, 7, 8, 8, 8, 8, 8])
    monkeypatch.setattr("windrow.loader.batch_maker.disk_reads", lambda: next(waits))
    monkeypatch.setattr(TokenStore, "will_need", lambda store, starts, lengths: asked.append(len(starts)))
    loader, seen = Loader(Windows(store, 4), 8, seed=1), list[int]()
    for step in range(5):
        loader[step]
        seen.append(len(asked))
    assert seen == [0, 0, 1, 2, 2]
