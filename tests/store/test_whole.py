"""Files that are there whole or not at all."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from full_disk import files_no_larger_than
from windrow.store.whole import append_whole, write_whole


def write_half(file: BinaryIO) -> None:
    file.write(b"half of the new")
    raise KeyboardInterrupt


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_what_was_written_and_nothing_lies_beside_it(tmp_path: Path, durable: bool) -> None:
    assert write_whole(tmp_path / "page.html", lambda file: file.write(b"new"), durable=durable) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_bytes() == b"new"


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("name", ["old", "none"])
def test_a_write_that_stops_halfway_leaves_what_was_there(tmp_path: Path, name: str, durable: bool) -> None:
    (tmp_path / "old").write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / name, write_half, durable=durable)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"the old one"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    (tmp_path / "old").write_bytes(b"the old one")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "old", lambda file: file.write(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"the old one"


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "page.html.tmp").write_bytes(b"half of one that was to be longer")
    write_whole(tmp_path / "page.html", lambda file: file.write(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_bytes() == b"new"


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"one, ")
        write_whole(tmp_path / "kept", lambda other: other.write(b"other"), durable=False)
        file.write(b"after the other")

    write_whole(tmp_path / "kept", write, durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"one, after the other"


def test_a_durable_file_is_on_disk_before_its_name_and_its_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("fsync folder" if stat.S_ISDIR(status.st_mode) else f"fsync {status.st_size}")
        sync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(tmp_path / "a", lambda file: file.write(b"12345"))
    assert calls == ["fsync 5", "rename", "fsync folder"]
    calls.clear()
    write_whole(tmp_path / "b", lambda file: file.write(b"12345"), durable=False)
    assert calls == ["rename"]


REFUSED = r"File too large, and 30,000 bytes are needed\. Raise the limit .* what was there before is untouched"


@pytest.mark.parametrize("durable", [True, False])
def test_a_disk_without_room_is_an_error_with_the_path_and_the_bytes_that_are_needed(
    tmp_path: Path, durable: bool
) -> None:
    (tmp_path / "old").write_bytes(b"the old one")

    def write(file: BinaryIO) -> None:
        for _ in range(3):
            file.write(b"x" * 10_000)

    with files_no_larger_than(15_000), pytest.raises(OSError, match=REFUSED) as caught:
        write_whole(tmp_path / "old", write, durable=durable)
    assert caught.value.filename == str(tmp_path / "old")
    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"the old one"


def test_a_writer_that_hides_what_the_disk_said_hides_nothing(tmp_path: Path) -> None:
    content = {"weights": torch.zeros(10_000)}
    with files_no_larger_than(15_000), pytest.raises(OSError, match=r"File too large, and 4\d,\d\d\d bytes are needed"):
        write_whole(tmp_path / "checkpoint.pt", lambda file: torch.save(content, file))
    assert list(tmp_path.iterdir()) == []


def test_a_file_grows_by_all_of_a_piece_or_by_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_whole(log, b"first\n")
    append_whole(log, b"second\n")
    with files_no_larger_than(20), pytest.raises(OSError, match="and 6,000 bytes are needed") as caught:
        append_whole(log, b"third\n" * 1000)
    assert caught.value.filename == str(log)
    assert log.read_bytes() == b"first\nsecond\n"
