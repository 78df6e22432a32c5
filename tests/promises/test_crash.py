"""prepare killed at a system call, and refused by the disk: the rerun gives the bytes of an undisturbed run.

Needs strace. Every N-th call here; all of them when WINDROW_EXHAUSTIVE is set (as in .ci/run).
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from prepare_helpers import snapshot
from windrow import open_store
from windrow.errors import StoreError

ALL = bool(os.environ.get("WINDROW_EXHAUSTIVE"))
WRITING = "write,fsync,rename,mkdir,unlink,unlinkat,rmdir,flock"
JOB = """
import os, sys
from windrow.preparing import encode, publish, tasks  # megabytes become kilobytes
from windrow.text import blocks
from windrow.tokens import cuts, encoder
for module in (blocks, cuts, encode, encoder):
    module.PIECE = module.LIMIT = 1 << 12
tasks.ITEM = blocks._BLOCK = 1 << 13
tasks._SMALL = {"": 1 << 13, "gz": 1 << 10, "zst": 1 << 10}
publish.SHARD_TOKENS = 30_000
from windrow.preparing.crew import Here
from windrow.errors import WindrowError
from windrow.preparing.prepare import prepare
try:
    for part in [(2, 2), (1, 2), None] if "divided" in sys.argv else [None]:
        options = {"valid_fraction": 0.3, "part": part, "finish": True}
        prepare(sys.argv[1], sys.argv[2], tokenizer="bytes", executor=Here(), **options)
except WindrowError as error:
    os.writev(2, [f"{type(error).__name__}: {error}".encode()])  # not write: that may be what fails
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash")
    import gzip

    (folder / "a.txt").write_text("A long document, cut into pieces. " * 900)
    lines = "".join(f'{{"text": "line {n} of many, to be divided"}}\n' for n in range(700))
    (folder / "b.jsonl").write_text(lines)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines.replace("line", "row").encode()))
    for number in range(5):
        (folder / f"d{number}.txt").write_text(f"small file {number}")
    return folder


