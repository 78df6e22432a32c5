"""The certificate: a sound store has one, and each of the eighteen checks fails on the fault it is named for."""

import io
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import windrow.audit.check_batches
from fault_helpers import (
    TEXTS,
    change_batches,
    count_context,
    count_padding,
    drop_last_target,
    halve_steps_of_copies,
    keep_neighbours,
    overwrite,
    read_the_same,
    resume_elsewhere,
    run_positions_on,
)
from prepare_helpers import rewritten, with_counts
from token_file_helpers import write_llmc
from windrow import Loader, TokenStore, Windows, load_tokenizer, open_store, prepare
from windrow.audit.check import CHECKS, Certificate, certify, print_certificate
from windrow.audit.check_store import ids_wrapped, shared_documents
from windrow.audit.check_subject import Failed, Subject
from windrow.audit.sizes import RunSizes
from windrow.order import permutation
from windrow.order.permutation import absorbed

NAMES = list(CHECKS)
SIZES = RunSizes(max_length=32)
FRESH = RunSizes(max_length=32, documents="epoch")
Patch = pytest.MonkeyPatch


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    prepare(iter(TEXTS), tmp_path / "corpus", tokenizer="bytes", valid_fraction=0.2, split="documents")
    return tmp_path / "corpus"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def failing(path: Path, tokenizer: str | None = None, sizes: RunSizes = SIZES, **given: Any) -> set[str]:
    return {f.name for f in certify(path, sizes, tokenizer=tokenizer, **given).findings if f.status == "failed"}


def raw(path: Path, ids: Any) -> Path:
    np.asarray(ids, dtype="<u2").tofile(path)
    return path


def certify_raw(path: Path, tokenizer: str, ids: Any) -> Certificate:
    return certify(raw(path, ids), SIZES, tokenizer=tokenizer, dtype="uint16")


def subject(stores: dict[str, TokenStore], tokenizer: Any) -> Subject:
    (name, train), *others = stores.items()
    return Subject(Loader(Windows(train, 1), 1), {name: train}, dict(others), tokenizer)


def test_a_sound_store_passes_all_eighteen(corpus: Path) -> None:
    made = certify(corpus, FRESH)
    assert [(f.name, f.status, f.evidence) for f in made.findings if f.status != "ok"] == []
    assert len(made.findings) == 18
    assert json.loads(json.dumps(made.to_json()))["ok"] is True


