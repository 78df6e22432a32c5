"""What a worker does with an item: bad bytes in long documents, and ids that are compared with the reference."""

import json
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import read_by, same_ids
from windrow import open_store, prepare
from windrow.errors import SourceError, TokenizerError
from windrow.preparing.encode import do
from windrow.preparing.items import job_for
from windrow.preparing.tasks import Tasks
from windrow.text.reading import Reading
from windrow.text.sources import find_sources
from windrow.tokens.protocol import EOT
from windrow.tokens.tokenizer import load_tokenizer


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


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_the_bytes_of_text_are_those_of_the_documents_whatever_stands_around_them(form: str, tmp_path: Path) -> None:
    texts = ["plain ", "n\u00e4\u00efve \u65e5\u672c", "", "\U0001f469 <|x|>"]
    lines = "\n".join(f'{{"text": {json.dumps(text)}}}' for text in texts)  # \u escapes: not the bytes of the text
    (tmp_path / "x").write_text("\ufeff" + (EOT.join(texts) if form == "text" else lines), encoding="utf-8")
    store = prepare(tmp_path / "x", tmp_path / "out", form=form, literal_eos="split")["train"]
    same_ids(store, texts)
    assert store.manifest is not None
    assert store.manifest.ledger["input_text_nbytes"] == sum(len(text.encode()) for text in texts)


def test_a_file_of_some_megabytes_is_read_once_for_its_text_and_its_digest(tmp_path: Path) -> None:
    nbytes = (tmp_path / "x.txt").write_bytes(b"some words " * 600_000)
    (tmp_path / "work").mkdir()
    sources, _ = find_sources(str(tmp_path / "x.txt"), Reading())
    job = job_for(tmp_path / "work", load_tokenizer("bytes"), Reading(), hashed=False)
    (item,) = Tasks(sources, job)
    (done,), nbytes_read = read_by(lambda: do(job, item))
    assert done.about["text_nbytes"] == nbytes
    assert nbytes_read < 1.1 * nbytes
