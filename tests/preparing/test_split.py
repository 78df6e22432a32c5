"""Which document goes to which side: by its content, or by one cut; duplicates go."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare_helpers import EOT, origins, real_texts, same_ids
from windrow import open_store, prepare
from windrow.errors import NotEnoughTokensError

MB = 1_000_000


def sides(dest: Path, documents: list[str], **options: Any) -> dict[str, str]:
    """The side that each document went to, by its text."""
    stores = prepare(iter(documents), dest, **options)
    found = {}
    for side, store in stores.items():
        for number in range(store.num_documents):
            start, stop = store.document_span(number)
            found[store.decode(start, stop - 1)] = side
    return found


def test_a_document_keeps_its_side_when_others_come_or_the_order_changes(tmp_path: Path) -> None:
    documents = [f"document number {n}" for n in range(400)]
    before = sides(tmp_path / "a", documents, valid_fraction=0.2)
    after = sides(tmp_path / "b", [f"new {n}" for n in range(50)] + documents[::-1] + documents, valid_fraction=0.2)
    assert 40 < list(before.values()).count("valid") < 120
    assert {text: after[text] for text in documents} == before


def test_equal_long_documents_fall_on_one_side_whatever_file_and_place_they_are_in(tmp_path: Path) -> None:
    """The digest of a document that came in pieces is that of one that came whole."""
    text = "".join(real_texts(12 * MB))[: 9 * MB]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes(text.encode())
    others = [f"short {number}" for number in range(20)]
    (folder / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in [*others, text]))
    import gzip

    (folder / "c.txt.gz").write_bytes(gzip.compress(text.encode(), 1))
    store = prepare(folder, tmp_path / "out", dedupe=True)["train"]
    assert store.num_documents == 1 + len(others)
    assert store.manifest is not None
    assert store.manifest.ledger["duplicate_documents"] == 2
    again = prepare(iter([text, *others, text]), tmp_path / "again", dedupe=True)["train"]
    assert np.array_equal(again.tokens(), store.tokens())
    stores = prepare(folder, tmp_path / "split", valid_fraction=0.5)  # all of one document's copies on one side
    assert sorted((s.document_lengths > 1000).sum() for s in stores.values()) == [0, 3]
    assert sum(s.num_documents for s in stores.values()) == 3 + len(others)


def test_dedupe_keeps_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    documents = ["one", "two", "one", "", "three", "", "two ", "two"]
    store = prepare(iter(documents), tmp_path, dedupe=True)["train"]
    same_ids(store, ["one", "two", "", "three", "two "])
    assert [row[1] for row in origins(tmp_path / "train")] == [1, 2, 4, 5, 7]
    assert store.manifest is not None
    assert store.manifest.ledger["duplicate_documents"] == 3


def test_a_side_that_comes_out_empty_is_an_error_that_names_the_tail_split(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match=r'split "?.valid.* got none of 1 document at .* split="tail"'):
        prepare(iter(["one text"]), tmp_path, valid_fraction=0.1)
    assert not (tmp_path / "train").exists()
    stores = prepare(iter(["one text of some words"]), tmp_path, valid_fraction=0.3, split="tail")
    assert stores["train"].decode() + stores["valid"].decode() == "one text of some words" + EOT


@pytest.fixture(scope="module")
def whole_folder(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("whole")
    prepare(inputs, dest)
    return dest / "train"


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.77])
def test_a_tail_split_is_one_cut_through_all_tokens_wherever_it_falls(
    inputs: Path, whole_folder: Path, tmp_path: Path, fraction: float
) -> None:
    whole = open_store(whole_folder)
    stores = prepare(inputs, tmp_path / "cut", valid_fraction=fraction, split="tail")
    train, valid = stores["train"], stores["valid"]
    assert train.num_tokens == int(np.floor(whole.num_tokens * (1 - fraction)))
    assert np.array_equal(np.concatenate([train.tokens(), valid.tokens()]), whole.tokens())
    ends = whole.document_ends(np.arange(whole.num_documents))
    expected = sorted({*ends.tolist(), train.num_tokens})
    found = train.document_ends(np.arange(train.num_documents)).tolist()
    found += (valid.document_ends(np.arange(valid.num_documents)) + train.num_tokens).tolist()
    assert found == expected
    joined = origins(tmp_path / "cut/train")[: train.num_documents] + origins(tmp_path / "cut/valid")
    assert [row for n, row in enumerate(joined) if not n or row != joined[n - 1]] == origins(whole_folder)
    assert train.manifest is not None
    assert train.manifest.ledger["eos_tokens"] == int((ends <= train.num_tokens).sum())


def test_a_short_text_can_be_cut_anywhere(tmp_path: Path) -> None:
    for number, fraction in enumerate((0.05, 0.34, 0.5, 0.66, 0.8)):
        stores = prepare(
            iter(["ab", "", "cde"]), tmp_path / str(number), tokenizer="bytes", valid_fraction=fraction, split="tail"
        )
        both = np.concatenate([stores["train"].tokens(), stores["valid"].tokens()])
        assert both.tolist() == [97, 98, 256, 256, 99, 100, 101, 256]
