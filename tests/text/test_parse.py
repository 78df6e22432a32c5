"""Lines of JSON and plain text fall into documents; what cannot be one is named by file, line and byte."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import EOS, EOT, TEXTS, as_jsonl, reference, same_ids, zst
from windrow import prepare
from windrow.errors import SourceError


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_line_of_jsonl_is_a_document(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zst}[suffix]
    (tmp_path / f"x.jsonl{suffix}").write_bytes(pack(as_jsonl(TEXTS, "content") + b"\n  \n"))
    same_ids(prepare(tmp_path, tmp_path / "out", text_key="content")["train"], TEXTS)


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_literal_end_of_text_is_plain_text_unless_asked_otherwise(tmp_path: Path, form: str) -> None:
    text = f"one{EOT}two{EOT}"
    path = tmp_path / f"x.{form}"
    path.write_bytes(text.encode() if form == "txt" else as_jsonl([text]))
    same_ids(prepare(path, tmp_path / "text")["train"], [text])
    same_ids(prepare(path, tmp_path / "split", literal_eos="split")["train"], ["one", "two"])
    special = prepare(path, tmp_path / "special", literal_eos="special")["train"]
    assert special.num_documents == 1
    assert special.tokens().tolist() == [*reference().encode(text, allowed_special={EOT}), EOS]
    with pytest.raises(SourceError, match=r"line 1: literal <\|endoftext\|>"):
        prepare(path, tmp_path / "error", literal_eos="error")
    assert not (tmp_path / "error/train").exists()


def test_invalid_utf8_is_an_error_with_file_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"good\n\xff")
    with pytest.raises(SourceError, match=r"x\.txt, line 2: not UTF-8: byte 0xff at offset 5"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    assert not (tmp_path / "out/train").exists()


BAD_LINES = {
    b'{"text": "x"': "not JSON",
    b'{"text": null}': "'text' is null",
    b'{"text": 7}': "'text' is int",
    b'{"body": "x"}': r"no key 'text' \(it has 'body'\)",
    b'["x"]': "a JSON list, and each line must be an object",
    b'{"text": "\xff"}': "not UTF-8: byte 0xff",
    b'{"text": "\\ud800"}': "surrogate",
    b'{"text": ' + b"[" * 100_000: "nested too deep|not JSON",
    b'{"text": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deep",
    b'{"text": ' + b"9" * 5000 + b"}": "not JSON that can be read: .* 5000 digits",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line_or_skipped_and_counted(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "two"}\n')
    with pytest.raises(SourceError, match=rf"x\.jsonl, line 2: .*({BAD_LINES[line]})"):
        prepare(tmp_path / "x.jsonl", tmp_path / "out")
    reports: list[Any] = []
    store = prepare(tmp_path / "x.jsonl", tmp_path / "out", on_error="skip", on_report=reports.append)["train"]
    same_ids(store, ["one", "two"])
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1
    assert reports[-1].is_finished
    assert reports[-1].num_skipped == 1
    assert reports[-1].skipped[0].startswith("x.jsonl, line 2: ")


def test_json_that_the_fast_decoder_refuses_but_python_takes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "one", "score": NaN}\n{"text": "two", "text": "three"}\n')
    same_ids(prepare(tmp_path / "x.jsonl", tmp_path / "out")["train"], ["one", "three"])
