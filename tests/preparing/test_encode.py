"""What a worker does with an item: bad bytes in long documents, and ids that are compared with the reference."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import same_ids
from windrow import open_store, prepare
from windrow.errors import SourceError, TokenizerError
from windrow.preparing.crew import Here


def test_a_byte_that_is_not_utf8_far_into_a_long_document_is_named_by_its_offset(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"some words \n" * 2_000_000 + b"\xfe more")
    with pytest.raises(SourceError, match=r"line 2000001: not UTF-8: byte 0xfe at offset 24000000"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    (tmp_path / "y.txt").write_text("good")
    store = prepare(tmp_path, tmp_path / "out", on_error="skip")["train"]
    same_ids(store, ["good"])  # all of a bad document goes, not only its bad piece
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1


def test_a_long_document_that_is_bad_in_many_places_counts_once_and_is_no_duplicate(tmp_path: Path) -> None:
    for name, size in (("a", 9_000_000), ("b", 9_000_000), ("c", 7_000_000)):
        data = bytearray(b"some words \n" * (size // 12))
        data[100] = data[-100] = 0xFE
        (tmp_path / f"{name}.txt").write_bytes(data)
    (tmp_path / "d.txt").write_text("good")
    reports: list[Any] = []
    prepare(tmp_path, tmp_path / "out", on_error="skip", dedupe=True, on_report=reports.append)
    store = open_store(tmp_path / "out/train")
    same_ids(store, ["good"])
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == reports[-1].num_skipped == 3
    assert store.manifest.ledger["duplicate_documents"] == reports[-1].num_duplicates == 0


def test_a_wrong_id_is_caught_by_the_comparison_with_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windrow.tokens import encoder

    real = encoder.Encoder._encode
    monkeypatch.setattr(encoder.Encoder, "_encode", lambda self, texts: [row ^ 1 for row in real(self, texts)])
    with pytest.raises(TokenizerError, match=r"at the start of an item the ids .* differ from the reference"):
        prepare(iter(["some text"]), tmp_path)


def test_a_wrong_cut_is_caught_at_the_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    from windrow.tokens import cuts

    monkeypatch.setitem(cuts._RULES, True, re.compile(r"(?<=\n)(?=a)"))  # ids do change there
    (tmp_path / "x.txt").write_bytes(b"a line of text\n\n" * 300_000)
    with pytest.raises(TokenizerError, match="at a seam the ids"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    monkeypatch.undo()
    prepare(tmp_path / "x.txt", tmp_path / "out")


def test_documents_of_a_token_take_little_more_memory_than_their_table(tmp_path: Path) -> None:
    num_documents = 100_000
    (tmp_path / "x.jsonl").write_text('{"text":"a"}\n' * num_documents)
    prepare(iter(["warm"]), tmp_path / "warm", tokenizer="bytes", executor=Here())
    tracemalloc.start()
    prepare(tmp_path / "x.jsonl", tmp_path / "out", tokenizer="bytes", executor=Here())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250 * num_documents  # 537 a document where all of an item were held as Python's own
