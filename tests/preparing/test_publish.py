"""Stores on disk: origins, shards, and a manifest that says nothing of the run."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from prepare_helpers import origins
from windrow import prepare


def test_every_documents_origin_is_where_its_text_lies(inputs: Path, tmp_path: Path) -> None:
    store = prepare([inputs / "a.jsonl", inputs / "b.txt"], tmp_path)["train"]
    files = [(inputs / name).read_bytes() for name in ("a.jsonl", "b.txt")]
    rows = origins(tmp_path / "train")
    assert len(rows) == store.num_documents == 451
    for number, (source, line, start, stop) in enumerate(rows):
        first, last = store.document_span(number)
        raw = files[source][start:stop].decode()
        assert store.decode(first, last - 1) == (json.loads(raw)["text"] if source == 0 else raw)
        assert files[source].count(b"\n", 0, start) + 1 == line


def test_many_shards_hold_what_one_holds(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.preparing import publish

    one = prepare(inputs, tmp_path / "one", valid_fraction=0.1)
    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 20)
    many = prepare(inputs, tmp_path / "many", valid_fraction=0.1)
    for side in ("train", "valid"):
        assert many[side].manifest is not None
        assert np.array_equal(one[side].tokens(), many[side].tokens())
        numbers = np.arange(one[side].num_documents)
        assert np.array_equal(one[side].document_ends(numbers), many[side].document_ends(numbers))
        assert origins(tmp_path / "one" / side) == origins(tmp_path / "many" / side)
        assert many[side].manifest.ledger == one[side].manifest.ledger  # type: ignore[union-attr]
    assert len(many["train"].manifest.shards) > 2  # type: ignore[union-attr]


def test_the_longest_document_counts_all_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.preparing import publish

    (tmp_path / "a.txt").write_text("ab")
    (tmp_path / "b.txt").write_text("one line of a long document. " * 500_000)
    (tmp_path / "c.txt").write_text("abc")
    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 20)
    store = prepare([tmp_path / f"{name}.txt" for name in "abc"], tmp_path / "out", tokenizer="bytes")["train"]
    assert store.manifest is not None
    assert len(store.manifest.shards) > 2
    assert store.manifest.ledger["longest_document_tokens"] == 29 * 500_000 + 1
    assert store.manifest.ledger["shortest_document_tokens"] == 3


def test_a_manifest_says_nothing_of_the_run(inputs: Path, tmp_path: Path) -> None:
    store = prepare(inputs, tmp_path)["train"]
    text = (tmp_path / "train/manifest.json").read_text() + (tmp_path / "train/sources.jsonl").read_text()
    assert store.path is not None
    for word in (str(tmp_path), str(inputs), os.uname().nodename, "workers", "seconds", "2026"):
        assert word not in text
