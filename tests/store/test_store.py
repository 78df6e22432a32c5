"""The reading side of a store, in memory and over shards, against one plain array."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow import TokenStore, Windows, load_tokenizer, open_store, prepare
from windrow.errors import NotEnoughTokensError, StoreError
from windrow.store.line import Line


@st.composite
def sharded(draw: st.DrawFn) -> tuple[TokenStore, np.ndarray[Any, Any], list[tuple[int, int]]]:
    """A store over several shards, some without a token or without a document's end, and what it must equal."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    n = sum(lengths)
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    edges = [0, *cuts, n]
    tokens = np.arange(n, dtype=np.uint16) + 100
    ends = np.cumsum(lengths)
    shards = list(pairwise(edges))
    inside = [ends[(ends > a) & (ends <= b)] - a for a, b in shards]
    store = TokenStore(Line([tokens[a:b] for a, b in shards], inside, tokens.dtype), eos_id=0)
    return store, tokens, [(int(end - length), int(end)) for end, length in zip(ends, lengths, strict=True)]


@given(sharded(), st.data())
def test_a_gather_across_shards_is_that_of_one_array(case: Any, data: st.DataObject) -> None:
    store, tokens, _ = case
    length = data.draw(st.integers(1, len(tokens)))
    starts = np.array(data.draw(st.lists(st.integers(0, len(tokens) - length), max_size=8)), dtype=np.int64)
    expected = [tokens[s : s + length].tolist() for s in starts]
    gathered = store.gather(starts, length)
    assert gathered.tolist() == expected
    assert gathered.shape == (len(starts), length)
    assert gathered.dtype == np.uint16


@given(sharded(), st.data())
def test_documents_are_found_across_shards_and_in_a_split(case: Any, data: st.DataObject) -> None:
    store, tokens, spans = case
    first, last = 0, len(tokens)
    if len(tokens) > 1 and data.draw(st.booleans()):
        fraction = data.draw(st.sampled_from([0.1, 0.5, 0.8]))
        cut = int(np.floor(len(tokens) * (1 - fraction)))
        if not 0 < cut < len(tokens):
            return
        side = data.draw(st.sampled_from([0, 1]))
        store = store.split(fraction)[side]
        first, last = [(0, cut), (cut, len(tokens))][side]
    seen = [(max(a, first) - first, min(b, last) - first) for a, b in spans if a < last and b > first]
    assert store.num_tokens == last - first
    assert store.num_documents == len(seen)
    assert [store.document_span(i) for i in range(len(seen))] == seen
    expected = [next(i for i, (a, b) in enumerate(seen) if a <= place < b) for place in range(store.num_tokens)]
    assert store.document_at(np.arange(store.num_tokens)).tolist() == expected
    assert np.concatenate([store.document(i) for i in range(len(seen))]).tolist() == tokens[first:last].tolist()


def test_tokens_are_clipped_like_a_slice() -> None:
    store = TokenStore.from_ids([1, 2, 3, 4])
    assert [store.tokens(*span).tolist() for span in [(), (1,), (1, 3), (2, 99), (-2,), (3, 1)]] == [
        [1, 2, 3, 4],
        [2, 3, 4],
        [2, 3],
        [3, 4],
        [3, 4],
        [],
    ]


@pytest.mark.parametrize("starts", [[-1], [3], [0, 9]])
def test_a_span_that_leaves_the_store_raises(starts: list[int]) -> None:
    with pytest.raises(IndexError, match="leave the store"):
        TokenStore.from_ids([1, 2, 3, 4]).gather(np.array(starts), 2)


@pytest.mark.parametrize(("ids", "dtype"), [([0, 65_535], np.uint16), ([65_536], np.uint32), ([], np.uint16)])
def test_ids_are_kept_as_narrow_as_they_fit(ids: list[int], dtype: Any) -> None:
    assert TokenStore.from_ids(ids).dtype == dtype


def test_ids_are_kept_as_wide_as_their_eos_that_rows_are_filled_with() -> None:
    store = TokenStore.from_ids([1, 2, 3], eos_id=70_000)
    assert store.dtype == np.uint32
    assert Windows(store, 4, tail="pad").gather(np.array([0])).tolist() == [[1, 2, 3, 70_000, 70_000]]
    with pytest.raises(StoreError, match="eos_id is 70000, and ids of uint16 end at 65535"):
        TokenStore.from_ids(np.array([1, 2, 3], dtype=np.uint16), eos_id=70_000)