def test_a_sound_raw_file_passes_what_can_be_asked_of_it(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("gpt2")
    ids = [token for text in TEXTS for token in (*tokenizer.encode(text), tokenizer.eos_id)]
    made = certify_raw(tmp_path / "train.bin", "gpt2", ids)
    assert made.ok
    assert [f.name for f in made.findings if f.status != "ok"] == [NAMES[1], NAMES[12], NAMES[16]]


def test_a_sound_store_with_counts_passes_all_of_them_too(corpus: Path) -> None:
    random = np.random.default_rng(0)
    for side in ("train", "valid"):
        with_counts(corpus / side, random.integers(0, 2, open_store(corpus / side).num_tokens))
    assert [
        (f.name, f.status, f.evidence) for f in certify(corpus, SIZES).findings if f.status not in ("ok", "advice")
    ] == []


def test_counts_that_are_lost_on_the_way_to_the_batches_are_found(corpus: Path, monkeypatch: Patch) -> None:
    with_counts(corpus / "train", np.arange(open_store(corpus / "train").num_tokens) % 2)
    monkeypatch.setattr(TokenStore, "has_counts", False)
    assert {NAMES[0], NAMES[9]} <= failing(corpus)


def test_counts_that_are_neither_0_nor_1_are_found(corpus: Path) -> None:
    with_counts(corpus / "train", np.arange(open_store(corpus / "train").num_tokens) % 3)
    assert NAMES[13] in failing(corpus)


def test_counts_written_over_are_found(corpus: Path) -> None:
    with_counts(corpus / "train", np.ones(open_store(corpus / "train").num_tokens))
    path = corpus / "train/counts-00000.bin"
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    assert NAMES[12] in failing(corpus)


def test_each_boundary_is_asked_for_what_it_writes(tmp_path: Path) -> None:
    prepare(iter(TEXTS), tmp_path, tokenizer="bytes")
    rewritten(tmp_path / "train", boundary="none")
    found = {f.name: f for f in certify(tmp_path, SIZES).findings}
    assert found[NAMES[5]].status == "not applicable"
    assert "boundary 'none', as asked for" in found[NAMES[5]].evidence
    rewritten(tmp_path / "train", boundary="both", bos_id=ord("D"))  # each text begins with it
    assert found[NAMES[14]].status == "failed"  # an eos that was not asked for
    assert not {NAMES[5], NAMES[10], NAMES[14]} & failing(tmp_path)
    rewritten(tmp_path / "train", boundary="both", bos_id=ord("E"))
    assert NAMES[5] in failing(tmp_path)


# -- faults, planted one by one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [lambda x, y: (x, x), lambda x, y: (x, np.roll(y, -1, axis=1))])
def test_targets_shifted_twice_or_not_at_all_are_found(corpus: Path, monkeypatch: Patch, shift: Any) -> None:
    change_batches(monkeypatch, shift)
    assert NAMES[0] in failing(corpus)
    assert NAMES[0] in failing(corpus, sizes=FRESH)


def test_a_document_in_train_and_valid_is_found(tmp_path: Path) -> None:
    texts = [*TEXTS, TEXTS[5]]
    prepare(iter(texts), tmp_path / "corpus", tokenizer="bytes", valid_fraction=0.1, split="tail")
    assert NAMES[1] in failing(tmp_path / "corpus")


def test_ranks_that_read_the_same_are_found(corpus: Path, monkeypatch: Patch) -> None:
    read_the_same(monkeypatch)
    assert NAMES[2] in failing(corpus)


def test_workers_that_read_the_same_are_found(corpus: Path, monkeypatch: Patch) -> None:
    halve_steps_of_copies(monkeypatch)
    assert NAMES[3] in failing(corpus)


def test_ids_that_do_not_fit_are_found(tmp_path: Path) -> None:
    assert NAMES[4] in failing(raw(tmp_path / "train.bin", [1, 2, 300, 256] * 200), "bytes", dtype="uint16")
    large: Any = SimpleNamespace(vocab_size=200_000)
    with pytest.raises(Failed, match="200000 ids do not fit"):
        ids_wrapped(subject({"a": TokenStore.from_ids([1, 2, 3])}, large))


@pytest.mark.parametrize("ids", [[1, 256, 3, 4] * 100, [1, 2, 256, 256] * 100])
def test_eos_missing_or_doubled_is_found(tmp_path: Path, ids: list[int]) -> None:
    assert NAMES[5] in failing(raw(tmp_path / "train.bin", ids), "bytes", dtype="uint16")


def test_a_raw_file_without_any_eos_is_not_asked_for_it(tmp_path: Path) -> None:
    found = certify_raw(tmp_path / "train.bin", "bytes", [1, 2, 3, 4] * 100).findings[5]
    assert (found.name, found.status) == (NAMES[5], "not applicable")
    assert "whether one should cannot be known: no eos ends a document" in found.evidence


@pytest.mark.parametrize("by", [-4, 4])
def test_a_resume_that_repeats_or_skips_is_found(corpus: Path, monkeypatch: Patch, by: int) -> None:
    resume_elsewhere(monkeypatch, by)
    assert NAMES[6] in failing(corpus)


def test_an_epoch_in_the_order_of_the_one_before_is_found(corpus: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(permutation, "absorbed", lambda key, tweaks: absorbed(key, ()))
    assert NAMES[7] in failing(corpus)


def test_targets_lost_without_a_count_are_found(corpus: Path, monkeypatch: Patch) -> None:
    drop_last_target(monkeypatch)
    assert NAMES[8] in failing(corpus)


def test_a_ledger_out_of_balance_is_found(corpus: Path, monkeypatch: Patch) -> None:
    def unbalanced(*_: Any, **__: Any) -> Any:
        raise AssertionError("7 of 8 tokens are accounted for")

    monkeypatch.setattr(windrow.audit.check_batches, "plan", unbalanced)
    assert NAMES[8] in failing(corpus)


def test_padding_that_counts_is_found(corpus: Path, monkeypatch: Patch) -> None:
    count_padding(monkeypatch)
    assert NAMES[9] in failing(corpus)


def test_eos_masked_as_padding_is_found(corpus: Path, monkeypatch: Patch) -> None:
    change_batches(monkeypatch, lambda x, y: (x, np.where(y == 256, -100, y)))
    assert NAMES[9] in failing(corpus)


def test_ids_cut_at_the_wrong_place_are_found(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("gpt2")
    ids = [*tokenizer.encode("The hay lay in long ro"), *tokenizer.encode("ws across the field."), tokenizer.eos_id]
    assert NAMES[10] in failing(raw(tmp_path / "train.bin", ids * 20), "gpt2", dtype="uint16")


def test_positions_that_run_on_across_documents_are_found(corpus: Path, monkeypatch: Patch) -> None:
    run_positions_on(monkeypatch)
    assert NAMES[11] in failing(corpus)
    assert NAMES[11] in failing(corpus, sizes=FRESH)


def test_a_file_that_is_no_longer_the_one_written_is_found(corpus: Path) -> None:
    overwrite(corpus / "train" / "tokens-00000.bin", 7, 65)
    assert failing(corpus) == {NAMES[12]}


def test_a_manifest_of_another_writing_is_a_certificate_that_fails(corpus: Path) -> None:
    with open(corpus / "train" / "tokens-00000.bin", "ab") as file:
        file.write(b"xx")
    made: Certificate = certify(corpus)
    assert not made.ok
    assert "it was cut short or written over" in made.findings[0].evidence


@pytest.mark.parametrize(("tail", "number"), [(b"\0" * 4096, 13), (b"\1", 12)])
def test_zeros_and_half_tokens_of_a_truncated_file_are_found(tmp_path: Path, tail: bytes, number: int) -> None:
    path = raw(tmp_path / "train.bin", [*range(65, 90), 256] * 30)
    path.write_bytes(path.read_bytes() + tail)
    assert NAMES[number] in failing(path, "bytes", dtype="uint16")


def test_a_control_token_inside_a_document_is_found(corpus: Path) -> None:
    overwrite(corpus / "train" / "tokens-00000.bin", 7, 256)
    assert NAMES[14] in failing(corpus)


def test_an_evaluation_that_counts_targets_twice_is_found(corpus: Path, monkeypatch: Patch) -> None:
    count_context(monkeypatch)
    assert NAMES[15] in failing(corpus)


def test_documents_that_keep_their_neighbours_are_an_advice_and_no_failure(corpus: Path) -> None:
    made = certify(corpus, SIZES)
    found = made.findings[16]
    assert (found.name, found.status, found.remedy) == (NAMES[16], "advice", "")
    assert "of 63 pairs of documents side by side in epoch 0, 63 are so in epoch 1" in found.evidence
    assert "--documents epoch" in found.evidence
    assert made.ok
    assert made.to_json()["ok"] is True


def test_neighbours_that_were_to_change_and_stay_are_found(corpus: Path, monkeypatch: Patch) -> None:
    keep_neighbours(monkeypatch)
    (found,) = (one for one in certify(corpus, FRESH).findings if one.name == NAMES[16])
    assert found.status == "failed"
    assert found.evidence.endswith("63 are so in epoch 1, and they were to change")


@pytest.mark.parametrize("num", [1, 2, 3, 8])
def test_a_few_documents_may_keep_their_neighbours_by_chance(tmp_path: Path, num: int) -> None:
    prepare(iter(TEXTS[:num]), tmp_path / "corpus", tokenizer="bytes")
    for sizes in (SIZES, FRESH):
        found = certify(tmp_path / "corpus", replace(sizes, max_length=8)).findings[16]
        assert found.status == ("not applicable" if num == 1 else "advice" if sizes is SIZES else "ok")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"text": "a line of JSON"}', "JSON"),
        ('[\n {\n  "text": 3}]', "JSON"),
        ("\ufeff<!DOCTYPE html><p>", "HTML"),
        ("  <html lang=en>", "HTML"),
        ("%PDF-1.7 stream", "PDF"),
    ],
)
def test_documents_of_another_form_than_they_were_read_as_are_found(tmp_path: Path, text: str, form: str) -> None:
    statuses = {}
    for share in (0, 1, 10, 80):
        texts = [text + " and more" * 9 if i % 100 < share else TEXTS[i % 90] for i in range(200)]
        prepare(iter(texts), tmp_path / str(share), tokenizer="bytes")
        found = certify(tmp_path / str(share), SIZES).findings[17]
        statuses[share] = found.status
        assert share == 0 or f"of 200 documents looked at begin as {form} does" in found.evidence or share == 1
    assert statuses == {0: "ok", 1: "ok", 10: "advice", 80: "failed"}


