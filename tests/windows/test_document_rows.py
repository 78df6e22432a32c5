"""How documents become rows: the policies against plain loops, and the promises that hold for each of them."""

import tracemalloc
from bisect import bisect_left, insort
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared_text
from corpora import EOS, corpora, store_of
from windrow import Loader, Mixture, TokenStore, Windows, load_tokenizer, open_store, prepare
from windrow.errors import NotEnoughTokensError
from windrow.store.cache import cache_folder
from windrow.testing import assert_covers, assert_elastic, assert_resumes
from windrow.text.demo import demo_documents
from windrow.windows import document_rows
from windrow.windows.document_rows import LongDocuments, Pieces
from windrow.windows.windows import Policy

OTHERS: list[Policy] = ["pad", "pack", "bos"]
LENGTHS = [1, 3, 11, 2, 30, 5, 5, 1, 17, 8, 9, 4, 26, 2, 2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pieces_of(lengths: list[int], max_length: int) -> list[list[int]]:
    """The places of each piece: documents cut every ``max_length`` tokens, neighbours sharing one."""
    pieces, start = [], 0
    for length in lengths:
        document = list(range(start, start + length))
        pieces += [document[i : i + max_length + 1] for i in range(0, length - 1, max_length)]
        start += length
    return pieces


def naive_rows(policy: str, lengths: list[int], max_length: int) -> list[list[list[int]]]:
    """Rows as lists of pieces."""
    if policy == "pad":
        return [[piece] for piece in pieces_of(lengths, max_length)]
    if policy == "pack":
        return naive_best_fit(pieces_of(lengths, max_length), max_length + 1)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    rows, n, at = [], sum(lengths), 0
    while at < n:
        rows.append([list(range(at, min(at + max_length + 1, n)))])
        at = next((start for start in starts if start >= at + max_length), n)
    return [row for row in rows if len(row[0]) > 1]


def naive_best_fit(pieces: list[list[int]], capacity: int) -> list[list[list[int]]]:
    """The textbook: from the longest on, each into the row that it fills most."""
    rows: list[list[list[int]]] = []
    for piece in sorted(pieces, key=len, reverse=True):
        fitting = [row for row in rows if sum(map(len, row)) + len(piece) <= capacity]
        if fitting:
            max(fitting, key=lambda row: sum(map(len, row))).append(piece)
        else:
            rows.append([piece])
    return rows


def naive_num_rows(lengths: list[int], capacity: int) -> int:
    """How many rows the textbook needs, from the spaces alone."""
    spaces: list[int] = []  # rising
    num_rows = 0
    for length in sorted(lengths, reverse=True):
        place = bisect_left(spaces, length)
        if place == len(spaces):
            spaces, num_rows, place = [*spaces, capacity], num_rows + 1, len(spaces)
        insort(spaces, spaces.pop(place) - length)
    return num_rows


def real_texts(name: str) -> list[str]:
    if name == "language reference":
        return demo_documents()
    return shared_text("tinyshakespeare.txt").split("\n\n")


@pytest.mark.parametrize("max_length", [64, 256, 1023])
@pytest.mark.parametrize("name", ["language reference", "speeches of Shakespeare"])
def test_real_lengths_are_packed_into_as_few_rows_as_by_the_textbook(name: str, max_length: int) -> None:
    tokenizer = load_tokenizer("gpt2")
    lengths = [len(ids) + 1 for ids in tokenizer.encode_batch(real_texts(name))]
    windows = Windows(store_of([int(length) for length in lengths]), max_length, policy="pack")
    pieces = [len(piece) for piece in pieces_of(lengths, max_length)]
    assert windows.num_samples == naive_num_rows(pieces, max_length + 1)


def rows_and_counted(windows: Windows) -> tuple[Any, Any]:
    ids = np.arange(windows.num_samples)
    mask = windows.rows(ids)[1]
    return windows.gather(ids), np.ones((len(ids), windows.max_length), bool) if mask is None else mask


@given(corpora(), st.sampled_from(["pad", "bos"]))
def test_pad_and_bos_are_the_plain_loops(corpus: Any, policy: Policy) -> None:
    store, lengths, max_length = corpus
    rows, _ = rows_and_counted(Windows(store, max_length, policy=policy))
    expected = [row + [EOS] * (max_length + 1 - len(row)) for (row,) in naive_rows(policy, lengths, max_length)]
    assert rows.tolist() == expected


@given(corpora())
def test_pack_fills_rows_like_naive_best_fit_decreasing(corpus: Any) -> None:
    """Ties may be broken differently, so the rows are compared by the lengths that they hold."""
    store, lengths, max_length = corpus
    rows, _ = rows_and_counted(windows := Windows(store, max_length, policy="pack"))
    naive = naive_rows("pack", lengths, max_length)
    edges = windows.layout.edges
    held = [sorted(windows.layout.lengths[a:b].tolist()) for a, b in pairwise(edges)]
    assert sorted(held) == sorted(sorted(map(len, row)) for row in naive)
    assert len(rows) == len(naive)


@given(corpora(), st.sampled_from(["pad", "pack"]))
def test_every_token_but_a_documents_first_is_a_target_exactly_once(corpus: Any, policy: Policy) -> None:
    store, lengths, max_length = corpus
    rows, counted = rows_and_counted(Windows(store, max_length, policy=policy))
    firsts = {sum(lengths[:i]) for i in range(len(lengths))}
    assert Counter(rows[:, 1:][counted].tolist()) == Counter(set(range(sum(lengths))) - firsts)


@given(corpora(), st.sampled_from(OTHERS))
def test_shift_holds_for_every_policy(corpus: Any, policy: Policy) -> None:
    """A target that counts is the next token of the store, and the next input of its row."""
    store, _, max_length = corpus
    inputs, targets = Loader(windows := Windows(store, max_length, policy=policy), windows.num_samples)[0]
    counts = targets != -100
    assert np.array_equal(targets[counts], inputs[counts] + 1)
    assert np.array_equal(targets[:, :-1][counts[:, :-1]], inputs[:, 1:][counts[:, :-1]])


@given(corpora(), st.sampled_from(["pad", "pack"]), st.booleans())
def test_no_target_lies_in_another_document_than_its_input(corpus: Any, policy: Policy, shuffle: bool) -> None:
    store, _, max_length = corpus
    windows = Windows(store, max_length, policy=policy)
    inputs, targets = Loader(windows, windows.num_samples, shuffle=shuffle)[0]
    counts = targets != -100
    assert np.array_equal(store.document_at(inputs[counts]), store.document_at(targets[counts]))


@given(corpora())
def test_every_row_of_bos_starts_where_a_document_starts(corpus: Any) -> None:
    store, lengths, max_length = corpus
    rows, _ = rows_and_counted(Windows(store, max_length, policy="bos"))
    assert set(rows[:, 0].tolist()) <= {sum(lengths[:i]) for i in range(len(lengths))}


def made(policy: Policy, batch_size: int = 2, rank: int = 0, world: int = 1, **kwargs: Any) -> Loader:
    windows = Windows(store_of(LENGTHS), 6, policy=policy)
    return Loader(windows, batch_size, seed=3, dp_rank=rank, dp_world_size=world, **kwargs)


@pytest.mark.parametrize("policy", OTHERS)
def test_every_policy_resumes_and_covers_and_is_cut_differently(policy: Policy) -> None:
    assert_resumes(lambda: made(policy, drop_last=False), 14)
    assert_covers(lambda *sizes: made(policy, *sizes, drop_last=False), made(policy, 1).__len__(), 3, 2)
    whole = np.concatenate([batch.inputs for batch, _ in zip(made(policy, 1, epochs=None), range(60), strict=False)])
    assert_elastic(lambda *sizes: made(policy, *sizes, epochs=None), [(2, 1, 3), (1, 3, 4), (3, 2, 3)], whole)


def test_a_mixture_takes_members_of_different_policies() -> None:
    members = {policy: (Windows(store_of(LENGTHS, 1000 * i), 6, policy=policy), 1.0) for i, policy in enumerate(OTHERS)}
    loader = Loader(Mixture(members), 8, epochs=None)
    for sample, row in zip(loader.lookup(0), loader[0].inputs, strict=True):
        assert OTHERS.index(sample.member) == row[0] // 1000  # type: ignore[arg-type]
    assert_resumes(lambda: Loader(Mixture(members), 8, epochs=None), 6)


@pytest.mark.parametrize("policy", OTHERS)
def test_the_policy_is_part_of_the_recipe(policy: Policy) -> None:
    assert made(policy).recipe != Loader(Windows(store_of(LENGTHS), 6), 2, seed=3).recipe
    assert f'"policy":"{policy}"' in made(policy).recipe
    with pytest.raises(ValueError, match="policy: saved 'concat'"):
        made(policy).load_state_dict(Loader(Windows(store_of(LENGTHS), 6), 2, seed=3).state_dict())


@pytest.mark.parametrize("given", [{"stride": 3}, {"phase": "epoch"}, {"tail": "pad"}])
def test_what_only_concat_takes_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r'policy="pack" takes none of them'):
        Windows(store_of(LENGTHS), 6, policy="pack", **given)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="the policies are concat, pad, pack, bos"):
        Windows(store_of(LENGTHS), 6, policy="fold")  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1]])
