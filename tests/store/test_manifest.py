"""What a manifest of version 2 says, and that version 1 stays what it was."""

import json
import os
import pickle
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare_helpers import rewritten, with_counts
from windrow import open_store, prepare
from windrow.errors import StoreError
from windrow.store.manifest import Column, ColumnFile, Manifest, read_manifest

TEXTS = ["First text.", "A second one.", "A third."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(iter(TEXTS), tmp_path, tokenizer="bytes")
    return tmp_path / "train"


def with_column(folder: Path, column: Column) -> Manifest:
    np.save(folder / "column-000-00000.npy", np.array([2, -1, 7]))
    (shard,) = read_manifest(folder).shards
    named = ColumnFile("column-000-00000.npy", sha256((folder / "column-000-00000.npy").read_bytes()).hexdigest())
    return rewritten(folder, shards=(replace(shard, columns=(named,)),), columns=(column,))


def test_a_store_of_nothing_new_is_of_version_1_without_a_field_of_version_2(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    rewritten(folder)
    assert (folder / "manifest.json").read_bytes() == before
    rewritten(folder, bos_id=3)
    assert (folder / "manifest.json").read_bytes() == before  # which no boundary is made of
    fields = json.loads(before)
    assert fields["version"] == 1
    assert not {"boundary", "bos_id", "columns"} & set(fields)
    assert not {"counts", "counts_sha256", "columns"} & set(fields["shards"][0])


def test_counts_make_version_2_with_a_fingerprint_and_a_sum_of_their_own(folder: Path) -> None:
    plain = read_manifest(folder)
    made = with_counts(folder, [1] * plain.num_tokens)
    fields = json.loads((folder / "manifest.json").read_text())
    assert (fields["version"], fields["boundary"]) == (2, "eos")
    assert read_manifest(folder) == made
    assert made.fingerprint != plain.fingerprint
    assert set(made.sums) - set(plain.sums) == {"counts-00000.bin"}


def test_counts_on_disk_are_read_by_views_and_by_copies_in_another_process(folder: Path) -> None:
    num = read_manifest(folder).num_tokens
    counts = np.random.default_rng(0).integers(0, 2, num)
    with_counts(folder, counts)
    store = open_store(folder)
    for one in (store, pickle.loads(pickle.dumps(store))):
        assert one.counts_at(np.array([0, 3]), np.array([num, 2])).tolist() == [*counts, *counts[3:5]]
    valid = pickle.loads(pickle.dumps(store.split(0.25)[1]))
    first = num - valid.num_tokens
    assert valid.counts_at(np.array([1]), np.array([3])).tolist() == counts[first + 1 : first + 4].tolist()


def test_columns_and_boundaries_make_version_2_and_leave_the_fingerprint_as_it_is(folder: Path) -> None:
    plain = read_manifest(folder)
    made = with_column(folder, Column("lang", "category", 1, ("de", "en")))
    assert (made.version, read_manifest(folder)) == (2, made)
    assert set(made.sums) - set(plain.sums) == {"column-000-00000.npy"}
    made = rewritten(folder, boundary="none", eos_id=None)
    assert (read_manifest(folder), read_manifest(folder).eos_id) == (made, None)
    assert made.fingerprint == plain.fingerprint
    assert (open_store(folder).boundary, open_store(folder).eos_id) == ("none", None)


@pytest.mark.parametrize("boundary", ["bos", "both"])
def test_a_boundary_has_its_id(folder: Path, boundary: str) -> None:
    rewritten(folder, boundary=boundary)
    with pytest.raises(StoreError, match="bos_id is None, and it must be below vocab_size 257"):
        read_manifest(folder)
    rewritten_by_hand(folder, bos_id=7)
    assert read_manifest(folder).bos_id == 7


def rewritten_by_hand(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "it says version 1, and what it holds is of version 2"),
        ({"boundary": "eos", "version": 2}, "it says version 2, and what it holds is of version 1"),
        ({"boundary": "end"}, "boundary is 'end', and it is one of eos, bos, both, none"),
        ({"boundary": ["eos"]}, r"its boundary is \['eos'\], and it must be a string"),
        ({"bos_id": "1"}, "its bos_id is '1', and it must be a whole number"),
        ({"eos_id": None, "boundary": "both"}, "eos_id is None"),
        ({"columns": [{"name": "a", "type": "int64", "missing": 0}]}, "its 1 columns and its counts are not those"),
    ],
)
def test_fields_of_version_2_that_cannot_be_true_are_named(folder: Path, changes: Any, message: str) -> None:
    rewritten(folder, boundary="none")
    rewritten_by_hand(folder, **changes)
    with pytest.raises(StoreError, match=rf"manifest\.json is damaged \({message}"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "column",
    [
        Column("a", "int32", 0),
        Column("a", "int64", 0, ("x",)),
        Column("a", "category", 0, ("y", "x")),
        Column("a", "category", 0, ("x", "x")),
    ],
)
def test_a_column_of_no_type_or_of_unsorted_categories_is_refused(folder: Path, column: Column) -> None:
    with_column(folder, column)
    with pytest.raises(StoreError, match=r"columns must have names of their own, types of .* and sorted categories"):
        read_manifest(folder)


def test_columns_of_one_name_are_refused(folder: Path) -> None:
    made = with_column(folder, Column("a", "int64", 1))
    files = made.shards[0].columns * 2
    rewritten(folder, shards=(replace(made.shards[0], columns=files),), columns=made.columns * 2)
    with pytest.raises(StoreError, match="columns must have names of their own"):
        read_manifest(folder)


@pytest.mark.parametrize("change", ["cut", "gone", "half", "pipe"])
def test_counts_that_are_not_a_byte_for_each_token_are_refused(folder: Path, change: str) -> None:
    made = with_counts(folder, [1] * read_manifest(folder).num_tokens)
    path = folder / "counts-00000.bin"
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif change in ("gone", "pipe"):
        path.unlink()
        os.mkfifo(path) if change == "pipe" else None
    else:
        rewritten(folder, shards=(replace(made.shards[0], counts_sha256=None),))
    with pytest.raises(StoreError, match=r"counts-00000\.bin (has|cannot|is no)|are not those of its shards"):
        read_manifest(folder)
    with pytest.raises(StoreError):
        open_store(folder)


def test_a_counts_file_cannot_lie_outside_the_folder(folder: Path) -> None:
    made = with_counts(folder, [1] * read_manifest(folder).num_tokens)
    rewritten(folder, shards=(replace(made.shards[0], counts="../counts.bin"),))
    with pytest.raises(StoreError, match=r"'\.\./counts\.bin' could lead out of the folder"):
        read_manifest(folder)
