"""Rows of parts and of ids, and boundaries, from input to store: against plain loops, for any form and any crew."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prepare_helpers import Broken, origins, snapshot
from windrow import TokenStore, Windows, load_tokenizer, prepare
from windrow.errors import NotEnoughTokensError, PrepareError, SourceError, TokenizerError
from windrow.preparing.items import job_for
from windrow.text.reading import Reading

EOS = 256


class WithBos:
    """The bytes of UTF-8 as ids, with a bos that no text makes."""

    vocab_size, eos_id, bos_id, fingerprint, name = 258, EOS, 257, "bytes with bos", "bytes with bos"

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Any) -> str:
        return bytes(token for token in ids if token < 256).decode()


def found(store: TokenStore) -> list[tuple[list[int], list[int]]]:
    """Ids and counts of each document."""
    spans = [store.document_span(number) for number in range(store.num_documents)]
    counts = store.counts_at(np.array([0]), np.array([store.num_tokens])).astype(int).tolist()
    return [(store.tokens(start, stop).tolist(), counts[start:stop]) for start, stop in spans]


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def dialogues(num: int) -> list[list[list[Any]]]:
    return [
        [[f"Question {n}: how much is {n} and {n}?\n", 0], [f"It is {2 * n}.", 1], [" More?", 0], ["No." * (n % 3), 1]]
        for n in range(num)
    ]


def test_a_fine_tuning_set_of_200_dialogues_counts_only_answers(tmp_path: Path) -> None:
    parts, encode = dialogues(200), load_tokenizer("gpt2").encode
    store = prepare(lines(tmp_path / "a.jsonl", [{"parts": p} for p in parts]), tmp_path / "out", parts_key="parts")
    expected = []
    for dialogue in parts:
        pairs = [(token, counts) for text, counts in dialogue for token in encode(text)]
        ids, counts = (list(column) for column in zip(*pairs, strict=True))
        expected.append(([*ids, 50256], [*counts, counts[-1]]))
    assert found(store["train"]) == expected
    _, mask = Windows(store["train"], 64, policy="pack").rows(np.arange(5))
    assert mask is not None
    assert 0 < mask.sum() < mask.size // 2


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pytest.importorskip("pyarrow.parquet").write_table(table(rows), path, row_group_size=3)
    return path


def as_arrow(path: Path, rows: list[dict[str, Any]]) -> Path:
    ipc, made = pytest.importorskip("pyarrow.ipc"), table(rows)
    with ipc.new_file(str(path), made.schema) as writer:
        writer.write_table(made, max_chunksize=3)
    return path


def table(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("pyarrow").Table.from_pylist([{"id": n, **row} for n, row in enumerate(rows)])


TOKENS = [[7, 8, EOS], [9], [10, EOS, 11, 12], [], [EOS], [13, 14]]
MASKS = [[0, 1, 0], [1], [0, 1, 1, 0], [], [1], [0, 1]]
ROWS = [{"input_ids": ids, "mask": mask} for ids, mask in zip(TOKENS, MASKS, strict=True)]
KEYS: Any = {"tokenizer": "bytes", "ids_key": "input_ids", "mask_key": "mask"}


@pytest.mark.parametrize("form", ["iterable", "arrays", "jsonl", "json", "parquet", "arrow"])
def test_rows_of_ids_are_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    arrays = [{key: np.array(value, np.int64) for key, value in row.items()} for row in ROWS]
    inputs: Any = {
        "iterable": lambda: iter(ROWS),
        "arrays": lambda: iter(arrays),
        "jsonl": lambda: lines(tmp_path / "a.jsonl", ROWS),
        "json": lambda: lines(tmp_path / "a.json", [ROWS]),
        "parquet": lambda: as_parquet(tmp_path / "a.parquet", ROWS),
        "arrow": lambda: as_arrow(tmp_path / "a.arrow", ROWS),
    }[form]()
    store = prepare(inputs, tmp_path / "out", **KEYS, on_error="skip")["train"]
    assert found(store) == [(ids, mask) for ids, mask in zip(TOKENS, MASKS, strict=True) if ids]
    assert store.boundary == "none"
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1  # the row of no token
    assert [row[1] for row in origins(tmp_path / "out/train")] == ([1] * 5 if form == "json" else [1, 2, 3, 5, 6])


def test_an_eos_that_is_written_counts_as_the_token_before_it_and_none_is_written_twice(tmp_path: Path) -> None:
    store = prepare(iter(ROWS), tmp_path, **KEYS, boundary="eos")["train"]
    expected = []
    for ids, mask in zip(TOKENS, MASKS, strict=True):
        ends = ids[-1:] == [EOS]
        expected.append((ids, mask) if ends else ([*ids, EOS], [*mask, *(mask[-1:] or [0])]))
    assert found(store) == expected
    assert prepare(iter(ROWS), tmp_path, **KEYS, boundary="eos")["train"].fingerprint == store.fingerprint


def test_ids_that_begin_or_end_with_their_own_get_no_other_and_a_bos_that_is_written_never_counts(
    tmp_path: Path,
) -> None:
    rows = [{"i": [5, 6], "m": [1, 1]}, {"i": [257, 6, EOS], "m": [1, 1, 0]}, {"i": [], "m": []}]
    made: Any = {"tokenizer": WithBos(), "ids_key": "i", "mask_key": "m", "boundary": "both"}
    store = prepare(iter(rows), tmp_path, **made)["train"]
    expected = [([257, 5, 6, EOS], [0, 1, 1, 1]), ([257, 6, EOS], [1, 1, 0]), ([257, EOS], [0, 0])]
    assert found(store) == expected


PART = st.tuples(st.text(st.sampled_from("abé "), max_size=4), st.integers(0, 1)).map(list)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(PART, max_size=4), min_size=1, max_size=6), st.sampled_from(["eos", "bos", "both", "none"]))
@example([[["a", 1]], [], [["", 1]]], "eos")
@example([[["a", 1]], [], [["b", 0]]], "both")
def test_parts_and_boundaries_are_a_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, dialogues: list[list[list[Any]]], boundary: Any
) -> None:
    expected = []
    for dialogue in dialogues:
        pairs = [(token, counts) for text, counts in dialogue for token in text.encode()]
        last = pairs[-1][1] if pairs else 0
        pairs = [(257, 0)] * (boundary in ("bos", "both")) + pairs + [(EOS, last)] * (boundary in ("eos", "both"))
        expected += [([token for token, _ in pairs], [counts for _, counts in pairs])] if pairs else []
    rows = iter([{"p": dialogue} for dialogue in dialogues])
    made: Any = {"tokenizer": WithBos(), "parts_key": "p", "boundary": boundary, "on_error": "skip"}
    try:
        store = prepare(rows, tmp_path_factory.mktemp("out"), **made)["train"]
    except NotEnoughTokensError:
        assert not any(text and counts for dialogue in dialogues for text, counts in dialogue)
        return
    assert found(store) == expected
    assert store.manifest is not None
    assert store.manifest.bos_id == (257 if boundary in ("bos", "both") else None)
    assert store.manifest.ledger["text_tokens"] == sum(sum(token < 256 for token in ids) for ids, _ in expected)


@pytest.mark.parametrize("boundary", ["bos", "both", "none"])
def test_texts_have_the_boundary_that_was_asked_for(tmp_path: Path, boundary: Any) -> None:
    texts = ["ab", "c", "def"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    store = prepare(tmp_path, tmp_path / "out", tokenizer=WithBos(), boundary=boundary)["train"]
    before, after = [257] * (boundary != "none"), [EOS] * (boundary == "both")
    assert [ids for ids, _ in found(store)] == [[*before, *text.encode(), *after] for text in texts]
    assert (store.boundary, store.has_counts) == (boundary, False)
    prepare(tmp_path, tmp_path / "out", tokenizer=WithBos(), boundary=boundary)
    with pytest.raises(PrepareError, match=f"made with boundary='{boundary}', and this command has 'eos'"):
        prepare(tmp_path, tmp_path / "out", tokenizer=WithBos())


@pytest.mark.parametrize(("name", "pack"), [("a.txt", bytes), ("a.txt.gz", gzip.compress)])
def test_an_empty_text_has_no_place_without_a_boundary(tmp_path: Path, name: str, pack: Any) -> None:
    (tmp_path / name).write_bytes(pack(b""))
    (tmp_path / "b.txt").write_text("b")
    with pytest.raises(SourceError, match=rf"{name}, line 1: it has no token, and with boundary"):
        prepare(tmp_path, tmp_path / "out", tokenizer="bytes", boundary="none")
    store = prepare(tmp_path, tmp_path / "out", tokenizer="bytes", boundary="none", on_error="skip")["train"]
    assert [ids for ids, _ in found(store)] == [[98]]


def test_a_tokenizer_without_bos_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="the tokenizer 'bytes' has no bos_id"):
        prepare(iter(["a"]), tmp_path, tokenizer="bytes", boundary="bos")


def test_work_is_of_one_bos_and_that_of_plain_text_names_none(tmp_path: Path) -> None:
    plain, begun = (json.loads(job_for(tmp_path, WithBos(), Reading(boundary=b), False).recipe) for b in ("eos", "bos"))
    assert begun["bos_id"] == 257
    assert plain.keys() == {"version", "tokenizer", "eos_id", "reading", "cuttable", "hashed"}
    assert plain["reading"].keys() == {"text_key", "separator", "literal_eos", "on_error"}


def test_splits_and_dedupe_tell_rows_by_ids_and_counts(tmp_path: Path) -> None:
    rows = [{"input_ids": [n, n + 1], "mask": [0, m]} for n in range(40) for m in (0, 1, 1)]
    made = {**KEYS, "dedupe": True, "valid_fraction": 0.3}
    stores = prepare(iter(rows), tmp_path / "all", **made)
    both = [(tuple(ids), tuple(counts)) for store in stores.values() for ids, counts in found(store)]
    assert sorted(both) == [((n, n + 1), (0, m)) for n in range(40) for m in (0, 1)]
    fewer = prepare(iter(rows[30:]), tmp_path / "fewer", **made)
    assert all(document in found(stores["valid"]) for document in found(fewer["valid"]))  # none moved


def test_the_bytes_are_the_same_for_any_number_of_workers_and_shards_hold_their_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windrow.preparing import publish, tasks

    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 12)
    (tmp_path / "in").mkdir()
    for number in range(4):
        rows = [{"parts": parts} for parts in dialogues(200)]
        lines(tmp_path / f"in/{number}.jsonl", rows)
    monkeypatch.setattr(tasks, "_SMALL", {"": 1, "gz": 1, "zst": 1})
    for workers in (1, 3):
        made = prepare(
            tmp_path / "in",
            tmp_path / str(workers),
            parts_key="parts",
            valid_fraction=0.2,
            split="tail",
            workers=workers,
        )
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "3")
    one = prepare(lines(tmp_path / "one.jsonl", rows), tmp_path / "one", parts_key="parts")["train"]
    joined = [pair for store in made.values() for ids, counts in found(store) for pair in zip(ids, counts, strict=True)]
    assert joined == 4 * [pair for ids, counts in found(one) for pair in zip(ids, counts, strict=True)]
    assert len(made["train"].manifest.shards) > 1  # type: ignore[union-attr]


def test_rows_of_which_nothing_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match="none of 2 tokens counts as a target"):
        prepare(iter([{"input_ids": [1, 2], "mask": [0, 0]}]), tmp_path, **KEYS)


@pytest.mark.parametrize(("name", "key"), [("a.txt", "ids_key"), ("a.txt", "parts_key"), ("a.parquet", "parts_key")])
def test_a_form_without_such_rows_is_refused(tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / name).write_text("text")
    with pytest.raises(SourceError, match=f"which has no rows with {key}='p'"):
        prepare(tmp_path / name, tmp_path / "out", **{key: "p"})  # type: ignore[arg-type]


def test_work_that_was_done_before_a_stop_is_used_again_with_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windrow.preparing import tasks

    monkeypatch.setattr(tasks, "_SMALL", {"": 1, "gz": 1, "zst": 1})
    (tmp_path / "in").mkdir()
    for number in range(4):
        lines(tmp_path / f"in/{number}.jsonl", [{"parts": parts} for parts in dialogues(20 + number)])
    made: Any = {"parts_key": "parts", "tokenizer": "bytes", "dedupe": True}
    with pytest.raises(PrepareError, match="the executor Broken broke"):
        prepare(tmp_path / "in", tmp_path / "stopped", executor=Broken(), **made)
    reports: list[Any] = []
    again = prepare(tmp_path / "in", tmp_path / "stopped", on_report=reports.append, **made)["train"]
    assert reports[-1].reused_nbytes > 0
    prepare(tmp_path / "in", tmp_path / "whole", **made)
    assert snapshot(tmp_path / "stopped") == snapshot(tmp_path / "whole")
    assert again.num_documents == 23


class Silent(WithBos):
    """A tokenizer that makes nothing of blanks."""

    def encode(self, text: str) -> list[int]:
        return list(text.strip().encode())


def test_a_document_of_which_a_tokenizer_makes_nothing_is_no_empty_document(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="makes no token of the document at line 2"):
        prepare(iter(["a", " "]), tmp_path, tokenizer=Silent(), boundary="none")
    rows = [{"p": [["q", 0], ["a", 1], [" ", 0]]}]
    assert found(prepare(iter(rows), tmp_path, tokenizer=Silent(), parts_key="p")["train"]) == [
        ([113, 97, EOS], [0, 1, 1])
    ]
