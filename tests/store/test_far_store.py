"""Stores that are far away, read through a cache: the same as on disk, and checked before a byte is used."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import windrow as wr

pytest.importorskip("obstore")

from windrow.audit.check_store import stale_files
from windrow.errors import StoreError
from windrow.far.objects import FarError, Objects
from windrow.store import copying, far_store
from windrow.store.far_store import FarFolder
from windrow.store.manifest import MANIFEST

BLOCK = 1000  # bytes: some forty blocks
ROOM = 40_000  # for the small files and a dozen blocks


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "BLOCK", BLOCK)
        patch.setattr(far_store, "BLOCK", BLOCK)
        for name in ("ahead._PAUSE", "ahead._ANYHOW", "cache._LOOK", "cache._PATIENCE"):
            patch.setattr(f"windrow.far.{name}", 0.0005)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, small_blocks: None) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    rows = (
        {"parts": [[f"question {n} " * (n % 9), 0], [f" answer {n}", 1]], "score": n / 7, "kind": f"k{n % 3}"}
        for n in range(400)
    )
    asked: dict[str, Any] = {"parts_key": "parts", "keep": ["score", "kind"], "valid_fraction": 0.2}
    wr.prepare(rows, root / "here", tokenizer="bytes", **asked)
    (root / "far").mkdir()
    wr.copy_store(root / "here", (root / "far").as_uri())
    return root


@pytest.fixture(scope="module")
def here(corpus: Path) -> wr.TokenStore:
    return wr.open_store(corpus / "here" / "train")


@pytest.fixture(scope="module")
def far(corpus: Path) -> wr.TokenStore:
    return wr.open_store(url_of(corpus), cache=corpus / "cache", cache_bytes=ROOM)


def url_of(corpus: Path) -> str:
    return (corpus / "far" / "train").as_uri()


def cache_of(store: wr.TokenStore) -> Any:
    found = store.blocks(np.array([0]), np.array([1]))
    assert found is not None
    return found[0]


def copied(corpus: Path, to: Path) -> Path:
    to.mkdir()
    wr.copy_store(corpus / "here" / "train", to.as_uri())
    return to


def rows_of(store: wr.TokenStore, batch_size: int = 3, ranks: int = 1, **given: Any) -> list[Any]:
    """Every batch of an epoch and a bit, rank by rank, as bytes."""
    asked: dict[str, Any] = {"batch_size": batch_size, "dp_world_size": ranks, "seed": 5, "shuffle_block": 8}
    loaders = [wr.Loader(wr.Windows(store, 16, **given), dp_rank=rank, **asked) for rank in range(ranks)]
    return [
        [(batch.inputs.tobytes(), batch.targets.tobytes()) for batch in loader] for loader in loaders for _ in range(2)
    ]


@pytest.mark.parametrize("given", [{}, {"stride": 7}, {"phase": "epoch"}, {"tail": "pad"}, {"policy": "bos"}], ids=str)
def test_batches_are_those_of_the_store_on_disk(here: wr.TokenStore, far: wr.TokenStore, given: dict[str, Any]) -> None:
    assert rows_of(far, **given) == rows_of(here, **given)


def test_each_rank_has_the_batches_of_the_store_on_disk(here: wr.TokenStore, far: wr.TokenStore) -> None:
    asked: dict[str, Any] = {"batch_size": 2, "ranks": 4, "phase": "epoch"}
    assert rows_of(far, **asked) == rows_of(here, **asked)


@pytest.mark.parametrize("given", [{"policy": "pack"}, {"policy": "pad"}, {"documents": "epoch"}], ids=str)
def test_rows_that_lie_anywhere_are_too_where_the_whole_store_fits(
    corpus: Path, here: wr.TokenStore, tmp_path: Path, given: dict[str, Any]
) -> None:
    whole = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=10**6)
    assert rows_of(whole, **given) == rows_of(here, **given)


def test_a_run_goes_on_from_disk_to_far_and_back(here: wr.TokenStore, far: wr.TokenStore) -> None:
    asked: dict[str, Any] = {"seed": 2, "shuffle_block": 8, "epochs": None}
    straight = wr.Loader(wr.Windows(here, 16), 4, **asked)
    wanted = [batch.inputs.tobytes() for _, batch in zip(range(300), straight, strict=False)]
    found, state = list[bytes](), wr.Loader(wr.Windows(here, 16), 4, **asked).state_dict()
    for store in (far, here, far):
        loader = wr.Loader(wr.Windows(store, 16), 4, **asked)
        loader.load_state_dict(state)
        found += [batch.inputs.tobytes() for _, batch in zip(range(99), loader, strict=False)]
        state = loader.state_dict()
    assert found == wanted[: len(found)]


@given(st.lists(st.tuples(st.integers(-1, 12_000), st.integers(1, 3000)), min_size=1, max_size=20))
def test_any_stretches_are_those_of_the_store_on_disk(
    here: wr.TokenStore, far: wr.TokenStore, spans: list[tuple[int, int]]
) -> None:
    starts, lengths = map(np.array, zip(*spans, strict=True))
    lengths = np.where(starts < 0, lengths, np.minimum(lengths, here.num_tokens - starts))
    assert far.stretches(starts, lengths, 7).tolist() == here.stretches(starts, lengths, 7).tolist()
    there = starts >= 0
    counted = [store.counts_at(starts[there], lengths[there]).tolist() for store in (far, here)]
    assert counted[0] == counted[1]


def test_documents_columns_and_origins_are_too(here: wr.TokenStore, far: wr.TokenStore) -> None:
    assert far.boundaries == here.boundaries
    assert far.fingerprint == here.fingerprint
    assert far.sources == here.sources
    for name in ("score", "kind"):
        assert far.column(name).tolist() == here.column(name).tolist()
    chosen = [store.select([7, 3, 200]).tokens().tolist() for store in (far, here)]
    assert chosen[0] == chosen[1]
    assert far.split(0.3)[1].tokens().tolist() == here.split(0.3)[1].tokens().tolist()


def test_small_files_come_when_they_are_asked_for(corpus: Path, tmp_path: Path) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
    assert store.gather(np.array([5]), 3).shape == (1, 3)
    assert not [*tmp_path.rglob("documents-*")]
    assert store.document_span(0)[0] == 0
    assert [*tmp_path.rglob("documents-*")]
    assert not [*tmp_path.rglob("origins-*")]


def test_a_pickle_holds_no_token_and_opens_the_same_cache(far: wr.TokenStore) -> None:
    pickled = pickle.dumps(far)
    assert len(pickled) < 10_000 < far.num_tokens * 2
    assert pickle.loads(pickled).tokens(5, 50).tolist() == far.tokens(5, 50).tolist()


def test_check_reads_all_of_it_and_keeps_no_more_than_it_may(corpus: Path, far: wr.TokenStore) -> None:
    subject: Any = SimpleNamespace(whole={"train": far}, tokenizer=far.tokenizer)
    assert "files and the tokenizer's fingerprint" in stale_files(subject)
    assert not [*(corpus / "cache").rglob("tokens-*")]


def test_the_cache_is_never_larger_than_it_may_be(corpus: Path, tmp_path: Path) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
    rows_of(store)
    store.column("kind")
    files = [path.stat() for path in tmp_path.rglob("*") if path.is_file() and path.name != "table"]
    assert sum(about.st_size for about in files) <= ROOM


@pytest.mark.parametrize("given", [{}, {"cache": "c"}, {"cache_bytes": 10**6}])
def test_a_url_without_a_cache_is_an_error_that_says_how(corpus: Path, given: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r'cache="cache" and cache_bytes='):
        wr.open_store(url_of(corpus), **given)


def test_too_small_a_cache_is_an_error_with_the_number(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"needs (\d+,\d+) at least: .* 4 blocks of 1,000") as caught:
        wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=5000)
    least = int(str(caught.value).split("needs ")[1].split(" at")[0].replace(",", ""))
    assert wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=least).tokens(0, 9).size == 9
    with pytest.raises(StoreError, match="at least"):
        wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=least - 1)


def test_a_cache_in_use_with_another_size_is_an_error(corpus: Path, far: wr.TokenStore) -> None:
    with pytest.raises(StoreError, match="Give the same cache_bytes"):
        wr.open_store(url_of(corpus), cache=corpus / "cache", cache_bytes=ROOM + 5 * BLOCK)


def test_what_is_damaged_far_away_is_named_and_never_used(corpus: Path, here: wr.TokenStore, tmp_path: Path) -> None:
    away = copied(corpus, tmp_path / "away")
    with (away / "tokens-00000.bin").open("r+b") as file:
        file.seek(3 * BLOCK + 17)
        file.write(b"\xff\xff")
    store = wr.open_store(away.as_uri(), cache=tmp_path / "cache", cache_bytes=ROOM)
    assert store.tokens(0, 1500).tolist() == here.tokens(0, 1500).tolist()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"tokens-00000.bin: block 3 \(bytes 3000 to 4000\) .* twice"):
            store.tokens(1400, 1600)
    assert store.tokens(2000, 2500).tolist() == here.tokens(2000, 2500).tolist()


def test_a_sum_that_is_wrong_once_is_fetched_again(
    corpus: Path, here: wr.TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read, wrong = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM), Objects.read, [True]
    monkeypatch.setattr(
        Objects, "read", lambda *given, **more: b"\0" * BLOCK if wrong and wrong.pop() else read(*given)
    )
    assert store.tokens(0, 400).tolist() == here.tokens(0, 400).tolist()
    assert not wrong


def test_what_was_not_copied_by_windrow_is_an_error_that_says_so(corpus: Path, tmp_path: Path) -> None:
    away = copied(corpus, tmp_path / "away")
    (away / "blocks-00000.sha256").write_text(f"tokens-00000.bin 5 {'0' * 64}\n{'0' * 64}\n")
    with pytest.raises(StoreError, match="other files than the manifest"):
        wr.open_store(away.as_uri(), cache=tmp_path / "cache", cache_bytes=ROOM)
    (away / "blocks-00000.sha256").unlink()
    with pytest.raises(FarError, match="windrow copy"):
        wr.open_store(away.as_uri(), cache=tmp_path / "cache", cache_bytes=ROOM)
    (away / MANIFEST).unlink()
    with pytest.raises(FarError, match="is not there"):
        wr.open_store(away.as_uri(), cache=tmp_path / "cache", cache_bytes=ROOM)


def test_what_an_earlier_job_left_is_used_after_its_sums_were_checked(
    corpus: Path, here: wr.TokenStore, tmp_path: Path
) -> None:
    def traffic(first: int, stop: int) -> int:
        store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
        assert store.tokens(first, stop).tolist() == here.tokens(first, stop).tolist()
        return int(cache_of(store).traffic.bytes_fetched)

    assert traffic(0, 2000) == 4 * BLOCK
    assert traffic(0, 2500) == BLOCK
    (slots,) = tmp_path.rglob("slots")
    data = bytearray(slots.read_bytes())
    data[5] ^= 1  # of a slot that holds a block
    slots.write_bytes(data)
    assert traffic(0, 2500) == BLOCK


def test_a_cache_table_of_nonsense_is_begun_anew(corpus: Path, here: wr.TokenStore, tmp_path: Path) -> None:
    for nonsense in (b"", b"\xff" * 999, None):
        store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
        assert store.tokens().tolist() == here.tokens().tolist()
        del store
        (table,) = tmp_path.rglob("table")
        table.write_bytes(b"\x7f" * table.stat().st_size if nonsense is None else nonsense)


def test_a_full_disk_is_one_clear_error(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("windrow.far.slots.Slots.write", refuse)
        with pytest.raises(StoreError, match=r"No space left on device\. The cache takes up to"):
            store.tokens(0, 10)
    assert store.tokens(0, 10).size == 10


def test_a_block_that_goes_while_it_is_read_is_read_again(
    here: wr.TokenStore, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
    cache = cache_of(store)
    store.tokens(0, 10)
    times = [True]

    class Joined(bytearray):
        """What is joined, and then another block comes into the slot that it was read from."""

        def join(self, parts: Any) -> bytearray:
            joined = bytearray().join(parts)
            if times and times.pop():
                slot = cache.slots.claim(5, cache.owner, lambda rows: int(np.flatnonzero(rows["block"] == 0)[0]))
                cache.fill(5, slot)
                joined[:] = b"?" * len(joined)
            return joined

    monkeypatch.setattr("windrow.far.slots.bytearray", Joined, raising=False)
    assert store.tokens(0, 10).tolist() == here.tokens(0, 10).tolist()
    assert not times


def run(script: str, *given: object) -> "subprocess.CompletedProcess[str]":
    begin = (
        "import sys, os, signal, windrow as wr\n"
        "from windrow.far.objects import Objects\n"
        "from windrow.store import copying, far_store\n"
        f"copying.BLOCK = far_store.BLOCK = {BLOCK}\n"
        f"store = wr.open_store(sys.argv[1], cache=sys.argv[2], cache_bytes={ROOM})\n"
    )
    command = [sys.executable, "-c", begin + script, *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_process_killed_while_it_fetches_leaves_no_wrong_byte_and_no_lock(
    corpus: Path, here: wr.TokenStore, tmp_path: Path, where: str
) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)  # so that the table is not begun anew
    kill = "lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    change = f"Objects.read = {kill}" if where == "before" else f"type(slots).publish = {kill}"
    found = "import numpy as np; slots = store.blocks(np.array([0]), np.array([1]))[0].slots\n"
    assert run(f"{found}{change}\nstore.tokens(0, 5)", url_of(corpus), tmp_path).returncode == -9
    assert store.tokens(0, 1000).tolist() == here.tokens(0, 1000).tolist()


def test_who_has_waited_for_another_as_long_as_a_server_may_be_away_does_not_begin_again(
    corpus: Path, tmp_path: Path
) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM, options={"patience": 5})
    cache = cache_of(store)
    with pytest.raises(FarError, match=r"tokens-00000.bin did not answer in 5 seconds"):
        cache.bring(3, waited=5.1)
    assert cache.traffic.bytes_fetched == 0
    cache.bring(3, waited=4.9)  # it was given back
    assert cache.traffic.bytes_fetched == BLOCK


def test_processes_fetch_what_another_has_fetched_only_once(corpus: Path, tmp_path: Path) -> None:
    store = wr.open_store(url_of(corpus), cache=tmp_path, cache_bytes=ROOM)
    cache = cache_of(store)
    store.tokens(0, 2000)
    said = run("print(store.tokens(0, 2500).sum())", url_of(corpus), tmp_path)
    assert said.stdout.split() == [str(store.tokens(0, 2500).sum())]
    assert cache.traffic.bytes_fetched == 4 * BLOCK


def test_two_that_bring_a_small_file_at_the_same_time_do_not_disturb_each_other(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, chunks, far = "documents-00000.npy", Objects.chunks, Objects(url_of(corpus))
    whole = (corpus / "here" / "train" / name).read_bytes()
    one, other = (FarFolder(far, tmp_path, {name: sha256(whole).hexdigest()}) for _ in range(2))

    def meanwhile(self: Objects, *given: Any, **more: Any) -> Iterator[bytes]:
        monkeypatch.setattr(Objects, "chunks", chunks)
        assert (other / name).read_bytes() == whole
        yield from chunks(self, *given, **more)

    monkeypatch.setattr(Objects, "chunks", meanwhile)
    assert (one / name).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [name]
