"""Fields of rows kept beside the tokens: what a store gives back is what the rows held, in the documents' order."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prepare_helpers import Broken, snapshot
from windrow import TokenStore, open_store, prepare
from windrow.errors import PrepareError, SourceError
from windrow.preparing import publish
from windrow.preparing.crew import Here
from windrow.preparing.items import Item
from windrow.text.blocks import Block
from windrow.text.reading import Reading
from windrow.text.sources import Source

Row = dict[str, Any]
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=64)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
KINDS = [INTEGERS, FLOATS, INTEGERS | FLOATS, st.booleans(), STRINGS]


def is_missing(value: Any) -> bool:
    return value is None or value != value


def told(rows: list[Row], name: str) -> tuple[str, list[Any]]:
    """Type and values of a column, by what the rows say and nothing else."""
    values = [row.get(name) for row in rows]
    there = [value for value in values if not is_missing(value)]
    if any(isinstance(value, str) for value in there):
        return "category", ["missing" if value is None else value for value in values]
    if any(isinstance(value, float) for value in there):
        return "float64", [float("nan") if is_missing(value) else float(value) for value in values]
    if len(there) == len(values) and isinstance(there[0], bool):
        return "bool", values
    return "int64", [-1 if is_missing(value) else int(value) for value in values]


def require(store: TokenStore, rows: list[Row], names: list[str]) -> None:
    """Assert that the columns of ``store`` are those of ``rows``, to the bit."""
    assert [*store.columns] == names
    for name in names:
        kind, values = told(rows, name)
        found = store.column(name)
        assert store.columns[name] == kind
        assert found.dtype == (object if kind == "category" else np.dtype(kind))
        assert found.shape == (store.num_documents,) == (len(rows),)
        assert np.array(found.tolist(), found.dtype).tobytes() == np.array(values, found.dtype).tobytes() or (
            kind == "category" and found.tolist() == values
        )
        (column,) = [column for column in store.manifest.columns if column.name == name]  # type: ignore[union-attr]
        assert column.missing == sum(is_missing(row.get(name)) for row in rows)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows with three fields, each of one kind, absent or null in some rows and there in at least one."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=3, max_size=3))
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 12))):
        row: Row = {"text": f"text {number}"}
        for name, kind in zip("abc", kinds, strict=True):
            value = draw(kind if not number else kind | st.none() | st.just("absent"))
            if value != "absent":
                row[name] = value
        rows.append(row)
    return rows


def first_is_there(rows: list[Row]) -> bool:
    return all(any(not is_missing(row.get(name)) for row in rows) for name in "abc")


@settings(max_examples=60, deadline=None)
@given(rows=tables().filter(first_is_there), form=st.sampled_from(["iterable", "jsonl", "json", "parquet", "arrow"]))
def test_a_column_holds_what_the_rows_held_whatever_form_they_came_in(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], form: str
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    path = folder / f"x.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif form in ("parquet", "arrow"):
        rows = write_table(rows, path)
    inputs: Any = iter(rows) if form == "iterable" else path
    store = prepare(inputs, folder / "out", tokenizer="bytes", keep=["a", "b", "c"], executor=Here())["train"]
    require(store, rows, ["a", "b", "c"])


def write_table(rows: list[Row], path: Path) -> list[Row]:
    """A table of ``rows``, and what its rows hold: in a column of floats each number is one."""
    arrow = pytest.importorskip("pyarrow")
    columns = {name: [row.get(name) for row in rows] for name in ("text", "a", "b", "c")}
    for name, values in columns.items():
        if any(isinstance(value, float) for value in values):
            columns[name] = [None if value is None else float(value) for value in values]
    table = arrow.table(columns)
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=3)
    else:
        with arrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, 3)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(("value", "kind"), [(7, "int64"), (True, "int64"), (0.5, "float64"), ("x", "category")])
def test_a_nan_is_missing_beside_values_of_any_kind(tmp_path: Path, value: Any, kind: str) -> None:
    rows = [{"text": "a", "n": float("nan")}, {"text": "b", "n": value}, {"text": "c"}, {"text": "d", "n": None}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for number, inputs in enumerate([tmp_path / "x.jsonl", iter(rows)]):
        store = prepare(inputs, tmp_path / f"{number}", tokenizer="bytes", keep=["n"])["train"]
        assert store.columns == {"n": kind}
        assert store.manifest is not None
        assert store.manifest.columns[0].missing == 3
        nothing = {"int64": -1, "float64": float("nan"), "category": "missing"}[kind]
        assert repr(store.column("n").tolist()) == repr([nothing, type(nothing)(value), nothing, nothing])


def test_columns_that_an_earlier_run_left_unfinished_are_removed(tmp_path: Path) -> None:
    (tmp_path / "out/train").mkdir(parents=True)
    (tmp_path / "out/train/column-003-00000.npy").write_bytes(b"left over")
    prepare(iter([{"text": "one", "n": 1}]), tmp_path / "out", tokenizer="bytes", keep=["n"])
    assert [path.name for path in sorted((tmp_path / "out/train").glob("column-*"))] == ["column-000-00000.npy"]


# -- many items, many shards -----------------------------------------------------------------------------------------

ROWS = [
    {"text": f"row {n % 900} of some hay that was raked", "id": n, "side": ["left", None, "right"][n % 3], "x": n / 8}
    for n in range(1000)
]
KEEP = ["x", "side", "id"]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of lines, an array and a table; what is of megabytes is of kilobytes."""
    monkeypatch.setattr("windrow.preparing.tasks.ITEM", 1 << 13)
    monkeypatch.setattr("windrow.preparing.tasks._SMALL", {"": 1 << 12, "gz": 1 << 10, "zst": 1 << 10})
    monkeypatch.setattr("windrow.text.blocks._BLOCK", 1 << 13)
    monkeypatch.setattr(publish, "SHARD_TOKENS", 6000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:600]))
    (tmp_path / "in/b.json").write_text(json.dumps(ROWS[600:630]))
    (tmp_path / "in/c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[630:]))
    return tmp_path / "in"


def test_columns_are_the_same_bytes_for_any_number_of_workers_and_after_a_stop(inputs: Path, tmp_path: Path) -> None:
    def run(dest: Path, **options: Any) -> dict[str, str]:
        prepare(sorted(inputs.iterdir()), dest, tokenizer="bytes", keep=KEEP, valid_fraction=0.2, **options)
        return snapshot(dest)

    here, reports = run(tmp_path / "here", executor=Here()), list[Any]()
    assert sum(name.startswith("train/column-001-") for name in here) > 2
    assert run(tmp_path / "two", workers=2) == here
    with pytest.raises(PrepareError, match="broke"):
        run(tmp_path / "stopped", executor=Broken())
    assert run(tmp_path / "stopped", executor=Here(), on_report=reports.append) == here
    assert reports[-1].reused_nbytes > 0
    assert run(tmp_path / "stopped") == here  # verified, not done again


@pytest.mark.parametrize("dedupe", [False, True])
@pytest.mark.parametrize("split", ["documents", "tail"])
def test_a_document_keeps_its_row_through_duplicates_and_splits(
    inputs: Path, tmp_path: Path, dedupe: bool, split: Any
) -> None:
    options: dict[str, Any] = {"dedupe": dedupe, "valid_fraction": 0.3, "split": split, "keep": KEEP}
    stores = prepare(sorted(inputs.iterdir()), tmp_path / "out", tokenizer="bytes", executor=Here(), **options)
    found = [store.column("id").tolist() for store in stores.values()]
    cut = found[0][-1:] if split == "tail" and found[0][-1] == found[1][0] else []
    assert sorted(found[0] + found[1]) == sorted([*range(900 if dedupe else 1000), *cut])
    for store, ids in zip(stores.values(), found, strict=True):
        require(store, [ROWS[n] for n in ids], KEEP)
        whole = [d for d, n in enumerate(ids) if [n] != cut]
        assert [store.decode(*store.document_span(d)).split("<|")[0] for d in whole] == [
            ROWS[ids[d]]["text"] for d in whole
        ]
        assert {store.sources[s] for s in store.document_sources.tolist()} <= {"a.jsonl", "b.json", "c.jsonl"}
        assert store.document_lengths.tolist() == [len(store.document(d)) for d in range(len(ids))]


def test_columns_of_a_split_are_those_of_its_documents(inputs: Path, tmp_path: Path) -> None:
    store = prepare(sorted(inputs.iterdir()), tmp_path / "out", tokenizer="bytes", keep=KEEP, executor=Here())["train"]
    for part in store.split(0.37):
        first = int(part.column("id")[0])
        assert part.column("id").tolist() == list(range(first, first + part.num_documents))
        assert part.column("side").tolist() == [ROWS[first + d]["side"] or "missing" for d in range(part.num_documents)]
        assert len(part.document_sources) == len(part.document_lengths) == part.num_documents


def test_each_part_of_a_row_keeps_its_values_and_a_row_that_is_left_out_none(tmp_path: Path) -> None:
    rows = [{"text": "one<|endoftext|>two", "n": 1}, {"text": None, "n": 2}, {"text": "three", "n": 3}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options: dict[str, Any] = {"literal_eos": "split", "on_error": "skip", "tokenizer": "bytes", "keep": ["n"]}
    store = prepare(tmp_path / "x.jsonl", tmp_path / "out", **options)["train"]
    assert store.column("n").tolist() == [1, 1, 3]


@pytest.mark.parametrize("form", ["iterable", "jsonl", "parquet"])
def test_rows_of_ids_and_of_parts_keep_their_fields_too(tmp_path: Path, form: str) -> None:
    rows = [{"ids": [n, n + 1], "mask": [0, 1], "n": n / 2} for n in range(20)]
    inputs: Any = iter(rows)
    if form == "jsonl":
        inputs = tmp_path / "x.jsonl"
        inputs.write_text("\n".join(map(json.dumps, rows)))
    elif form == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        inputs = tmp_path / "x.parquet"
        parquet.write_table(arrow.Table.from_pylist(rows), inputs)
    options: dict[str, Any] = {"ids_key": "ids", "mask_key": "mask", "keep": ["n"], "valid_fraction": 0.4}
    stores = prepare(inputs, tmp_path / "out", tokenizer="bytes", **options)
    for store in stores.values():
        assert store.has_counts
        assert store.column("n").tolist() == [store.document(d)[0] / 2 for d in range(store.num_documents)]


def test_numbers_of_numpy_are_numbers_and_other_rows_make_another_store(tmp_path: Path) -> None:
    def rows(last: float) -> Iterator[Row]:
        return iter([{"text": "one", "n": np.int64(2)}, {"text": "two", "n": np.float32(last)}])

    for _ in range(2):
        store = prepare(rows(0.5), tmp_path / "out", tokenizer="bytes", keep=["n"])["train"]
        assert store.column("n").tolist() == [2.0, 0.5]
    with pytest.raises(PrepareError, match="is not what it was made of"):
        prepare(rows(0.25), tmp_path / "out", tokenizer="bytes", keep=["n"])
    with pytest.raises(PrepareError, match=r"made with keep=\['n'\], and this command has None"):
        prepare(rows(0.5), tmp_path / "out", tokenizer="bytes")


def test_a_store_without_columns_is_of_version_1_and_recipes_know_nothing_of_them(tmp_path: Path) -> None:
    store = prepare(iter([{"text": "one", "n": 1}]), tmp_path / "plain", tokenizer="bytes")["train"]
    kept = prepare(iter([{"text": "one", "n": 1}]), tmp_path / "kept", tokenizer="bytes", keep=["n"])["train"]
    versions = [
        json.loads((tmp_path / name / "train/manifest.json").read_text())["version"] for name in ("plain", "kept")
    ]
    assert versions == [1, 2]
    assert kept.fingerprint == store.fingerprint
    assert "keep" not in Reading().recipe


# -- what cannot be kept ---------------------------------------------------------------------------------------------

WRONG = {
    "mixed": ([{"n": 1}, {"n": "x"}], "'n' is 'x' here and 1 in rows before, and a column has one type"),
    "bool and number": ([{"n": True}, {"n": 1}], "'n' is 1 here and True in rows before"),
    "beyond": ([{"n": 1}, {"n": 2**63}], "'n' is an integer beyond int64"),
    "far beyond": ([{"n": 1}, {"n": 10**200}], "'n' is an integer beyond int64"),
    "list": ([{"n": 1}, {"n": [1]}], "'n' is a list, and what is kept is"),
    "object": ([{"n": 1}, {"n": {}}], "'n' is a dict, and what is kept is"),
    "surrogate": ([{"n": "x"}, {"n": "\ud800"}], "'n' is half a surrogate pair"),
}


@pytest.mark.parametrize("form", ["jsonl", "iterable"])
@pytest.mark.parametrize("what", WRONG)
def test_a_value_that_cannot_be_kept_is_named_by_its_row_and_nothing_is_published(
    tmp_path: Path, what: str, form: str
) -> None:
    given, message = WRONG[what]
    rows = [{"text": f"row {n}", **row} for n, row in enumerate(given)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SourceError) as found:
        prepare(
            path if form == "jsonl" else iter(rows), tmp_path / "out", tokenizer="bytes", keep=["n"], on_error="skip"
        )
    where = "x.jsonl, line 2: " if form == "jsonl" else "document 1 of the iterable: "
    assert where + message in str(found.value)
    assert "take 'n' out of keep" in str(found.value)
    assert not (tmp_path / "out/train").exists()


def test_kinds_that_differ_between_files_are_an_error_and_finished_work_is_kept(inputs: Path, tmp_path: Path) -> None:
    (inputs / "d.jsonl").write_text(json.dumps({"text": "y" * 9000, "id": "seven", "x": 0, "side": "up"}))
    with pytest.raises(SourceError, match=r"d\.jsonl.*'id' is 'seven' here and \d+ in .*\.json"):
        prepare(sorted(inputs.iterdir()), tmp_path / "out", tokenizer="bytes", keep=KEEP, executor=Here())
    assert not (tmp_path / "out/train").exists()
    (inputs / "d.jsonl").unlink()
    reports: list[Any] = []
    prepare(
        sorted(inputs.iterdir()),
        tmp_path / "out",
        tokenizer="bytes",
        keep=KEEP,
        executor=Here(),
        on_report=reports.append,
    )
    assert reports[-1].reused_nbytes > 0


@pytest.mark.parametrize("num", [65_536, 65_537])
def test_a_category_has_65536_strings_at_most(tmp_path: Path, num: int) -> None:
    rows = ({"text": "a", "word": f"{n:x}"} for n in range(num))
    if num > 65_536:
        with pytest.raises(SourceError, match="'word' has more than the 65,536 different strings of a category"):
            prepare(rows, tmp_path, tokenizer="bytes", keep=["word"], executor=Here())
        assert not (tmp_path / "train").exists()
        return
    store = prepare(rows, tmp_path, tokenizer="bytes", keep=["word"], executor=Here())["train"]
    assert store.column("word").tolist() == [f"{n:x}" for n in range(num)]
    assert np.load(tmp_path / "train/column-000-00000.npy").dtype == np.uint16


def test_a_field_that_no_row_has_and_inputs_without_fields_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no row has a value under 'scroe'"):
        prepare(iter([{"text": "one", "score": 1}]), tmp_path / "out", tokenizer="bytes", keep=["scroe"])
    with pytest.raises(SourceError, match=r"document 0 of the iterable: keep=\['n'\] names fields of rows"):
        prepare(iter(["one"]), tmp_path / "out", tokenizer="bytes", keep=["n"])
    (tmp_path / "x.txt").write_text("one")
    with pytest.raises(SourceError, match=r"x\.txt is plain text, which has no fields to keep"):
        prepare(tmp_path / "x.txt", tmp_path / "out", tokenizer="bytes", keep=["n"])
    assert not (tmp_path / "out/train").exists()


@pytest.mark.parametrize("keep", ["score", ["n", "n"], ["text"], [""], 3, [1, ""]])
def test_names_to_keep_are_a_list_of_different_names(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(ValueError, match=r"keep is .* list of names of fields, each once, and no key of a document"):
        prepare(iter([{"text": "one", "n": 1}]), tmp_path, tokenizer="bytes", keep=keep)


def test_a_store_says_which_columns_it_has(tmp_path: Path) -> None:
    prepare(iter([{"text": "one", "n": 1}]), tmp_path, tokenizer="bytes", keep=["n"])
    store = open_store(tmp_path / "train")
    assert store.columns == {"n": "int64"}
    with pytest.raises(ValueError, match="has no column 'm'; it has 'n'"):
        store.column("m")
    memory = TokenStore.from_ids([1, 2, 3])
    assert (memory.columns, memory.sources, memory.document_lengths.tolist()) == ({}, [], [3])
    for ask in (lambda: memory.column("n"), lambda: memory.document_sources):
        with pytest.raises(ValueError, match="made from ids, without sources and columns"):
            ask()


def test_an_item_of_other_values_has_another_key_and_one_without_any_the_key_it_always_had() -> None:
    source = Source("iterable", None, "documents")
    items = [Item(0, (source,), Block(0, 3, 3), ["one"], kept=kept) for kept in ((), [(1,)], [(True,)], [("1",)])]
    assert len({item.key("recipe") for item in items}) == 4
    content = json.dumps(["recipe", [[0, 3, None], [source.identity]]], sort_keys=True).encode()
    assert items[0].key("recipe") == sha256(content + (3).to_bytes(8, "little") + b"one").hexdigest()[:32]