@pytest.mark.parametrize("policy", ["pad", "pack"])
def test_documents_of_one_token_alone_make_no_row(policy: Policy, lengths: list[int]) -> None:
    with pytest.raises(NotEnoughTokensError, match=f"none of the store's {len(lengths)} documents has 2 tokens"):
        Windows(store_of(lengths), 4, policy=policy)


def test_evaluation_refuses_rows_and_says_how_to_score_them() -> None:
    windows = Windows(store_of(LENGTHS), 6, policy="pack")
    with pytest.raises(ValueError, match="shuffle=False, drop_last=False"):
        Loader.evaluation(windows, 2)
    scored = sum(batch.num_targets for batch in Loader(windows, 2, shuffle=False, drop_last=False))
    assert scored == sum(LENGTHS) - len(LENGTHS)


@pytest.mark.parametrize(("policy", "nbytes"), [("pad", 23), ("pack", 25)])
def test_an_index_of_short_documents_is_made_in_few_bytes_a_piece(policy: Policy, nbytes: int) -> None:
    ends = np.cumsum(np.arange(2_000_000) % 20 + 2)
    store = TokenStore.from_ids(np.zeros(ends[-1], np.uint16), document_ends=ends)
    tracemalloc.start()
    windows = Windows(store, 256, policy=policy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows.layout.starts) == 2_000_000
    assert peak < nbytes * 2_000_000


