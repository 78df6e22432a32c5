"""Rows whose fields are made to harm, and columns that were damaged: each is named, and nothing wrong comes out."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import open_store, prepare
from windrow.errors import SourceError, StoreError
from windrow.preparing.crew import Here

LINES = {
    b'{"text": "a", "n": %s}' % (b"[" * 100_000 + b"]" * 100_000): "line 2: not JSON that can be read",
    b'{"text": "a", "n": %s}' % (b"9" * 100_000): "line 2: 'n' is an integer beyond int64",
    b'{"text": "a", "n": -%s}' % (b"9" * 100_000): "line 2: 'n' is an integer beyond int64",
    b'{"text": "a", "n": "\\ud83d"}': "line 2: 'n' is half a surrogate pair",
    b'{"text": "a", "n": [1, 2]}': "line 2: 'n' is a list",
}


@pytest.mark.parametrize("line", LINES, ids=LINES.values())
def test_a_field_that_is_made_to_harm_is_named_by_its_line(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "one", "n": 1}\n' + line)
    with pytest.raises(SourceError) as found:
        prepare(tmp_path / "x.jsonl", tmp_path / "out", tokenizer="bytes", keep=["n"], executor=Here())
    assert f"x.jsonl, {LINES[line]}" in str(found.value) or "nested too deep" in str(found.value)
    assert len(str(found.value)) < 500
    assert not (tmp_path / "out/train").exists()


def test_names_with_quotes_and_escapes_and_text_with_zeros_are_kept_as_they_are(tmp_path: Path) -> None:
    name, texts = 'a"\\b\n\x1b[31m', ["x\0", "x", "", "\x1b[31m", "missing"]
    store = prepare(iter([{"text": "t", name: text} for text in texts]), tmp_path, tokenizer="bytes", keep=[name])
    assert store["train"].column(name).tolist() == texts
    assert all(path.name.isascii() for path in (tmp_path / "train").iterdir())
    with pytest.raises(SourceError, match="no row has a value"):
        prepare(iter([{"text": "t"}]), tmp_path / "other", tokenizer="bytes", keep=["../../x"])


class Evil:
    """Cannot be pickled, hashed or printed."""

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [Evil(), b"bytes", date(2020, 1, 1), np.datetime64("2020-01-01"), np.ones(2), 1j])
def test_a_value_of_an_iterable_that_is_no_number_bool_or_string_is_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(SourceError, match=r"document 1 of the iterable: 'n' is a \w+, and what is kept is"):
        prepare(iter([{"text": "a", "n": 1}, {"text": "b", "n": value}]), tmp_path, tokenizer="bytes", keep=["n"])


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["date", "list", "binary", "uint64", "nanoseconds", "twice", "null"])
def test_a_column_of_a_table_that_cannot_be_kept_is_named(tmp_path: Path, kind: str, form: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    values = {
        "date": arrow.array([1, 2**31 - 1], arrow.int32()).cast(arrow.date32()),  # beyond Python's dates
        "list": arrow.array([[1], [2]]),
        "binary": arrow.array([b"\xff", b"a"]),
        "uint64": arrow.array([1, 2**64 - 1], arrow.uint64()),
        "nanoseconds": arrow.array([1, 2], arrow.timestamp("ns")),
        "twice": arrow.array([1, 2]),
        "null": arrow.nulls(2),
    }[kind]
    twice = [("n", values)] * (kind == "twice")
    names, arrays = zip(("text", arrow.array(["a", "b"])), ("n", values), *twice, strict=True)
    table = arrow.table(list(arrays), names=list(names))
    path = tmp_path / f"x.{form}"
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        with arrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(SourceError, match=r"'n'|no whole"):
        prepare(path, tmp_path / "out", tokenizer="bytes", keep=["n"], executor=Here())
    assert not (tmp_path / "out/train").exists()


# -- stores ----------------------------------------------------------------------------------------------------------

DAMAGES = {
    "short": np.zeros(2, np.uint16),
    "other type": np.zeros(3),
    "codes too high": np.full(3, 2, np.uint16),
    "codes too low": np.full(3, -2, np.int32),
    "two axes": np.zeros((3, 1), np.uint16),
    "objects": np.array([{}, {}, {}], object),
}


def made(folder: Path) -> Path:
    """The same command each time."""
    rows = [{"text": f"row {n}", "lang": name} for n, name in enumerate(["en", "de", "en"])]
    prepare(iter(rows), folder, tokenizer="bytes", keep=["lang"])
    return folder / "train"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return made(tmp_path / "corpus")


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_column_is_named_when_it_is_asked_for(store: Path, what: str) -> None:
    np.save(store / "column-000-00000.npy", DAMAGES[what], allow_pickle=True)
    opened = open_store(store)
    assert opened.num_documents == 3
    with pytest.raises(StoreError, match=r"column-000-00000\.npy"):
        opened.column("lang")
    with pytest.raises(StoreError, match=r"column-000-00000\.npy is damaged"):
        made(store.parent)


def test_a_column_that_went_away_or_leads_elsewhere_is_named(store: Path) -> None:
    path = store / "column-000-00000.npy"
    path.unlink()
    with pytest.raises(StoreError, match=r"column-000-00000\.npy"):
        open_store(store).column("lang")
    os.mkfifo(path)
    with pytest.raises(StoreError, match="is no plain file"):
        open_store(store)
    path.unlink()
    fields = json.loads((store / "manifest.json").read_text())
    fields["shards"][0]["columns"][0]["file"] = "../../column.npy"
    (store / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(StoreError, match="could lead out of the folder"):
        open_store(store)
