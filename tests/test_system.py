"""What some systems do not have: what is there works, and without it there is what the table says."""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from windrow import system


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class BytesOfWindows:
    """The locks of ``msvcrt``: on bytes from where the file stands, each held by one descriptor."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.holders: list[tuple[range, int]] = []

    def locking(self, descriptor: int, mode: int, nbytes: int) -> None:
        assert mode == self.LK_NBLCK
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        wanted = range(start, start + nbytes)
        if any(held.start < wanted.stop and wanted.start < held.stop for held, _ in self.holders):
            raise PermissionError(13, "Permission denied")
        self.holders.append((wanted, descriptor))

    def gives_back(self, descriptor: int) -> None:
        self.holders = [(held, holder) for held, holder in self.holders if holder != descriptor]


@pytest.fixture(params=["flock", "bytes"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BytesOfWindows:
    """The system's own lock, or the one of Windows."""
    held = BytesOfWindows()
    if request.param == "bytes":
        monkeypatch.setattr(system, "_fcntl", None)
        monkeypatch.setattr(system, "_msvcrt", held)
    elif system._fcntl is None:
        pytest.skip("this system has no flock")
    return held


def test_many_share_a_lock_and_one_who_does_not_share_is_alone(tmp_path: Path, locks: BytesOfWindows) -> None:
    path = tmp_path / "lock"
    with opened(path) as a, opened(path) as b, opened(path) as alone:
        assert system.takes_lock(a, shared=True)
        assert system.takes_lock(b, shared=True)
        assert not system.takes_lock(alone, shared=False)
    locks.holders.clear()
    with opened(path) as alone, opened(path) as other:
        assert system.takes_lock(alone, shared=False)
        assert not system.takes_lock(other, shared=True)
        assert not system.takes_lock(other, shared=False)


def test_a_lock_is_free_again_when_its_holder_has_closed_the_file(tmp_path: Path, locks: BytesOfWindows) -> None:
    with opened(tmp_path / "lock") as first:
        assert system.takes_lock(first, shared=False)
    locks.gives_back(first)
    with opened(tmp_path / "lock") as second:
        assert system.takes_lock(second, shared=False)


def test_without_any_locks_nobody_is_kept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_fcntl", None)
    monkeypatch.setattr(system, "_msvcrt", None)
    with opened(tmp_path / "lock") as first, opened(tmp_path / "lock") as second:
        assert system.takes_lock(first, shared=False)
        assert system.takes_lock(second, shared=False)


def test_what_cannot_be_known_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_resource", None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert system.disk_reads() == 0
    assert system.may_open_more() is False
    assert system.num_cores() == os.cpu_count()
    assert system.memory_of(2**22 + 1) == 0  # no process has this number


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_the_memory_of_a_process_is_what_it_holds() -> None:
    script = "import os; from windrow import system; x = b'x' * (64 << 20); print(system.memory_of(os.getpid()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert 64 << 20 < int(done.stdout) < 1 << 30


def test_a_mapping_outlives_its_descriptor_and_takes_advice_if_any_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hay" * 5000)
    with opened(tmp_path / "file") as descriptor:
        held = system.map_descriptor(descriptor)
    for advice in ("MADV_RANDOM", "MADV_WILLNEED", "MADV_OF_NO_SYSTEM"):
        system.advise_mapping(held, advice)
        system.advise_mapping(held, advice, mmap.PAGESIZE, mmap.PAGESIZE)
    assert held[:] == b"hay" * 5000


def test_a_folder_is_synced_only_where_folders_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    if hasattr(os, "O_DIRECTORY"):
        system.sync_folder(tmp_path)
        assert len(synced) == 1
        monkeypatch.delattr(os, "O_DIRECTORY")
    before = list(synced)
    system.sync_folder(tmp_path / "is not even there")
    assert synced == before


def test_a_stop_is_noted_within_and_means_what_it_did_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGFPE, raising=False)  # Windows' Ctrl-Break, by another number
    monkeypatch.delattr(signal, "SIGTERM")
    before, noted = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGBREAK)], list[int]()  # type: ignore[attr-defined]
    with system.stop_signals(lambda number, _frame: noted.append(number)):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGFPE)
    assert noted == [signal.SIGINT, signal.SIGFPE]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGFPE)] == before


def test_a_process_apart_is_started() -> None:
    assert subprocess.run([sys.executable, "-c", "pass"], check=True, **system.APART).returncode == 0
