"""What a pass over a token file finds is kept: how often a file is read whole, counted."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from token_file_helpers import EOS, documents, flat, write_datatrove, write_megatron
from windrow import Loader, Windows, open_store
from windrow.store import token_file


@pytest.fixture
def passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read whole."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read: list[str] = []
    real = token_file._read
    monkeypatch.setattr(token_file, "_read", lambda path, offset: (read.append(path.name), real(path, offset))[1])
    return read


def test_the_tokens_are_read_for_eos_once_and_for_the_fingerprint_when_a_state_asks(
    tmp_path: Path, passes: list[str]
) -> None:
    flat(documents()).tofile(tmp_path / "a.bin")
    given: dict[str, Any] = {"dtype": "uint16", "eos_id": EOS}
    loader = Loader(Windows(open_store(tmp_path / "a.bin", **given), 8), 4)
    next(iter(loader))
    assert passes == ["a.bin"]
    state = loader.state_dict()
    assert passes == ["a.bin", "a.bin"]
    again = Loader(Windows(open_store(tmp_path / "a.bin", **given), 8), 4)
    again.load_state_dict(state)
    assert len(passes) == 2
    open_store(tmp_path / "a.bin", dtype="uint16", eos_id=7)
    assert len(passes) == 3


def test_an_index_is_enough_to_open_and_to_cut(tmp_path: Path, passes: list[str]) -> None:
    store = open_store(write_megatron(tmp_path / "a", documents()), eos_id=EOS)
    parts = [*store.split(0.5), store.select([3, 1])]
    assert not passes
    assert len({part.fingerprint for part in (store, *parts)}) == 4
    assert passes == ["a.bin"]


@pytest.mark.parametrize("change", ["tokens", "time", "size"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, passes: list[str], change: str) -> None:
    path = write_megatron(tmp_path / "a", documents())
    before, stat = open_store(path).fingerprint, path.stat()
    data = path.read_bytes()
    path.write_bytes(b"\1\0" + data[2:])
    if change == "tokens":  # with the time of before
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if change == "size":
        write_megatron(tmp_path / "a", documents()[:-1])
    assert open_store(path).fingerprint != before
    assert len(passes) == 2


def test_fingerprints_tell_tokens_boundaries_and_counts_apart(tmp_path: Path, passes: list[str]) -> None:
    docs, found = documents(), set()
    num = sum(map(len, docs))
    for loss in (None, [1] * num, [0] + [1] * (num - 1)):
        found.add(open_store(write_datatrove(tmp_path / "a.ds", docs, loss=loss)).fingerprint)
    found.add(open_store(write_megatron(tmp_path / "b", [[*docs[0], *docs[1]], *docs[2:]])).fingerprint)
    assert len(found) == 4
    moved = write_megatron(tmp_path / "c", docs)
    assert open_store(moved).fingerprint == open_store(write_megatron(tmp_path / "d", docs, sequences=2)).fingerprint


def test_negative_ids_are_looked_for_once(tmp_path: Path, passes: list[str]) -> None:
    path = write_megatron(tmp_path / "a", documents(dtype="int32"), "int32")
    for _ in range(3):
        assert open_store(path).dtype == np.uint32
    assert passes == ["a.bin"]


def test_a_long_pass_says_in_the_log_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(token_file, "_AT_A_TIME", 400)
    monkeypatch.setattr(token_file, "_NEWS", 500)
    path = write_megatron(tmp_path / "a", documents())
    with caplog.at_level(logging.INFO, logger="windrow"):
        assert open_store(path).fingerprint
    assert len(caplog.messages) == path.stat().st_size // 500
    assert "a.bin: " in caplog.messages[0]
