"""Hostile and mistaken texts: each kind is made by code, and each has a message of its own."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from prepare_helpers import same_ids, zst
from windrow import open_store, prepare
from windrow.cli.main import app
from windrow.errors import SourceError

BOM = b"\xef\xbb\xbf"
ROW = b'{"text": "one"}\n'


def refused(path: Path, message: str, **options: Any) -> None:
    """Assert that preparing ``path`` fails with ``message`` and publishes nothing."""
    with pytest.raises(SourceError, match=message):
        prepare(path, path.parent / "out", tokenizer="bytes", **options)
    assert not (path.parent / "out/train").exists()


@pytest.mark.parametrize("name", ["x.csv", "x.md", "x.html", "x.csv.gz", "x"])
def test_a_file_whose_name_tells_no_form_is_an_error_that_names_the_forms(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,2\n")
    forms = r"\.txt, \.jsonl, .*--form\): text, jsonl, json, parquet or arrow"
    refused(tmp_path / name, rf"{re.escape(name)} has a name that does not tell its form, and none is guessed.*{forms}")
    refused(tmp_path / "x*", "a name that does not tell its form")


FIRST_LINES = {
    b"": "its first line is empty",
    b"\n" + ROW: "its first line is empty",
    BOM + b"\n" + ROW: "its first line holds a byte order mark and nothing else",
    BOM: "its first line holds a byte order mark and nothing else",
    b"{\n" + ROW[1:]: "its first line is no JSON object",
    b'"text"\n': "its first line is no JSON object",
    b"nonsense": "its first line is no JSON object",
    b"{" + b"[" * 100_000 + b"\n": "its first line is no JSON object",
    b'{"text": "' + b"x" * (1 << 26): "its first line is longer than 32 MiB",
}


@pytest.mark.parametrize("data", FIRST_LINES, ids=FIRST_LINES.values())
@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_json_that_is_neither_lines_nor_an_array_is_named_by_its_first_line(
    tmp_path: Path, data: bytes, suffix: str
) -> None:
    path = tmp_path / f"x.json{suffix}"
    path.write_bytes(zst(data) if suffix else data)
    refused(path, FIRST_LINES[data], on_error="skip")


BAD_ARRAYS = {
    b'[{"text": "one"},\n{"text": "two"}': r"x\.json, line 2: no whole JSON array: neither , nor \] after .* byte 33",
    b'[{"text": "one"},\n': r"x\.json, line \d: no whole JSON array: Expecting value",
    b'[{"text": "one"}]\n["text"]': r"x\.json, line 1: no whole JSON array: neither , nor \]",
    b'[{"text": ' + b"[" * 100_000: r"x\.json, line 1: no whole JSON array: maximum recursion depth",
}


@pytest.mark.parametrize("data", BAD_ARRAYS)
def test_an_array_that_does_not_end_is_an_error_also_where_bad_documents_are_skipped(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "x.json").write_bytes(data)
    refused(tmp_path / "x.json", BAD_ARRAYS[data], on_error="skip")


def test_an_array_larger_than_a_quarter_of_the_memory_is_named_with_what_unpacks_it(tmp_path: Path) -> None:
    rows = [{"text": "x" * 1000}] * 9000
    for suffix in ("", ".zst"):
        data = json.dumps(rows).encode()
        path = tmp_path / f"x.json{suffix}"
        path.write_bytes(zst(data) if suffix else data)
        refused(path, r"JSON array of more than 8\.0 MB, a quarter of the memory .*jq -c '\.\[\]'", memory=32_000_000)
        path.unlink()


@pytest.mark.parametrize(
    "head", [b'{"text": "one"}\n', b' {"text": "one"}', BOM + ROW, b'[{"text": "one"}]', b'[\n {"']
)
def test_json_on_standard_input_is_not_taken_for_text_unless_asked(tmp_path: Path, head: bytes) -> None:
    said = windrow(tmp_path, head + b"\n", code=1)
    assert "standard input begins with JSON" in said
    assert "--form jsonl" in said
    assert "--form text" in said
    assert not (tmp_path / "train").exists()
    windrow(tmp_path, head + b"\n", "--form", "text")
    assert open_store(tmp_path / "train").num_documents == 1


def windrow(dest: Path, data: bytes, *flags: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["prepare", "-", str(dest), "--tokenizer", "bytes", *flags], input=data)
    assert done.exit_code == code, done.output
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("name", "size"), [("x.txt", 10), ("x.txt", 2_500_000), ("x.jsonl", 10)])
def test_utf16_is_named_by_its_mark(tmp_path: Path, name: str, encoding: str, size: int) -> None:
    (tmp_path / name).write_bytes(("\ufeff" + "word " * (size // 5)).encode(encoding))
    refused(tmp_path / name, rf"{name}, line 1: not UTF-8 but UTF-16, .*iconv -f UTF-16 -t UTF-8")


def test_a_zstd_frame_of_a_long_window_is_not_called_damaged(tmp_path: Path) -> None:
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3])  # a frame whose window is 2 GiB
    (tmp_path / "x.txt.zst").write_bytes(header + b"\x01\x00\x00")
    zst(b"")  # skips where there is nothing to unpack with
    refused(tmp_path / "x.txt.zst", r"window of more than 128 MiB .*zstd -d --long=31 .*x\.txt\.zst")


OFFSETS = {
    "beyond the text": [0, 3, 6, 60],
    "far beyond": [0, 3, 6, 2**30],
    "backwards": [0, 6, 3, 9],
    "negative": [0, -5, 3, 9],
    "before the text": [-100, -50, 6, 9],
}


@pytest.mark.parametrize("kind", OFFSETS)
@pytest.mark.parametrize("form", ["file", "stream", "dictionary"])
def test_an_arrow_file_with_damaged_offsets_is_no_whole_file(tmp_path: Path, form: str, kind: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    texts = arrow.array(["abc", "def", "ghi"])
    table = arrow.record_batch([texts.dictionary_encode() if form == "dictionary" else texts], names=["text"])
    new = arrow.ipc.new_stream if form == "stream" else arrow.ipc.new_file
    with new(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_batch(table)
    data = (tmp_path / "x.arrow").read_bytes()
    whole, damaged = (np.array(ends, "<i4").tobytes() for ends in ([0, 3, 6, 9], OFFSETS[kind]))
    assert data.count(whole) == 1
    (tmp_path / "x.arrow").write_bytes(data.replace(whole, damaged))
    refused(tmp_path / "x.arrow", r"x\.arrow is no whole arrow file \(.*offset", on_error="skip")


def test_two_columns_of_the_name_of_the_text_are_an_error(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table([["one"], ["two"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "x.parquet")
    with arrow.ipc.new_stream(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("x.parquet", "x.arrow"):
        refused(tmp_path / name, rf"{name} has 2 columns 'text'")


def test_a_row_of_an_arrow_file_that_is_not_utf8_is_one_bad_row(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    ends = arrow.array([0, 3, 5, 8], arrow.int32()).buffers()[1]
    texts = arrow.Array.from_buffers(arrow.string(), 3, [None, ends, arrow.py_buffer(b"onex\xfftwo")])
    with arrow.ipc.new_stream(str(tmp_path / "x.arrow"), arrow.schema([("text", arrow.string())])) as writer:
        writer.write_batch(arrow.record_batch([texts], names=["text"]))
    refused(tmp_path / "x.arrow", r"x\.arrow, row 2: 'text' is not UTF-8")
    same_ids(prepare(tmp_path / "x.arrow", tmp_path / "out", on_error="skip")["train"], ["one", "two"])