@pytest.mark.parametrize("eos", [-1, 1.5, True, "a"])
def test_an_eos_that_is_no_id_raises(eos: Any) -> None:
    with pytest.raises(ValueError, match=r"eos_id is .*, and it must be a whole number, 0 or more"):
        TokenStore.from_ids([1, 2, 3], eos_id=eos)


def test_an_eos_that_no_store_can_hold_raises() -> None:
    with pytest.raises(ValueError, match=r"eos_id is 4294967296, and a store holds 0 to 2\*\*32 - 1"):
        TokenStore.from_ids([1, 2, 3], eos_id=2**32)


def test_document_ends_that_are_no_whole_numbers_raise() -> None:
    with pytest.raises(
        ValueError, match=r"document_ends must be one row of whole numbers, and these are \(2,\) float64"
    ):
        TokenStore.from_ids([1, 2, 3], document_ends=[1.5, 3.0])


@pytest.fixture(scope="module")
def of_ten_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ten shards of a document each."""
    from windrow.preparing import publish, tasks
    from windrow.preparing.crew import Here

    folder = tmp_path_factory.mktemp("ten")
    (folder / "texts").mkdir()
    for number in range(10):
        (folder / f"texts/{number}.txt").write_text("a text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "SHARD_TOKENS", 1)
        patch.setattr(tasks, "ITEM", 1)
        prepare(folder / "texts", folder / "out", tokenizer="bytes", executor=Here())
    return folder / "out/train"


_OPEN = """
import os, resource, sys
import numpy as np
from windrow import open_store
hard = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 5, hard))
before = len(os.listdir("/proc/self/fd"))
store = open_store(sys.argv[1])
opened = len(os.listdir("/proc/self/fd")) - before
store.num_documents
store.document_lengths
print(opened, len(os.listdir("/proc/self/fd")) - before, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
_KEPT = 0 if sys.version_info >= (3, 13) else 1  # descriptors of a mapping


def opened(store: Path, hard: int) -> "subprocess.CompletedProcess[str]":
    """A process that opens ``store`` where five files more may be open, and ``hard`` after it asks for more."""
    return subprocess.run([sys.executable, "-c", _OPEN, str(store), str(hard)], capture_output=True, text=True)


def test_the_soft_limit_on_open_files_is_raised_and_a_mapping_keeps_one_at_most(of_ten_shards: Path) -> None:
    done = opened(of_ten_shards, 100)
    assert done.stdout.split()[:2] == [str(10 * _KEPT), str(20 * _KEPT)], done.stderr
    assert done.stdout.split()[2:] == ["100", "100"] or not _KEPT


@pytest.mark.skipif(not _KEPT, reason="no descriptor is kept")
def test_a_store_of_too_many_shards_for_the_open_files_allowed_says_how_many_it_needs(of_ten_shards: Path) -> None:
    done = opened(of_ten_shards, 9)
    reached = r"limit of open files \(ulimit -n\) is reached, and this store needs [1-9] files more"
    assert re.search(reached, done.stderr), done.stderr


def test_a_store_has_no_more_shards_than_may_be_open(tmp_path: Path, of_ten_shards: Path) -> None:
    from windrow.preparing import publish, tasks
    from windrow.preparing.crew import Here

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "SHARD_TOKENS", 1)
        patch.setattr(publish, "MOST_SHARDS", 4)
        patch.setattr(tasks, "ITEM", 1)
        prepare(of_ten_shards.parents[1] / "texts", tmp_path, tokenizer="bytes", executor=Here())
    made = open_store(tmp_path / "train")
    assert made.manifest is not None
    assert [shard.num_documents for shard in made.manifest.shards] == [3, 3, 3, 1]
    assert np.array_equal(made.tokens(), open_store(of_ten_shards).tokens())


def test_a_narrow_array_is_not_copied() -> None:
    ids = np.arange(10, dtype=np.uint16)
    assert np.shares_memory(TokenStore.from_ids(ids)._line.tokens[0], ids)


@pytest.mark.parametrize("ids", [[-1], [2**32], [[1, 2]], [1.5], ["a"]])
def test_ids_that_no_store_can_hold_raise(ids: Any) -> None:
    with pytest.raises(ValueError, match="ids"):
        TokenStore.from_ids(ids)


@pytest.mark.parametrize("ends", [[2, 2, 4], [3], [0, 4], [4, 3], [5], [], [-4, 4], [2**63 - 1, -(2**63), 4], [[4]]])
def test_document_ends_that_do_not_rise_to_the_end_raise(ends: list[int]) -> None:
    with pytest.raises(ValueError, match=r"document_ends must (rise|be one row)"):
        TokenStore.from_ids([1, 2, 3, 4], document_ends=ends)


