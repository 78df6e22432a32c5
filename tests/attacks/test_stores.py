"""Stores that were damaged or made to harm: each kind has an error that names the file, and none hangs."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, Windows, open_store, prepare
from windrow.audit.check import certify
from windrow.audit.sizes import RunSizes
from windrow.errors import PrepareError, StoreError
from windrow.store.origins import Origins
from windrow.windows.windows import Policy

TEXTS = [f"Row {number} of the hay was raked {'and raked again ' * (number % 4)}today." for number in range(9)]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return again(tmp_path / "corpus")


def again(dest: Path) -> Path:
    """The same command onto ``dest``; the store that it makes or verifies."""
    prepare(iter(TEXTS), dest, tokenizer="bytes")
    return dest / "train"


def edit(store: Path, change: Edit) -> None:
    path = store / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def seal(store: Path) -> None:
    """Make the manifest true of the bytes of each file, as somebody would who means harm."""

    def sums(fields: dict[str, Any]) -> None:
        shard = fields["shards"][0]
        named = [
            (shard, "file", "sha256"),
            (shard, "documents", "documents_sha256"),
            (fields["sources"], "file", "sha256"),
        ]
        for where, file, digest in named:
            where[digest] = sha256((store / where[file]).read_bytes()).hexdigest()

    edit(store, sums)


# -- the manifest --------------------------------------------------------------------------------------------------


def emptied(fields: dict[str, Any]) -> None:
    fields.update(shards=[], num_tokens=0, num_documents=0, max_token_id=-1)


MANIFESTS: dict[str, tuple[Edit, str]] = {
    "no policy": (lambda m: m.pop("policy"), "it has no policy"),
    "a count that is text": (
        lambda m: m.update(num_tokens="9"),
        "its num_tokens is '9', and it must be a whole number",
    ),
    "a count that is true": (lambda m: m.update(num_documents=True), "its num_documents is True, and it must be"),
    "no tokenizer": (lambda m: m.update(tokenizer=None), "its tokenizer is None, and it must be an object"),
    "a tokenizer of no fingerprint": (lambda m: m["tokenizer"].pop("fingerprint"), "its tokenizer has no fingerprint"),
    "a policy that is a list": (lambda m: m.update(policy=[1]), r"its policy is \[1\], and it must be an object"),
    "a ledger that is null": (lambda m: m.update(ledger=None), "its ledger is None, and it must be an object"),
    "sources that are a list": (lambda m: m.update(sources=[]), r"its sources is \[\], and it must be an object"),
    "shards that are an object": (lambda m: m.update(shards={}), r"its shards is \{\}, and it must be a list"),
    "a shard that is null": (lambda m: m["shards"].append(None), r"its shards\[1\] is None, and it must be an object"),
    "a shard of no sha256": (lambda m: m["shards"][0].pop("sha256"), r"its shards\[0\] has no sha256"),
    "a shard that counts below 0": (lambda m: m["shards"][0].update(num_tokens=-1), "from -1 on, add up to -1"),
    "no shards": (emptied, "it names no shards"),
    "sources above the folder": (lambda m: m["sources"].update(file="../x"), r"'\.\./x' could lead out of the folder"),
    "sources elsewhere": (
        lambda m: m["sources"].update(file="/etc/hosts"),
        "'/etc/hosts' could lead out of the folder",
    ),
    "eos below 0": (lambda m: m.update(eos_id=-1), "eos_id is -1, and it must be below vocab_size 257 and fit uint16"),
    "eos of no vocabulary": (lambda m: m.update(eos_id=257), "eos_id is 257, and it must be below vocab_size 257"),
    "eos of no dtype": (
        lambda m: (m.update(eos_id=70_000), m["tokenizer"].update(vocab_size=2**70)),
        f"eos_id is 70000, and it must be below vocab_size {2**70} and fit uint16",
    ),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_that_cannot_be_true_is_refused_by_every_door(store: Path, kind: str) -> None:
    change, message = MANIFESTS[kind]
    edit(store, change)
    with pytest.raises(StoreError, match=rf"train/manifest\.json is damaged \(.*{message}"):
        open_store(store)
    with pytest.raises(StoreError, match=message):
        again(store.parent)
    assert not certify(store, RunSizes(max_length=8)).ok


@pytest.mark.parametrize(
    "name", ["C:x.bin", "C:/x.bin", "..\\x.bin", "\\\\host\\x.bin", "tokens.bin:stream", "..", "", "x\n"]
)
@pytest.mark.parametrize("field", ["file", "documents", "origins"])
def test_no_file_is_named_that_some_system_would_look_for_elsewhere(store: Path, field: str, name: str) -> None:
    edit(store, lambda manifest: manifest["shards"][0].update({field: name}))
    with pytest.raises(StoreError, match=r"the file name .* could lead out of the folder"):
        open_store(store)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["manifest.json", "sources.jsonl", "documents-00000.npy", "origins-00000.npy"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(store: Path, name: str) -> None:
    (store / name).unlink()
    os.mkfifo(store / name)
    with pytest.raises(StoreError, match=rf"{name} is no plain file"):
        open_store(store)


# -- the list of sources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"line 1: it is \[1\], and it must be an object"),
        ('{"sha256": "0"}', "line 1: it has no path"),
        ('{"path": "a.txt"}', "line 1: it has no sha256"),
        ('{"path": 7, "sha256": "0"}', "line 1: its path is 7, and it must be a string"),
        ("", "line 1: Expecting value"),
    ],
)
def test_a_list_of_sources_that_is_none_is_named(store: Path, line: str, message: str) -> None:
    (store / "sources.jsonl").write_text(line + "\n")
    seal(store)
    with pytest.raises(StoreError, match=rf"sources\.jsonl is no list of sources \({message}"):
        Origins(open_store(store)).of([0])
    with pytest.raises(StoreError, match=message):
        again(store.parent)


def test_a_document_of_a_source_that_is_not_there_is_not_said_to_be_of_another(store: Path) -> None:
    path = store / "origins-00000.npy"
    rows = np.load(path)
    rows[:2, 0] = -1, 2**40
    np.save(path, rows)
    found = Origins(open_store(store)).of([0, 1])
    assert [found[number].source for number in (0, 1)] == ["source -1", f"source {2**40}"]


# -- the boundaries ------------------------------------------------------------------------------------------------


def zipped(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), a=np.arange(9))
    os.replace(path.with_suffix(".npz"), path)


def header_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"}")] = ord("(")
    path.write_bytes(data)


FILES: dict[str, Callable[[Path], object]] = {
    "of 0 bytes": lambda path: path.write_bytes(b""),
    "cut in its header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "cut in its numbers": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "a zip": zipped,
    "of a header that is no Python": header_flipped,
    "of a header that never ends": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x28\x23" + b"-" * 9000),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_boundary_file_that_is_none_is_named(store: Path, kind: str) -> None:
    FILES[kind](store / "documents-00000.npy")
    with pytest.raises(
        StoreError, match=r"documents-00000\.npy is no boundary file \(.+\)\. Restore it or prepare it again"
    ):
        assert open_store(store).num_documents
    assert not certify(store, RunSizes(max_length=8)).ok


@pytest.mark.parametrize("kind", FILES)
def test_an_origins_file_that_is_none_is_named(store: Path, kind: str) -> None:
    FILES[kind](store / "origins-00000.npy")
    with pytest.raises(StoreError, match=r"origins-00000\.npy is no origins file"):
        Origins(open_store(store)).of([0])


ENDS: dict[str, tuple[dict[int, int], str]] = {
    "out of order": ({3: 20}, "number 4 of 9 is 20, after "),
    "negative": ({0: -5}, "number 1 of 9 is -5, after 0"),
    "empty": ({0: 0}, "number 1 of 9 is 0, after 0"),
    "beyond the tokens": ({8: 10**6}, "number 9 of 9 is 1000000, after "),
    "short of the tokens": ({8: -1}, "number 9 of 9 is 497, after "),
    "so far apart that their distance wraps": ({3: 2**63 - 1, 4: -(2**63)}, f"number 4 of 9 is {2**63 - 1}, after "),
}


def with_ends(store: Path, changes: dict[int, int], *, sealed: bool) -> Path:
    path = store / "documents-00000.npy"
    ends = np.load(path)
    for row, end in changes.items():
        ends[row] = ends[8] - 1 if (row, end) == (8, -1) else end
    np.save(path, ends)
    if sealed:
        seal(store)
    return store


@pytest.mark.parametrize("kind", ENDS)
def test_boundaries_that_bound_nothing_are_named_before_an_index_is_built_of_them(store: Path, kind: str) -> None:
    changes, message = ENDS[kind]
    opened = open_store(with_ends(store, changes, sealed=True))
    policies: tuple[Policy, ...] = ("pad", "pack", "bos")
    asked: list[Callable[[], object]] = [
        *(lambda policy=policy: Windows(opened, 8, policy=policy) for policy in policies),
        lambda: next(iter(Loader(Windows(opened, 8), 2, outputs=["document_ids"]))),
        lambda: opened.document(0),
        lambda: opened.split(0.5)[1].num_documents,
        lambda: again(store.parent),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match=rf"documents-00000\.npy is damaged .*{message}") as caught:
            ask()
        assert str(opened.num_tokens) in str(caught.value)
    assert not certify(store, RunSizes(max_length=8)).ok


def test_opening_and_plain_windows_read_no_boundaries(store: Path) -> None:
    opened = open_store(with_ends(store, {3: 20}, sealed=False))
    inputs, _ = next(iter(Loader(Windows(opened, 8), 2)))
    assert inputs.shape == (2, 8)


# -- eos -----------------------------------------------------------------------------------------------------------


def test_another_eos_in_the_manifest_is_found_by_check_and_by_the_same_command(store: Path) -> None:
    edit(store, lambda m: m.update(eos_id=104))
    failed = {found.name: found.evidence for found in certify(store, RunSizes(max_length=8)).findings}
    assert "its eos is 104, and the tokenizer's is 256" in failed["each document ends with one eos"]
    with pytest.raises(StoreError, match=r"train is damaged: .* 9 documents end with eos 104; the tokenizer's is 256"):
        again(store.parent)


def test_documents_that_do_not_end_with_eos_are_no_finished_store(store: Path) -> None:
    tokens = np.fromfile(store / "tokens-00000.bin", "<u2")
    tokens[np.load(store / "documents-00000.npy")[2] - 1] = 65
    tokens.tofile(store / "tokens-00000.bin")
    seal(store)
    with pytest.raises(StoreError, match=r"that 9 documents end with eos 256; .* 8 documents end so"):
        again(store.parent)


def test_another_tokenizer_is_still_another_recipe_and_no_damage(store: Path) -> None:
    with pytest.raises(PrepareError, match="made with tokenizer="):
        prepare(iter(TEXTS), store.parent, tokenizer="gpt2")
