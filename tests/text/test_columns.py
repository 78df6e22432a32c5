"""Parquet and Arrow: a row is a document, whatever holds it; what is wrong with a table is named."""

import gzip
import json
from pathlib import Path

import pytest

from prepare_helpers import TEXTS, origins, same_ids, zst
from windrow import prepare
from windrow.errors import SourceError


@pytest.mark.parametrize(
    ("form", "suffix"),
    [(form, "") for form in ("parquet", "arrow", "stream", "dictionary")]
    + [("parquet", ".gz"), ("parquet", ".zst"), ("stream", ".gz"), ("arrow", ".zst")],
)
def test_a_row_of_a_table_is_a_document(tmp_path: Path, form: str, suffix: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [*TEXTS, *(f"document {n}" for n in range(5000))]
    table = arrow.table({"id": list(range(len(texts))), "text": texts})
    path = tmp_path / ("x.parquet" if form == "parquet" else "x.arrow")
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=700)
    elif form == "dictionary":
        table = table.set_column(1, "text", table["text"].dictionary_encode())
        with arrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, 900)
    else:
        new = arrow.ipc.new_file if form == "arrow" else arrow.ipc.new_stream  # datasets caches are streams
        with new(path, table.schema) as writer:
            writer.write_table(table, 900)
    if suffix:
        path.with_name(path.name + suffix).write_bytes({".gz": gzip.compress, ".zst": zst}[suffix](path.read_bytes()))
        path.unlink()
    store = prepare(tmp_path, tmp_path / "out")["train"]
    same_ids(store, texts)
    assert [row[1] for row in origins(tmp_path / "out/train")] == list(range(1, len(texts) + 1))


def test_bytes_of_text_are_those_of_the_texts_whatever_they_lie_in(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = ["plain", "na\u00efve", 'a "quoted" line\n', "one<|endoftext|>two"]
    parquet.write_table(arrow.table({"text": texts}), tmp_path / "a.parquet")
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "c.txt").write_text("one<|endoftext|>two")
    store = prepare(tmp_path, tmp_path / "out", literal_eos="split")["train"]
    expected = 2 * (sum(len(text.encode()) for text in texts[:3]) + 6) + 6
    assert store.manifest.ledger["input_text_nbytes"] == expected


def test_null_rows_and_missing_columns_of_tables_are_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["one", None, "two"], "n": [1, 2, 3]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet, row 2: 'text' is null"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(SourceError, match=r"no column 'body'; it has 'text', 'n'"):
        prepare(tmp_path, tmp_path / "out", text_key="body")
    with pytest.raises(SourceError, match=r"column 'n' of .* is of type int64"):
        prepare(tmp_path, tmp_path / "out", text_key="n")
    same_ids(prepare(tmp_path, tmp_path / "out", on_error="skip")["train"], ["one", "two"])
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-9])
    with pytest.raises(SourceError, match="no whole parquet file"):
        prepare(tmp_path, tmp_path / "out2")


def test_a_row_of_a_table_that_is_not_utf8_is_named_or_skipped(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    ends = arrow.array([0, 3, 5, 8], arrow.int32()).buffers()[1]
    texts = arrow.Array.from_buffers(arrow.string(), 3, [None, ends, arrow.py_buffer(b"onex\xfftwo")])
    parquet.write_table(arrow.table({"text": texts}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet, row 2: 'text' is not UTF-8: byte 0xff at offset 1"):
        prepare(tmp_path, tmp_path / "out")
    same_ids(prepare(tmp_path, tmp_path / "out", on_error="skip")["train"], ["one", "two"])
