"""Lines of JSON and plain text fall into documents; what cannot be one is named by file, line and byte."""

import gzip
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import EOS, EOT, TEXTS, as_jsonl, origins, reference, same_ids, zst
from windrow import prepare
from windrow.errors import SourceError
from windrow.text.parse import documents
from windrow.text.reading import Reading
from windrow.text.rows import Document

ROW = b'{"text": "one"}\n'


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
    b'{"text": "x': "not JSON: Unterminated string starting at column 10",
    b'{"text": "x"': "not JSON",
    b'{"text": null}': "'text' is null",
    b'{"text": 7}': "'text' is int",
    b'{"body": "x"}': r"no key 'text' \(it has 'body'\)",
    b'["x"]': "a JSON list, and each document is an object",
    b'{"text": "\xff"}': "not UTF-8: byte 0xff",
    b'{"text": "\\ud800"}': "surrogate",
    b'{"text": ' + b"[" * 100_000: "nested too deep|not JSON",
    b'{"text": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deep",
    b'{"text": ' + b"9" * 5000 + b"}": "'text' is int",
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


LINES = {
    b'{"text": "two", "meta": "caf\xe9"}': "not UTF-8: byte 0xe9",
    b'{"text": "two", "caf\xe9": 1}': "not UTF-8: byte 0xe9",
    b'{"text": "two", "n": ' + b"9" * 5000 + b"}": None,
    b'{"text": "two", "n": -' + b"9" * 5000 + b".5e9999}": None,
    b'{"text": "two", "n": "\\ud800"}': None,
}


@pytest.mark.parametrize("fast", [True, False], ids=["msgspec", "json"])
@pytest.mark.parametrize("line", LINES)
def test_what_is_a_document_does_not_depend_on_what_is_installed(
    tmp_path: Path, line: bytes, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fast:
        pytest.importorskip("msgspec")
    else:
        monkeypatch.setitem(sys.modules, "msgspec", None)
    key = f"text{fast}"  # decoders are kept by the key they look for
    (tmp_path / "x.jsonl").write_bytes((ROW + line + b"\n" + ROW).replace(b'"text"', f'"{key}"'.encode()))
    if LINES[line]:
        with pytest.raises(SourceError, match=rf"x\.jsonl, line 2: {LINES[line]}"):
            prepare(tmp_path / "x.jsonl", tmp_path / "out", text_key=key, workers=1)
    store = prepare(tmp_path / "x.jsonl", tmp_path / "out", text_key=key, on_error="skip", workers=1)["train"]
    same_ids(store, ["one", "one"] if LINES[line] else ["one", "two", "one"])


ARRAY = '[{"id": 1, "text": "one"}, {"text": "zw\u00f6lf"},\n{"text": "\\u0064rei",\n "n": [{}]}\n ]\n'


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "marked"])
def test_json_is_lines_or_an_array_and_a_document_lies_where_its_object_does(
    tmp_path: Path, suffix: str, mark: str
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zst}[suffix]
    (tmp_path / f"x.json{suffix}").write_bytes(pack((mark + ARRAY).encode()))
    same_ids(prepare(tmp_path / f"x.json{suffix}", tmp_path / "array")["train"], ["one", "zw\u00f6lf", "drei"])
    data = (mark + ARRAY).encode()
    places = [
        (line, json.loads(data[start:stop])["text"]) for _, line, start, stop in origins(tmp_path / "array/train")
    ]
    assert places == [(1, "one"), (1, "zw\u00f6lf"), (2, "drei")]
    (tmp_path / f"x.json{suffix}").write_bytes(pack(mark.encode() + ROW + ROW))
    same_ids(prepare(tmp_path / f"x.json{suffix}", tmp_path / "lines")["train"], ["one", "one"])


def test_an_array_of_any_length_is_read_whole_and_its_bad_elements_are_named_or_skipped(tmp_path: Path) -> None:
    rows: list[object] = [{"text": f"document {number} " + "x" * 900} for number in range(11_000)]
    bad = [7, {"body": "x"}, {"text": None}, ["text"]]
    (tmp_path / "x.json").write_text(json.dumps(rows + bad, indent=0))
    with pytest.raises(SourceError, match=r"x\.json, line 33002: a JSON int, and each document is an object"):
        prepare(tmp_path / "x.json", tmp_path / "out")
    for part in ("x.json", "empty.json"):
        (tmp_path / "empty.json").write_bytes(b" [ ]")
        store = prepare([tmp_path / part, tmp_path / "x.json"], tmp_path / f"out-{part}", on_error="skip")["train"]
        assert store.num_documents == 11_000
        assert store.manifest is not None
        assert store.manifest.ledger["skipped_documents"] == 4


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("size", [1, 1 << 20, 9 << 20])
def test_a_byte_order_mark_at_the_head_of_a_file_is_no_text_and_is_counted(
    tmp_path: Path, suffix: str, size: int
) -> None:
    text = "word " * (size // 5) + "end"
    pack = {"": bytes, ".gz": gzip.compress}[suffix]
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(b"\xef\xbb\xbf" + text.encode()))
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + ROW)
    (tmp_path / "c.txt").write_text("\ufeff==\n\ufeffx")
    reports: list[Any] = []
    store = prepare(tmp_path, tmp_path / "out", separator="==", on_report=reports.append)["train"]
    same_ids(store, [text, "one", "", "\ufeffx"])
    assert [place[2] for place in origins(tmp_path / "out/train")] == [3, 3, 3, 6]
    assert store.manifest is not None
    assert store.manifest.ledger["byte_order_marks"] == reports[-1].num_marks == 3
    assert store.manifest.ledger["input_text_nbytes"] == len(text) + 3 + 4


def test_a_store_of_texts_without_a_mark_says_nothing_of_marks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\ufeff")
    manifest = prepare(tmp_path, tmp_path / "out")["train"].manifest
    assert manifest is not None
    assert sorted(manifest.ledger) == [
        "duplicate_documents",
        "eos_tokens",
        "input_text_nbytes",
        "longest_document_tokens",
        "shortest_document_tokens",
        "skipped_documents",
        "text_tokens",
    ]


def test_lines_of_json_are_looked_at_one_by_one_and_never_decoded_as_a_whole() -> None:
    data = b"\n".join([json.dumps({"text": "hay \U0001f469" * 50}, ensure_ascii=False).encode()] * 2000)
    tracemalloc.start()
    num_documents = sum(isinstance(found, Document) for found in documents(data, "jsonl", 0, Reading()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_documents == 2000
    assert peak < 2 * len(data)  # the lines themselves; as one text it would be four bytes a character