@pytest.mark.parametrize("text", ["{ a set }", "html is a language", "<p>One", "pdf", "{", "[1, 2]", "", "<htm"])
def test_text_that_only_looks_like_another_form_is_text(tmp_path: Path, text: str) -> None:
    prepare(iter([text + " " * 40] * 9), tmp_path / "corpus", tokenizer="bytes")
    assert certify(tmp_path / "corpus", SIZES).findings[17].status == "ok"


def test_a_raw_file_needs_a_tokenizer(tmp_path: Path) -> None:
    path = raw(tmp_path / "train.bin", [1, 2, 3] * 99)
    made = certify(path, SIZES, dtype="uint16", eos_id=3)
    assert 'Give tokenizer="gpt2", or what made them' in made.findings[0].evidence


def test_documents_that_eos_begins_are_not_asked_for_one_at_their_end(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("gpt2")
    tokens = [token for text in TEXTS for token in (tokenizer.eos_id, *tokenizer.encode(text))]
    write_llmc(tmp_path / "a.bin", tokens[5:])
    made = certify(tmp_path / "a.bin", SIZES)
    assert made.ok
    assert [f.name for f in made.findings if f.status != "ok"] == [NAMES[1], NAMES[5], NAMES[12], NAMES[16]]
    assert made.findings[5].evidence == "a.bin has boundary 'bos', eos begins them: no eos ends a document"
    write_llmc(tmp_path / "a.bin", [*tokens, tokenizer.eos_id, tokenizer.eos_id, 5, 6])
    assert NAMES[5] in failing(tmp_path / "a.bin")


def test_tokens_that_change_under_the_same_size_and_time_are_found(tmp_path: Path) -> None:
    path = raw(tmp_path / "train.bin", [*range(65, 90), 256] * 30_000)
    given = {"tokenizer": "bytes", "dtype": "uint16"}
    assert open_store(path, **given).fingerprint == open_store(path, **given).fingerprint
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(before.st_size // 64 - 100)  # between two of the blocks that are looked at
        file.write(b"\1\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = certify(path, SIZES, **given).findings[12]
    assert (found.name, found.status) == (NAMES[12], "failed")
    assert "holds other tokens than when it was first read, with the same size and time" in found.evidence
    assert certify(path, SIZES, **given).findings[12].status == "not applicable"  # what is there now is known


# -- what is printed -----------------------------------------------------------------------------------------------


def printed(certificate: Certificate, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    print_certificate(console, certificate, 4, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_sound_certificate_is_a_line_for_each_state_and_its_details_are_asked_for(corpus: Path) -> None:
    made = certify(corpus, FRESH)
    lines = printed(made)
    assert lines[:18] == [f"{n:>2} ok     {name}" for n, name in enumerate(NAMES, 1)]
    assert lines[-1] == "no check failed"
    detailed = printed(made, verbose=True)
    assert detailed[1:36:2] == [f"          {finding.evidence}" for finding in made.findings]


def test_an_advice_is_one_line_with_a_mark_of_its_own(corpus: Path) -> None:
    lines = printed(certify(corpus, SIZES))
    assert lines[16].startswith(f"17 advice {NAMES[16]}: of 63 pairs of documents side by side in epoch 0, 63 are so")
    assert lines[17] == f"18 ok     {NAMES[17]}"
    assert lines[-1] == "no check failed"


def test_a_check_that_cannot_be_made_says_why_in_its_line(tmp_path: Path) -> None:
    lines = printed(certify_raw(tmp_path / "train.bin", "bytes", [1, 2, 3, 4] * 100))
    why = "train.bin has boundary 'none', whether one should cannot be known: no eos ends a document"
    assert f" 6 -      each document ends with one eos: {why}" in lines


def test_a_failed_check_says_what_to_do_by_where_the_fault_is(corpus: Path, monkeypatch: Patch) -> None:
    overwrite(corpus / "train" / "tokens-00000.bin", 7, 65)
    change_batches(monkeypatch, lambda x, y: (x, x))
    lines = printed(certify(corpus, SIZES))
    at = lines.index(" 1 FAILED targets are the inputs, moved on by one token")
    assert "this is a defect of windrow" in lines[at + 2]
    at = lines.index("13 FAILED files are those that were written")
    assert lines[at + 2] == "          Prepare the text again into a new folder, or restore the store from a copy."
    assert lines[-1].endswith(" of 18 checks failed")


def test_a_failed_check_of_a_raw_file_asks_for_its_tokenizer(tmp_path: Path) -> None:
    lines = printed(certify_raw(tmp_path / "train.bin", "bytes", [1, 256, 300] * 100))
    at = lines.index(" 5 FAILED each id is one of the tokenizer's")
    assert lines[at + 2] == "          Give the --tokenizer that made these files, or make them again."


def test_another_tokenizer_is_named(corpus: Path) -> None:
    evidence = certify(corpus, SIZES, tokenizer="gpt2").findings[12].evidence
    assert evidence == "train was made with tokenizer 'bytes', and this is 'gpt2'"


@pytest.mark.parametrize("at_a_time", [1, 3, 7, 1 << 20])
def test_a_shared_document_is_found_wherever_it_is_cut_to_be_hashed(monkeypatch: Patch, at_a_time: int) -> None:
    monkeypatch.setattr("windrow.audit.check_store._HASHED", at_a_time)
    long, tokenizer = [*range(5, 25)], load_tokenizer("bytes")
    train = TokenStore.from_ids([1, 2, 9, *long, 9, 7, 9], document_ends=[3, 24, 26])
    for mine, is_shared in (
        ([3, 9], False),
        ([*long, 9], True),
        ([*long[:-1], 4, 9], False),
        ([*reversed(long)], False),
    ):
        valid = TokenStore.from_ids([8, 9, *mine], document_ends=[2, 2 + len(mine)])
        made = subject({"train": train, "valid": valid}, tokenizer)
        if is_shared:
            with pytest.raises(Failed, match="document 1 of valid is document 1 of train"):
                shared_documents(made)
        else:
            assert shared_documents(made)


def test_a_giant_document_is_hashed_in_slices() -> None:
    giant = TokenStore.from_ids(np.arange(1 << 23, dtype=np.uint16))
    small = TokenStore.from_ids([1, 2, 3])
    tracemalloc.start()
    shared_documents(subject({"train": giant, "valid": small}, load_tokenizer("bytes")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
