"""What info says beside the manifest: tokens by source and by what columns hold, added up by plain Python."""

import io
import json
import tracemalloc
from pathlib import Path

import pytest
from rich.console import Console

from windrow import prepare
from windrow.look.info import print_summary, store_summary
from windrow.store.store import TokenStore

ROWS = [
    {"text": f"{n} " * (n % 7 + 1), "lang": f"l{n % 13:02}", "score": n / 4, "n": n if n % 5 else None, "ok": n % 3 > 0}
    for n in range(60)
]


def made(folder: Path) -> TokenStore:
    for name, rows in (("a", ROWS[:20]), ("b", ROWS[20:])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return prepare(folder, folder / "out", tokenizer="bytes", keep=["lang", "score", "n", "ok"])["train"]


def test_tokens_by_source_and_by_value_add_up(tmp_path: Path) -> None:
    summary = store_summary(made(tmp_path))
    expected: dict[str, dict[str, int]] = {"source": {}, "lang": {}, "ok": {}}
    for n, row in enumerate(ROWS):
        for what, value in (("source", "a.jsonl" if n < 20 else "b.jsonl"), ("lang", row["lang"]), ("ok", row["ok"])):
            expected[what][str(value)] = expected[what].get(str(value), 0) + len(str(row["text"])) + 1
    assert summary["tokens_by_source"] == expected["source"]
    columns = summary["columns"]
    assert columns["lang"] == {"type": "category", "missing": 0, "tokens": expected["lang"]}
    assert columns["ok"]["tokens"] == expected["ok"]
    assert list(columns["lang"]["tokens"].values()) == sorted(expected["lang"].values(), reverse=True)
    assert columns["score"] == {"type": "float64", "missing": 0, "least": 0.0, "mean": 59 / 8, "highest": 59 / 4}
    there = [n for n in range(60) if n % 5]
    expected_n = {"type": "int64", "missing": 12, "least": 1, "mean": sum(there) / 48, "highest": 59}
    assert columns["n"] == expected_n
    json.dumps(summary)


def test_a_summary_takes_no_more_memory_for_more_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.look.info._AT_A_TIME", 1 << 10)
    peaks, sizes = [], (1 << 12, 1 << 14)
    for num in sizes:
        store = prepare((f"{n}" for n in range(num)), tmp_path / str(num), tokenizer="bytes", workers=1)["train"]
        tracemalloc.start()
        assert store_summary(store)["tokens_by_source"] == {"iterable": store.num_tokens}
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * (sizes[1] - sizes[0])  # a byte each says that boundaries rise


def test_what_is_printed_is_short_and_harmless(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, markup=False)
    summary = store_summary(made(tmp_path))
    summary["columns"]["\x1b[31m"] = summary["columns"].pop("ok")
    print_summary(console, "train", summary)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "train: source" in shown
    assert "3 more" in shown
    assert "train: n, int64, 12 missing: from 1 to 59" in shown
    assert "\x1b" not in shown


def test_a_store_of_one_source_and_no_columns_prints_nothing_more(tmp_path: Path) -> None:
    store = prepare(iter(["one", "two"]), tmp_path, tokenizer="bytes")["train"]
    console = Console(file=io.StringIO(), width=100, markup=False)
    summary = store_summary(store)
    print_summary(console, "train", summary)
    assert summary == {"tokens_by_source": {"iterable": 8}, "columns": {}}
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