def test_a_document_that_is_not_there_raises_with_the_count() -> None:
    with pytest.raises(IndexError, match="document 1 of 1"):
        TokenStore.from_ids([1]).document(1)


def test_a_split_cuts_at_the_floor_and_leaves_no_token_on_both_sides() -> None:
    train, valid = TokenStore.from_ids(np.arange(5145)).split(0.1)
    assert (train.num_tokens, valid.num_tokens) == (4630, 515)
    assert set(train.tokens()).isdisjoint(valid.tokens())


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2])
def test_a_share_outside_0_to_1_raises(fraction: float) -> None:
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        TokenStore.from_ids([1, 2]).split(fraction)


def test_a_split_with_an_empty_side_raises() -> None:
    with pytest.raises(NotEnoughTokensError, match="leaves 0 for train and 1 for valid"):
        TokenStore.from_ids([1]).split(0.5)


def test_fingerprints_tell_content_boundaries_dtype_and_parts_apart() -> None:
    ids = np.arange(8, dtype=np.uint16)
    stores = [
        TokenStore.from_ids(ids),
        TokenStore.from_ids(ids[::-1].copy()),
        TokenStore.from_ids(ids, document_ends=[3, 8]),
        TokenStore.from_ids(ids.astype(np.uint32)),
        *TokenStore.from_ids(ids).split(0.5),
    ]
    assert len({store.fingerprint for store in stores}) == len(stores)
    assert stores[0].fingerprint == TokenStore.from_ids(ids.copy()).fingerprint


def test_a_store_on_disk_reads_back_what_was_prepared(tmp_path: Path) -> None:
    texts = ["First text.", "", "A second one,\nof two lines."]
    store = prepare(iter(texts), tmp_path)["train"]
    tokenizer = load_tokenizer("gpt2")
    expected = [i for text in texts for i in [*tokenizer.encode(text), tokenizer.eos_id]]
    again = open_store(tmp_path / "train")
    assert store.tokens().tolist() == again.tokens().tolist() == expected
    assert again.fingerprint == store.fingerprint
    assert again.decode(*again.document_span(2)) == texts[2] + "<|endoftext|>"
    assert (again.num_documents, again.eos_id, again.dtype) == (3, 50256, np.uint16)


def test_a_raw_token_file_is_what_numpy_reads(tmp_path: Path) -> None:
    store = prepare(iter(["Any tool reads this."]), tmp_path)["train"]
    raw = np.fromfile(tmp_path / "train" / "tokens-00000.bin", dtype="<u2")
    assert raw.tolist() == store.tokens().tolist()


def test_decoding_ids_of_no_known_tokenizer_raises() -> None:
    with pytest.raises(StoreError, match="nothing says what these ids mean"):
        TokenStore.from_ids([1]).decode()


def test_decoding_with_another_tokenizer_raises(tmp_path: Path) -> None:
    prepare(iter(["text"]), tmp_path)
    with pytest.raises(StoreError, match="was made with tokenizer 'gpt2'"):
        open_store(tmp_path / "train", tokenizer="bytes").decode()


def test_opening_the_folder_above_the_stores_names_them(tmp_path: Path) -> None:
    prepare(iter(["text"]), tmp_path)
    with pytest.raises(StoreError, match=r"it holds 1: train. Open .*train instead"):
        open_store(tmp_path)


def test_boundaries_are_looked_at_once_and_not_before_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(iter(["text", "more"]), tmp_path, tokenizer="bytes")
    looks: list[int] = []
    monkeypatch.setattr("windrow.store.shards.require_rising", lambda what, ends, *_, **__: looks.append(len(ends)))
    store = open_store(tmp_path / "train")
    assert len(store.tokens()) == 10
    assert not looks
    assert (store.num_documents, store.document_span(1), store.document(0).tolist()[-1]) == (2, (5, 10), 256)
    assert looks == [2]


def test_a_boundary_file_that_is_damaged_or_pickled_raises(tmp_path: Path) -> None:
    prepare(iter(["text"]), tmp_path)
    path = tmp_path / "train" / "documents-00000.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="no boundary file"):
        assert open_store(tmp_path / "train").num_documents
    np.save(path, np.array([1, 2]))
    with pytest.raises(StoreError, match=r"holds \(2,\) int64, and the manifest says \(1,\) int64"):
        assert open_store(tmp_path / "train").num_documents