def job(
    inputs: Path, dest: Path, *inject: str, log: Path | None = None, divided: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run the job, under strace when something is to be injected; the log holds the calls that strace saw."""
    command = [sys.executable, "-c", JOB, str(inputs), str(dest), *["divided"] * divided]
    if log:
        if not shutil.which("strace"):
            pytest.skip("strace is not installed (apt-get install strace)")
        command = ["strace", "-f", "-o", str(log), *inject, *command]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # whose files would be renamed in the first run only
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Counter[str]]:
    """The bytes of an undisturbed run, and the calls it makes that change the disk."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = job(inputs, folder / "out", "-e", f"trace={WRITING}", log=folder / "log")
    assert out.returncode == 0, out.stderr
    calls = re.findall(r"^\d+ +(\w+)\(", (folder / "log").read_text(), re.MULTILINE)
    return snapshot(folder / "out"), Counter(calls)


def check_unfinished(dest: Path) -> None:
    """Whatever is there is a whole store or cannot be opened."""
    for side in ("train", "valid"):
        try:
            store = open_store(dest / side)
        except StoreError:
            continue
        assert store.tokens()[-1] == store.eos_id


def test_a_run_killed_at_any_call_that_changes_the_disk_is_finished_by_the_next(
    inputs: Path, undisturbed: tuple[dict[str, str], Counter[str]], tmp_path: Path
) -> None:
    expected, calls = undisturbed
    assert calls.total() > 100
    places = [(call, number) for call in sorted(calls) for number in range(1, calls[call] + 1)]
    for call, number in places if ALL else places[2 :: len(places) // 9]:
        dest = tmp_path / f"{call}{number}"
        killed = job(inputs, dest, "-e", f"inject={call}:signal=KILL:when={number}", log=tmp_path / "log")
        assert killed.returncode in (-9, 137), f"at {call} {number}: {killed}"
        check_unfinished(dest)
        again = job(inputs, dest)
        assert again.returncode == 0, f"after a kill at {call} {number}: {again.stderr}"
        assert snapshot(dest) == expected, f"after a kill at {call} {number}"
        if dest.exists():
            shutil.rmtree(dest)


@pytest.mark.parametrize("rerun_divided", [True, False])
def test_divided_publishing_killed_at_any_call_is_finished_by_any_rerun(
    inputs: Path, undisturbed: tuple[dict[str, str], Counter[str]], tmp_path: Path, rerun_divided: bool
) -> None:
    expected, calls = undisturbed
    for call in ("fsync", "rename", "write"):
        for number in range(1, calls[call] + 1) if ALL else (calls[call] // 2, calls[call] - 4):
            dest = tmp_path / f"{call}{number}"
            inject = f"inject={call}:signal=KILL:when={number}"
            killed = job(inputs, dest, "-e", inject, log=tmp_path / "log", divided=True)
            assert killed.returncode in (-9, 137), f"at {call} {number}: {killed}"
            check_unfinished(dest)
            assert job(inputs, dest, divided=rerun_divided).returncode == 0
            assert snapshot(dest) == expected, f"after a kill at {call} {number}"


def test_a_run_killed_time_and_again_gets_done(
    inputs: Path, undisturbed: tuple[dict[str, str], Counter[str]], tmp_path: Path
) -> None:
    expected, _ = undisturbed
    for call, number in (("write", 5), ("rename", 6), ("write", 12), ("fsync", 4), ("fsync", 9), ("unlinkat", 2)):
        job(inputs, tmp_path / "out", "-e", f"inject={call}:signal=KILL:when={number}", log=tmp_path / "log")
    assert job(inputs, tmp_path / "out").returncode == 0
    assert snapshot(tmp_path / "out") == expected


FAILURES = [
    ("write", "ENOSPC", r"The disk is full, and about 0\.1 MB are needed"),
    ("write", "EIO", "The disk fails"),
    ("fsync", "EIO", "The disk fails"),
    ("rename", "EACCES", "Get the right to write there"),
    ("mkdir", "EROFS", "The disk is read-only"),
]


@pytest.mark.parametrize(("call", "error", "message"), FAILURES)
def test_what_the_disk_refuses_is_an_error_with_the_path_and_the_rerun_goes_on(
    inputs: Path, undisturbed: tuple[dict[str, str], Counter[str]], tmp_path: Path, call: str, error: str, message: str
) -> None:
    expected, calls = undisturbed
    for number in range(1, calls[call] + 1) if ALL else (1, calls[call] // 2):
        dest = tmp_path / f"out{number}"
        out = job(inputs, dest, "-e", f"inject={call}:error={error}:when={number}+", log=tmp_path / "log")
        assert out.returncode == 1, out.stderr
        assert re.match(rf"PrepareError: {re.escape(str(tmp_path))}.*{message}.*run the same command again", out.stderr)
        check_unfinished(dest)
        assert job(inputs, dest).returncode == 0
        assert snapshot(dest) == expected
        shutil.rmtree(dest)


NAMES = ("unfinished/lock", "train/tokens-00000.bin.tmp", "train/manifest.json.tmp")
REFUSED = [(error, name) for error in ("EACCES", "EMFILE", "ENOSPC") for name in NAMES]


@pytest.mark.parametrize(("error", "name"), REFUSED if ALL else REFUSED[::4])
def test_a_file_that_cannot_be_opened_is_named(
    inputs: Path, undisturbed: tuple[dict[str, str], Counter[str]], tmp_path: Path, name: str, error: str
) -> None:
    dest = tmp_path / "out"
    out = job(inputs, dest, "-P", str(dest / name), "-e", f"inject=openat:error={error}", log=tmp_path / "log")
    assert out.returncode == 1
    assert out.stderr.startswith(f"PrepareError: {dest / name}: ")
    assert job(inputs, dest).returncode == 0
    assert snapshot(dest) == undisturbed[0]
