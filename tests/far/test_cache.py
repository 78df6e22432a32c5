"""Stores read through a cache from a real server, while the way to it and the processes fail: never a wrong token."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import windrow as wr
from forwarder import Forwarder, between
from object_server import Server

pytest.importorskip("obstore")

from windrow.far.objects import FarError
from windrow.store import copying, far_store

BLOCK = 1 << 16
ROOM = 8 * BLOCK + 4000  # of twenty blocks, and the small files
URL = "s3://corpora/cached/train"
RECIPE: dict[str, Any] = {"batch_size": 16, "shuffle_block": 300}
JOB = f"""
import hashlib, pathlib, sys, windrow as wr
from windrow.store import copying, far_store
copying.BLOCK = far_store.BLOCK = {BLOCK}
store = wr.open_store({URL!r}, cache=sys.argv[1], cache_bytes={ROOM})
digest, most = hashlib.sha256(), 0
for batch in wr.Loader(wr.Windows(store, 128), seed=int(sys.argv[2]), **{RECIPE}):
    digest.update(batch.inputs.tobytes())
    files = [path for path in pathlib.Path(sys.argv[1]).rglob("*") if path.name != "table"]
    most = max(most, sum(path.stat().st_blocks * 512 for path in files if path.is_file()))
print(digest.hexdigest(), most)
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (copying, far_store):
        monkeypatch.setattr(module, "BLOCK", BLOCK)


@pytest.fixture
def here(server: Server, tmp_path: Path, small_blocks: None) -> wr.TokenStore:
    """The store on disk; it lies at ``URL`` too."""
    rows = (f"Document {n}. " + "The hay was cut. " * (n % 90) for n in range(800))
    wr.prepare(rows, tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", URL.removesuffix("/train"))
    return wr.open_store(tmp_path / "corpus" / "train")


@pytest.fixture
def way(server: Server, here: wr.TokenStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forwarder]:
    """What all clients that begin from here on have between them and the server."""
    with between(server.url) as forwarder:
        monkeypatch.setenv("AWS_ENDPOINT", forwarder.url)
        yield forwarder


def digest_of(store: wr.TokenStore, seed: int = 0) -> str:
    digest = sha256()
    for batch in wr.Loader(wr.Windows(store, 128), seed=seed, **RECIPE):
        digest.update(batch.inputs.tobytes())
    return digest.hexdigest()


def job(cache: Path, seed: int = 0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(cache), str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said_by(running: "subprocess.Popen[str]") -> tuple[str, int]:
    """The digest of what a job has read, and the most bytes that it saw in its cache."""
    out, errors = running.communicate(timeout=100)
    assert running.returncode == 0, errors
    digest, most = out.split()
    return digest, int(most)


@pytest.mark.parametrize("fault", ["busy", "short"])
def test_a_fault_that_each_request_meets_once_changes_no_batch(
    here: wr.TokenStore, way: Forwarder, tmp_path: Path, fault: str
) -> None:
    met = Counter[str]()

    def once(path: str, part: str) -> str:
        begin = part.removeprefix("bytes=").partition("-")[0]
        if "tokens-" not in path or int(begin) % BLOCK:  # what is asked for after half a block has come
            return ""
        met[begin] += 1
        return fault if met[begin] == 1 else ""

    way.fault = once
    far = wr.open_store(URL, cache=tmp_path / "cache", cache_bytes=ROOM)
    assert digest_of(far) == digest_of(here)
    assert len(met) > 15


@pytest.mark.parametrize(
    ("fault", "said"), [("busy", "had only the answer 503 .* for 1 seconds"), ("short", "did not answer in full in 1")]
)
def test_a_fault_that_stays_is_one_clear_error_and_what_was_asked_again_ends(
    here: wr.TokenStore, way: Forwarder, tmp_path: Path, fault: str, said: str
) -> None:
    far = wr.open_store(URL, cache=tmp_path / "cache", cache_bytes=ROOM, options={"patience": 1})
    way.fault = lambda path, _: fault if "tokens-" in path else ""
    with pytest.raises(FarError, match=rf"{URL}/tokens-00000.bin {said}|did not answer in 1 seconds"):
        digest_of(far)
    way.fault = lambda *_: ""
    assert digest_of(far) == digest_of(here)


@pytest.mark.parametrize("seeds", [(0, 0), (1, 2)], ids=["one recipe", "two recipes"])
def test_two_jobs_with_one_cache_read_what_lies_on_disk_and_keep_to_its_size(
    here: wr.TokenStore, tmp_path: Path, seeds: tuple[int, int]
) -> None:
    jobs = [job(tmp_path / "cache", seed) for seed in seeds]
    found = [said_by(each) for each in jobs]
    assert [digest for digest, _ in found] == [digest_of(here, seed) for seed in seeds]
    assert 5 * BLOCK < max(most for _, most in found) <= ROOM


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("is_alone", [True, False])
def test_after_a_job_that_was_killed_while_it_fetched_others_go_on_with_its_cache(
    here: wr.TokenStore, way: Forwarder, tmp_path: Path, is_alone: bool
) -> None:
    beside = None if is_alone else wr.open_store(URL, cache=tmp_path / "cache", cache_bytes=ROOM)
    parts = set[str]()

    def hold_the_fifth(path: str, part: str) -> str:
        parts.update({part} if "tokens-" in path else ())
        return "held" if len(parts) == 5 else ""

    way.fault = hold_the_fifth
    first = job(tmp_path / "cache")
    assert way.holds.wait(60)
    first.kill()
    assert first.communicate(timeout=60)[0] == ""
    way.fault = lambda *_: ""
    if beside:
        assert digest_of(beside) == digest_of(here)
    assert said_by(job(tmp_path / "cache"))[0] == digest_of(here)
