"""Hostile rows: each is an error with its line and no traceback, or is left out and counted; what was done stays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import prepare
from windrow.errors import SourceError

GOOD = json.dumps({"i": [1, 2], "m": [0, 1], "p": [["a", 0], ["b", 1]]})
ROWS = [
    "[]",
    "{}",
    '{"i": [1, 2]}',
    '{"i": [1, 2], "m": [0]}',
    '{"i": [1, 2], "m": [0, 7]}',
    '{"i": [1, 2], "m": [2, -100]}',
    '{"i": [1, 257], "m": [0, 1]}',
    '{"i": [1, -1], "m": [0, 1]}',
    '{"i": [1, 18446744073709551616], "m": [0, 1]}',
    '{"i": [1, ' + "9" * 5000 + '], "m": [0, 1]}',
    '{"i": [1, NaN], "m": [0, 1]}',
    '{"i": [1, 2.0], "m": [0, 1]}',
    '{"i": [1, true], "m": [0, 1]}',
    '{"i": {"0": 1}, "m": [0, 1]}',
    '{"i": [[1, 2]], "m": [0, 1]}',
    '{"i": [[1], [1, 2]], "m": [0, 1]}',
    '{"i": ' + "[" * 100 + "1" + "]" * 100 + ', "m": [0]}',
    '{"i": ' + "[" * 50_000 + "]" * 50_000 + ', "m": [0]}',
    '{"i": "<|endoftext|>", "m": [0]}',
    '{"i": [1, 2], "m": "01"}',
    '{"i": [], "m": []}',
]
PARTS = ['{"p": []}', '{"p": [["a", 2]]}', '{"p": [["a"]]}', '{"p": {"a": 1}}', '{"p": [[["a"], 1]]}', '{"p": null}']


@pytest.mark.parametrize(
    ("keys", "row"),
    [({"ids_key": "i", "mask_key": "m"}, row) for row in ROWS] + [({"parts_key": "p"}, row) for row in PARTS],
)
def test_a_hostile_row_is_named_with_its_line_or_left_out_and_counted(
    tmp_path: Path, keys: dict[str, Any], row: str
) -> None:
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n{row}\n{GOOD}\n")
    made: Any = {"tokenizer": "bytes", "boundary": "none", **keys}
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2: "):
        prepare(tmp_path / "a.jsonl", tmp_path / "out", **made)
    store = prepare(tmp_path / "a.jsonl", tmp_path / "out", **made, on_error="skip")["train"]
    assert store.num_documents == 2
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1


@pytest.mark.parametrize("row", ["text", None, {"m": [1]}, {"i": object(), "m": [1]}, {"i": {1, 2}, "m": [1]}])
def test_an_iterable_of_something_else_is_named_by_its_number(tmp_path: Path, row: Any) -> None:
    with pytest.raises(SourceError, match="document 1 of the iterable"):
        prepare(iter([{"i": [1], "m": [1]}, row]), tmp_path, tokenizer="bytes", ids_key="i", mask_key="m")


def test_a_row_that_holds_itself_is_named(tmp_path: Path) -> None:
    row: dict[str, Any] = {"m": [1]}
    row["i"] = [row]
    with pytest.raises(SourceError, match="document 0 of the iterable"):
        prepare(iter([row]), tmp_path, tokenizer="bytes", ids_key="i", mask_key="m")


@pytest.mark.parametrize("values", [[[1, None]], [None], [["a"]], [[1.5]]])
def test_columns_of_other_types_and_nulls_are_named(tmp_path: Path, values: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"i": [[3, 4], *values] if values != [["a"]] and values != [[1.5]] else values})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet.*(row 2: its ids must be|is of type list)"):
        prepare(tmp_path / "a.parquet", tmp_path / "out", tokenizer="bytes", ids_key="i")


def test_counts_that_were_changed_after_are_found_by_the_same_command(tmp_path: Path) -> None:
    made: Any = {"tokenizer": "bytes", "ids_key": "i", "mask_key": "m"}
    prepare(iter([json.loads(GOOD)]), tmp_path, **made)
    (tmp_path / "train/counts-00000.bin").write_bytes(np.array([1, 1], np.uint8).tobytes())
    with pytest.raises(ValueError, match=r"counts-00000\.bin is damaged: its sha256 is"):
        prepare(iter([json.loads(GOOD)]), tmp_path, **made)