# -- few, long documents -------------------------------------------------------------------------------------------


def kept_long(store: TokenStore, max_length: int, policy: Policy) -> Windows:
    """What a store of 65,536 rows and more would have."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(document_rows, "_MANY", 0)
        patched.setattr(document_rows, "_LONG", 0)
        patched.setattr(document_rows, "_AT_A_TIME", 3)
        windows = Windows(store, max_length, policy=policy)
    assert isinstance(windows.layout, LongDocuments)
    return windows


@given(corpora(), st.sampled_from(["pad", "pack"]), st.data())
def test_rows_of_long_documents_are_those_of_their_pieces(corpus: Any, policy: Policy, data: Any) -> None:
    store, _, max_length = corpus
    windows, pieces = kept_long(store, max_length, policy), Windows(store, max_length, policy=policy)
    assert type(pieces.layout) is Pieces
    assert len(windows) == len(pieces)
    assert windows.max_documents == pieces.max_documents
    ids = np.array(data.draw(st.lists(st.integers(0, len(pieces) - 1), max_size=9)), dtype=np.int64)
    for found, wanted in zip(windows.spans(ids), pieces.spans(ids), strict=True):
        assert np.array_equal(found, wanted)
    start, stop = sorted(data.draw(st.lists(st.integers(0, store.num_tokens), min_size=2, max_size=2, unique=True)))
    (rows, spans, in_row), wanted = (one.layout.between(start, stop, 0, key=(0, "")) for one in (windows, pieces))
    for found, one in zip((rows, *spans, in_row), (wanted[0], *wanted[1], wanted[2]), strict=True):
        assert np.array_equal(found, one)


@pytest.mark.parametrize(("policy", "num_kept"), [("pad", 5), ("pack", 4)])
def test_the_index_of_long_documents_does_not_grow_with_their_tokens(policy: Policy, num_kept: int) -> None:
    ends = np.cumsum([1_200_002, 1_200_002, 1_200_001, 1])  # two of them with two tokens beyond what fills rows
    store = TokenStore.from_ids(np.zeros(ends[-1], np.uint16), document_ends=ends)
    layout = Windows(store, 3, policy=policy).layout
    assert isinstance(layout, LongDocuments)
    assert (len(layout.first) - 1, layout.num_rows) == (num_kept, 3 * 400_000 + num_kept - 3)
    assert type(Windows(store, 60, policy=policy).layout) is Pieces  # fewer than 65,536 rows


# -- the index and its cache ---------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=9), min_size=2, max_size=4))
@settings(max_examples=40)
def test_a_split_packs_what_it_sees_of_the_documents(parts: list[list[int]]) -> None:
    lengths = [length for part in parts for length in part]
    if sum(lengths) < 4:
        return
    for part in store_of(lengths).split(0.5):
        seen = part.document_ends(np.arange(part.num_documents))
        if np.diff(seen, prepend=0).max() > 1:
            rows, counted = rows_and_counted(Windows(part, 5, policy="pack"))
            assert np.count_nonzero(counted) == part.num_tokens - part.num_documents
            assert set(rows[:, 1:][counted].tolist()) < set(part.tokens().tolist())


def on_disk(folder: Path) -> TokenStore:
    texts = ["word " * n for n in (1, 30, 7, 7, 90, 3)]
    return prepare(iter(texts), folder, tokenizer="bytes")["train"]


def the_cache_file() -> Path:
    (file,) = cache_folder().glob("pack-*")
    return file


def test_the_index_is_kept_in_the_cache_and_never_in_the_store(tmp_path: Path) -> None:
    store = on_disk(tmp_path / "corpus")
    before = sorted(path for path in (tmp_path / "corpus").rglob("*"))
    first = Windows(store, 16, policy="pack").layout
    written = the_cache_file().stat().st_mtime_ns
    again = Windows(open_store(tmp_path / "corpus" / "train"), 16, policy="pack").layout
    assert isinstance(first, Pieces)
    assert isinstance(again, Pieces)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert the_cache_file().stat().st_mtime_ns == written
    assert sorted(path for path in (tmp_path / "corpus").rglob("*")) == before


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        *(("flipped", place) for place in range(12, 60)),
        ("flipped", 20),
        ("flipped", -20),
        ("cut", 0),
        ("foreign", 0),
        ("empty", 0),
        ("other", 0),
    ],
)
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: str, place: int) -> None:
    store = on_disk(tmp_path / "corpus")
    expected = Windows(store, 16, policy="pack").layout
    file = the_cache_file()
    whole = file.read_bytes()
    data = bytearray(whole)
    data[place] ^= 1  # a digit becomes another digit
    damaged = {"cut": whole[:-40], "foreign": b"none of ours", "empty": b"", "other": b'{"arrays": [[1]], "crc32": 0}'}
    file.unlink()  # what is mapped stays as it was
    file.write_bytes(damaged.get(damage, data))
    again = Windows(store, 16, policy="pack").layout
    assert isinstance(expected, Pieces)
    assert isinstance(again, Pieces)
    assert all(np.array_equal(a, b) for a, b in zip(expected, again, strict=True))
    assert the_cache_file().read_bytes() == whole


def test_an_index_made_of_other_boundaries_is_not_that_of_the_store_restored(tmp_path: Path) -> None:
    """Though the manifest, and so the fingerprint, is the same."""
    sound = Windows(on_disk(tmp_path / "corpus"), 16, policy="pack").rows(np.arange(3))[0]
    (the_cache_file()).unlink()
    path = tmp_path / "corpus/train/documents-00000.npy"
    whole = path.read_bytes()
    ends = np.load(path)
    ends[1] += 2
    np.save(path, ends)
    other = Windows(open_store(tmp_path / "corpus/train"), 16, policy="pack").rows(np.arange(3))[0]
    assert not np.array_equal(other, sound)
    path.write_bytes(whole)
    assert np.array_equal(
        Windows(open_store(tmp_path / "corpus/train"), 16, policy="pack").rows(np.arange(3))[0], sound
    )


def test_a_part_of_a_store_has_an_index_of_its_own(tmp_path: Path) -> None:
    store = on_disk(tmp_path / "corpus")
    for part in (store, *store.split(0.5), *store.split(0.25)):
        packed = Windows(part, 16, policy="pack").layout
        expected = Windows(
            TokenStore.from_ids(part.tokens(), document_ends=part.document_ends(np.arange(part.num_documents))),
            16,
            policy="pack",
        ).layout
        assert all(np.array_equal(a, b) for a, b in zip(packed, expected, strict=True))


def test_without_a_home_nothing_is_kept_and_that_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert Windows(on_disk(tmp_path / "corpus"), 16, policy="pack").num_samples


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Windows(on_disk(tmp_path / "corpus"), 16, policy="pack").num_samples
