"""Where each document came from: source, line and bytes, and back from a line to its document."""

import json
from pathlib import Path

import numpy as np
import pytest

import windrow as wr
from look_helpers import harmful_corpus, store_of
from windrow.errors import WindrowError
from windrow.store import manifest
from windrow.store.origins import Origins


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return harmful_corpus(tmp_path)


def test_every_document_names_the_source_line_and_bytes_that_it_was_read_from(corpus: Path) -> None:
    store = wr.open_store(corpus)
    origins = Origins(store).of(list(range(store.num_documents)))
    assert len(origins) == store.num_documents == 40
    for document, origin in origins.items():
        data = (corpus.parents[1] / Path(origin.source).name).read_bytes()[origin.first_byte : origin.stop_byte]
        text = json.loads(data)["text"] if origin.source.endswith("jsonl") else data.decode()
        assert bytes(store.document(document)[:-1].astype(np.uint8)).decode() == text


def test_a_source_line_finds_its_document_and_a_blank_or_unknown_one_says_so(corpus: Path) -> None:
    origins = Origins(wr.open_store(corpus))
    assert [origins.documents_at("web.jsonl", line) for line in (1, 19, 21)] == [[1], [19], [20]]
    assert origins.documents_at("book.txt", 3) == [0]
    with pytest.raises(WindrowError, match="line 20 of"):
        origins.documents_at("web.jsonl", 20)
    with pytest.raises(WindrowError, match=r"no source of this store is named other\.jsonl"):
        origins.documents_at("other.jsonl", 1)


def test_a_split_names_the_same_sources_as_the_whole(corpus: Path) -> None:
    store = wr.open_store(corpus)
    _, valid = store.split(0.5)
    for number in range(valid.num_documents):
        start, _ = valid.document_span(number)
        whole = int(store.document_at(np.array([store.num_tokens - valid.num_tokens + start]))[0])
        assert Origins(valid).of([number])[number] == Origins(store).of([whole])[whole]
    line = Origins(valid).of([3])[3].line
    assert Origins(valid).documents_at("web.jsonl", line) == [3]
    with pytest.raises(WindrowError, match="other side of the split"):
        Origins(valid).documents_at("web.jsonl", 1)


def test_a_store_in_memory_has_no_origins() -> None:
    assert Origins(store_of([5])).of([0]) == {}


def test_of_many_sources_those_that_are_named_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number:02d}.txt").write_text(f"text {number}")
    wr.prepare(tmp_path, tmp_path / "out", tokenizer="bytes")
    store, parsed, real = wr.open_store(tmp_path / "out/train"), list[bytes](), manifest.read_json
    monkeypatch.setattr(manifest, "read_json", lambda text, shape: parsed.append(text) or real(text, shape))
    found = Origins(store).of([7, 9])
    assert [Path(found[number].source).name for number in (7, 9)] == ["07.txt", "09.txt"]
    assert len(parsed) == 2
    assert len(store.sources) == 50
