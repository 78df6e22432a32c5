"""Token files of other tools that were damaged or made to harm: an error each, with what was found."""

import gzip
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_file_helpers import EOS, documents, flat, write_datatrove, write_llmc, write_megatron, write_olmo
from windrow import open_store
from windrow.errors import StoreError

DOCS = documents(9)
NUM = sum(map(len, DOCS))
LENGTHS, PLACES, BOUNDS = 34, 34 + 4 * 9, 34 + 12 * 9  # where the parts of an index of nine documents begin


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(place: int, what: bytes) -> Callable[[bytes], bytes]:
    """Write ``what`` over the bytes at ``place``."""
    return lambda data: data[:place] + what + data[place + len(what) :]


def cut(num: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:-num]


def add(what: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data + what


INDEXES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", r"its first 9 bytes is b'', and it must be b'MMIDIDX"),
    "another magic": (put(0, b"MMIDIDY"), r"its first 9 bytes is b'MMIDIDY.*must be b'MMIDIDX"),
    "the older form": (put(0, b"TNTIDX\0\0"), r"its first 9 bytes is b'TNTIDX.*must be b'MMIDIDX"),
    "a later version": (put(9, struct.pack("<Q", 2)), "its version is 2, and it must be 1"),
    "no dtype": (put(17, b"\x09"), "holds code 9, and uint16, uint32, int32 can be mapped"),
    "too few sequences": (put(18, struct.pack("<Q", 8)), "the size, of 8 sequences, is 222, and it must be 210"),
    "sequences without end": (put(18, struct.pack("<Q", 2**63)), f"the size, of {2**63} sequences, is 222, and"),
    "cut short": (cut(8), "the size, of 9 sequences, is 214, and it must be 222"),
    "of images": (add(bytes(9)), "the size, of 9 sequences, is 231, and it must be 222"),
    "a length below 0": (
        put(LENGTHS + 4, struct.pack("<i", -1)),
        "the length of sequence 1 is -1, and it must be 0",
    ),
    "a place outside": (
        put(PLACES + 16, struct.pack("<q", 2**40)),
        f"the place of sequence 2 is {2**40}, and it must be",
    ),
    "a place below 0": (put(PLACES + 16, struct.pack("<q", -2)), "the place of sequence 2 is -2, and it must be"),
    "documents out of order": (
        put(BOUNDS + 8, struct.pack("<2q", 2, 1)),
        "the first sequence of document 2 is 1, and it must be 2",
    ),
    "documents that wrap": (
        put(BOUNDS + 8, struct.pack("<2q", 2**63 - 1, -(2**63))),
        f"the first sequence of document 2 is -{2**63}, and it must be {2**63 - 1}",
    ),
    "a document outside": (
        put(BOUNDS + 72, struct.pack("<q", 10)),
        r"the bounds of its documents is \[0, 10\], and it must be \[0, 9\]",
    ),
    "a document twice": (put(BOUNDS + 8, struct.pack("<q", 0)), "has empty documents .* number 1 of 9 is 0, after 0"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_an_index_of_megatron_that_cannot_be_true_is_one_error(tmp_path: Path, case: str) -> None:
    change, message = INDEXES[case]
    write_megatron(tmp_path / "a", DOCS)
    assert open_store(tmp_path / "a").num_documents == 9
    index = tmp_path / "a.idx"
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(StoreError, match=message):
        open_store(tmp_path / "a")


@pytest.mark.parametrize("change", [cut(1), cut(2), add(b"\0\0")])
def test_tokens_that_are_not_those_of_the_index_are_one_error(tmp_path: Path, change: Any) -> None:
    for path in (write_megatron(tmp_path / "a", DOCS), write_datatrove(tmp_path / "a.ds", DOCS)):
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(
            StoreError, match=rf"the size is {path.stat().st_size}, and it must be ({2 * NUM}|2 or 4 times {NUM})"
        ):
            open_store(path)


def test_a_negative_id_is_an_error_and_no_large_one(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", [[1, 2, -3], [4]], "int32")
    with pytest.raises(StoreError, match="holds the id -3, and ids are 0 or more"):
        open_store(tmp_path / "a")


HEADS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a head alone, cut": (lambda data: data[:1000], "the size of its header is 1000, and it must be 1024"),
    "another version": (put(4, struct.pack("<i", 2)), "its version is 2, and it must be 1"),
    "too many tokens": (put(8, struct.pack("<i", NUM + 1)), rf"the size is {1024 + 2 * NUM}, and it must be"),
    "tokens below 0": (put(8, struct.pack("<i", -1)), "the size is .*, and it must be 1022"),
    "an odd size": (cut(1), f"the size is {1023 + 2 * NUM}, and it must be {1024 + 2 * NUM}"),
    "an evaluation": (put(0, struct.pack("<i", 20240522)), "its magic number is 20240522, and it must be 20240520 or"),
    "a training": (put(0, struct.pack("<i", 20240527)), "its magic number is 20240527, and it must be 20240520 or"),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_shard_of_llmc_that_cannot_be_true_is_one_error(tmp_path: Path, case: str) -> None:
    change, message = HEADS[case]
    path = write_llmc(tmp_path / "a.bin", flat(DOCS).tolist())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError, match=message):
        open_store(path, format="llmc")


BESIDE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "an index of half numbers": ("index", cut(3), "past whole numbers of 8 bytes is 5, and it must be 0"),
    "an index cut short": ("index", cut(8), "the size is .*, and it must be 2 or 4 times .*, its tokens"),
    "an index out of order": ("index", put(8, bytes(8)), "rise from above 0 .* number 2 of 9 is 0, after"),
    "an index that wraps": ("index", put(8, b"\xff" * 8), "rise from above 0 .* number 2 of 9 is -1, after"),
    "a loss cut short": ("loss", cut(1), f"loss: the size is {NUM - 1}, and it must be {NUM}"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_lies_beside_datatroves_tokens_and_is_not_of_them_is_one_error(tmp_path: Path, case: str) -> None:
    name, change, message = BESIDE[case]
    path = write_datatrove(tmp_path / "a.ds", DOCS, loss=[1] * NUM)
    beside = Path(f"{path}.{name}")
    beside.write_bytes(change(beside.read_bytes()))
    with pytest.raises(StoreError, match=message):
        open_store(path)


def test_datatroves_tokens_without_an_index_are_asked_about(tmp_path: Path) -> None:
    path = write_datatrove(tmp_path / "a.ds", DOCS)
    Path(f"{path}.index").unlink()
    with pytest.raises(StoreError, match=r"a\.ds\.index is no file.*format=\"nanogpt\""):
        open_store(path)
    assert open_store(path, format="nanogpt", dtype="uint16", eos_id=EOS).num_documents == 9


def test_a_loss_that_is_neither_0_nor_1_is_an_error(tmp_path: Path) -> None:
    store = open_store(write_datatrove(tmp_path / "a.ds", DOCS, loss=[2] * NUM))
    with pytest.raises(StoreError, match="hold 2, and they are 0 and 1"):
        store.counts_at(np.array([0]), np.array([4]))


ROWS: dict[str, tuple[bytes, str]] = {
    "a gap": (b"0,3,a,s,1\n4,9,b,s,2\n", "the start of document 2 is 4, and it must be 3"),
    "no numbers": (b"0,x,a,s,1\n", r"line 1 is unreadable \(invalid literal"),
    "too few fields": (b"0,3,a\n", r"line 1 is unreadable \(not enough values"),
    "a number without end": (b"0," + b"9" * 30 + b",a,s,1\n", "line 1 is unreadable"),
    "an end at its start": (b"0,0,a,s,1\n0,9,a,s,1\n", "number 1 of 2 is 0, after 0"),
    "another end": (b"0,3,a,s,1\n", f"the size is {4 * NUM}, and it must be 2 or 4 times 3"),
    "no text": (b"\xff\xfe\n", "is unreadable"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_list_of_olmos_documents_that_cannot_be_true_is_one_error(tmp_path: Path, case: str) -> None:
    rows, message = ROWS[case]
    path = write_olmo(tmp_path / "a.npy", DOCS)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows))
    with pytest.raises(StoreError, match=message):
        open_store(path)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0,3,a,s,1\n" * 99)[:-9])
    with pytest.raises(StoreError, match=r"a\.csv\.gz: .*must be"):
        open_store(path)


def test_half_a_token_without_a_header_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"123")
    with pytest.raises(StoreError, match="the size past whole tokens of uint16 is 1, and it must be 0"):
        open_store(tmp_path / "a.bin", dtype="uint16", eos_id=0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["a.bin", "a.idx"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    write_megatron(tmp_path / "a", DOCS)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    for given_ in ({}, {"format": "megatron"}):
        with pytest.raises(StoreError):
            open_store(tmp_path / "a.bin", **given_)


@given(st.binary(max_size=300), st.sampled_from(["a.bin", "a.idx", "a.ds.index", "a.csv.gz", "a.npy", "a.ds"]))
def test_random_bytes_are_an_error_of_ours_or_a_store(tmp_path_factory: Any, data: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("a")
    for path in ("a.bin", "a.ds", "a.npy"):
        flat(DOCS).tofile(folder / path)
    (folder / name).write_bytes(data)
    for path in ("a.bin", "a.ds", "a.npy"):
        with suppress(StoreError):
            open_store(folder / path, eos_id=0)
