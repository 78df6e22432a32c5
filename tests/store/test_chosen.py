"""Chosen documents, against a store that is made of just these, and over one that is prepared."""

import pickle
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from look_helpers import harmful_corpus
from windrow import Loader, Mixture, TokenStore, Windows
from windrow.audit.check import certify
from windrow.audit.sizes import RunSizes
from windrow.errors import WindrowError
from windrow.look.when import sightings
from windrow.store.line import Line
from windrow.store.origins import Origins
from windrow.store.search import find_text
from windrow.testing import assert_elastic, assert_resumes
from windrow.windows.windows import POLICIES

EOS = 60_000


@st.composite
def views(draw: st.DrawFn) -> tuple[TokenStore, list[list[int]]]:
    """A view of a store of several shards, chosen, cut and chosen again, and the tokens of its documents."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=12))
    ids, ends = np.arange(sum(lengths), dtype=np.uint16), np.cumsum(lengths)
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(ids)), max_size=3))), len(ids)]
    inside = [ends[(ends > a) & (ends <= b)] - a for a, b in pairwise(edges)]
    counts = [ids[a:b] % 3 < 2 for a, b in pairwise(edges)] if draw(st.booleans()) else []
    line = Line([ids[a:b] for a, b in pairwise(edges)], inside, ids.dtype, counts=[c.view(np.uint8) for c in counts])
    store = TokenStore(line, eos_id=EOS)
    documents = [ids[a:b].tolist() for a, b in pairwise([0, *ends.tolist()])]
    store, documents = draw(chosen(store, documents))
    for step in draw(st.lists(st.sampled_from([chosen, cut]), max_size=3)):
        store, documents = draw(step(store, documents))
    return store, documents


@st.composite
def chosen(draw: st.DrawFn, store: TokenStore, documents: list[list[int]]) -> tuple[TokenStore, list[list[int]]]:
    if draw(st.booleans()):
        mask = draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)).filter(any))
        return store.select(mask), [document for document, here in zip(documents, mask, strict=True) if here]
    numbers = draw(st.permutations(range(len(documents))))[: draw(st.integers(1, len(documents)))]
    return store.select(numbers), [documents[number] for number in numbers]


@st.composite
def cut(draw: st.DrawFn, store: TokenStore, documents: list[list[int]]) -> tuple[TokenStore, list[list[int]]]:
    num = sum(map(len, documents))
    place = int(np.floor(num * 0.6))
    if not 0 < place < num:
        return store, documents
    side = draw(st.sampled_from([0, 1]))
    first, last = [(0, place), (place, num)][side]
    spans = [*pairwise(np.cumsum([0, *map(len, documents)]).tolist())]
    held = [d[max(first - a, 0) : max(last - a, 0)] for d, (a, _) in zip(documents, spans, strict=True)]
    return store.split(0.4)[side], [document for document in held if document]


def made_of(documents: list[list[int]], *, has_counts: bool = False) -> TokenStore:
    """A store of these documents, in which two of three ids count, or all."""
    ids = np.array([token for document in documents for token in document], np.uint16)
    counts = ids % 3 < 2 if has_counts else None
    return TokenStore.from_ids(ids, eos_id=EOS, document_ends=np.cumsum([*map(len, documents)]), counts=counts)


@settings(max_examples=300)
@given(views(), st.booleans(), st.data())
def test_a_view_reads_like_a_store_of_just_these_documents(made: Any, pickled: bool, data: st.DataObject) -> None:
    view, documents = made
    if pickled:
        view = pickle.loads(pickle.dumps(view))
    whole = made_of(documents, has_counts=view.has_counts)
    num, numbers = whole.num_tokens, np.arange(-1, len(documents))
    assert (view.num_tokens, view.num_documents, view.num_ended) == (num, len(documents), 0)
    assert [view.document(number).tolist() for number in range(len(documents))] == documents
    assert view.document_ends(numbers).tolist() == whole.document_ends(numbers).tolist()
    places = np.array(data.draw(st.lists(st.integers(0, num - 1), min_size=2, max_size=2)))[:, None]
    assert view.document_at(places).tolist() == whole.document_at(places).tolist()
    length = data.draw(st.integers(1, num))
    starts = np.array(data.draw(st.lists(st.integers(0, num - length), max_size=6)), dtype=np.int64)
    gathered = view.gather(starts, length)
    assert (gathered.tolist(), gathered.dtype) == (whole.gather(starts, length).tolist(), np.uint16)
    counts = view.counts_at(starts, np.full(len(starts), length))
    assert counts.tolist() == (gathered.ravel() % 3 < 2 if view.has_counts else np.ones(gathered.size, bool)).tolist()
    starts = np.append(starts, data.draw(st.sampled_from([[], [-1], [-1, 0]]))).astype(np.int64)
    lengths = np.full(len(starts), length)
    assert view.stretches(starts, lengths, 7).tolist() == whole.stretches(starts, lengths, 7).tolist()
    for start in (-1, num - length + 1):
        with pytest.raises(IndexError, match="leave the store"):
            view.gather(np.array([start]), length)


@given(views())
def test_chosen_has_the_number_of_each_document_in_the_store_it_was_chosen_from(made: Any) -> None:
    store, documents = made
    numbers = np.flip(np.arange(len(documents)))
    view = store.select(numbers)
    for part in (view, *(view.split(0.4) if view.num_tokens > 1 else ())):
        for number in range(part.num_documents):
            there = documents[part.chosen[number]]
            here = part.document(number).tolist()
            assert here in (there, there[: len(here)], there[-len(here) :])
    assert view.chosen.tolist() == numbers.tolist()
    assert TokenStore.from_ids([1]).chosen is None


@settings(max_examples=300)
@given(views(), st.sampled_from(POLICIES), st.sampled_from(["store", "epoch"]), st.integers(1, 7))
def test_rows_of_every_policy_are_those_of_a_store_of_just_these(
    made: Any, policy: Any, order: Any, length: int
) -> None:
    view, documents = made
    tail = {"tail": "pad"} if policy == "concat" else {}
    if max(map(len, documents)) < 2:
        return
    ours, theirs = (
        Windows(store, length, policy=policy, documents="store" if policy == "bos" else order, **tail)
        for store in (view, made_of(documents, has_counts=view.has_counts))
    )
    ids = np.arange(len(theirs))
    assert len(ours) == len(theirs)
    for epoch in (0, 1):
        for here, there in zip(ours.rows(ids, epoch), theirs.rows(ids, epoch), strict=True):
            assert np.array_equal(here, there)
        assert np.array_equal(ours.documents(ids, epoch), theirs.documents(ids, epoch))
    assert ours.max_documents == theirs.max_documents


def test_a_store_without_one_document_is_read_in_two_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TokenStore.from_ids(np.arange(3000), document_ends=np.arange(3, 3001, 3))
    view, seen = store.select(np.arange(1000) != 500), []
    real = store.stretches
    monkeypatch.setattr(store, "stretches", lambda starts, *rest: seen.append(len(starts)) or real(starts, *rest))
    assert view.tokens().tolist() == [*range(1500), *range(1503, 3000)]
    assert seen == [2]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([0, 2, 0], "has number 0 more than once"),
        ([0, 5], "has number 5, and those of the store run from 0 to 4"),
        ([-1], "has number -1"),
        (np.array([2**64 - 1], np.uint64), "whole numbers below 2\\*\\*63"),
        ([True, False], r"\(2,\) bool, .* or of bool with one for each of the store\'s 5 documents"),
        ([1, 0, 0, 1, 0], "a mask of 0 and 1 as bool"),
        ([], "chooses none of the store's 5"),
        ([False] * 5, "chooses none of the store's 5"),
        ([0.5, 2.0, 1.0, 3.0, 4.0], "must be whole numbers"),
        ([[0, 1]], r"\(1, 2\) int64, and it is one row"),
        (3, r"\(\) int64"),
        ("web", r"\(\) <U3"),
        ([2**70], "must be whole numbers"),
        (None, r"\(\) object"),
    ],
)
def test_what_names_no_documents_raises(documents: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenStore.from_ids(np.arange(10), document_ends=[2, 4, 6, 8, 10]).select(documents)


def test_what_was_chosen_does_not_follow_the_array_that_said_so() -> None:
    numbers = np.array([1, 0])
    view = TokenStore.from_ids([4, 5], document_ends=[1, 2]).select(numbers)
    numbers[:] = 0
    assert view.tokens().tolist() == [5, 4]
    assert view.chosen is not None
    assert view.chosen.tolist() == [1, 0]


def test_fingerprints_tell_the_store_and_the_numbers_and_their_order() -> None:
    store, other = (TokenStore.from_ids(ids, document_ends=[1, 2, 4]) for ids in ([1, 2, 3, 4], [1, 2, 3, 5]))
    views = [
        store,
        other,
        other.select([0, 1]),
        *(store.select(numbers) for numbers in ([0], [0, 1], [1, 0], [0, 1, 2])),
    ]
    views += [store.select([0, 1]).select([0, 1]), *store.select([1, 0]).split(0.5)]
    assert len({view.fingerprint for view in views}) == len(views)
    assert store.select([True, True, False]).fingerprint == store.select(np.array([0, 1], np.uint8)).fingerprint
    assert store.select([0, 1]).boundaries != store.select([0, 2]).boundaries


# -- a prepared store ----------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return harmful_corpus(tmp_path)


def test_a_view_of_a_prepared_store_keeps_its_meaning_and_the_origins_of_its_documents(corpus: Path) -> None:
    store = wr.open_store(corpus)
    numbers = [30, 4, 5, 0, 12]
    for view in (
        store.select(numbers),
        pickle.loads(pickle.dumps(store.select([9, *numbers]).select([1, 2, 3, 4, 5]))),
    ):
        for number, there in enumerate(numbers):
            assert view.decode(*view.document_span(number)) == store.decode(*store.document_span(there))
            assert Origins(view).of([number])[number] == Origins(store).of([there])[there]
        assert Origins(view).documents_at("web.jsonl", 4) == [1]
        assert Origins(view.split(0.4)[1]).documents_at("web.jsonl", 12) == [view.split(0.4)[1].num_documents - 1]
        with pytest.raises(WindrowError, match="line 6 of"):
            Origins(view).documents_at("web.jsonl", 6)
        ((start, stop),) = find_text(view, "line 5 of")
        assert view.decode(start, stop) == "line 5 of"
        assert view.document_at(np.array([start])).tolist() == [2]
        assert view.num_ended == view.num_documents == 5


def test_a_pickled_view_of_a_prepared_store_is_its_numbers_and_no_tokens(tmp_path: Path) -> None:
    wr.prepare(iter(["hay " * 50_000, "rain"]), tmp_path / "corpus", tokenizer="bytes")
    view = wr.open_store(tmp_path / "corpus" / "train").select([1, 0])
    assert len(pickle.dumps(view)) < 10_000


def test_packings_of_two_views_of_a_store_are_kept_apart(corpus: Path) -> None:
    store = wr.open_store(corpus)
    for numbers in ([0, 1, 2, 3], [3, 9, 1, 0], [3, 9, 1, 0]):
        view = store.select(numbers)
        whole = made_of([view.document(number).tolist() for number in range(4)])
        ours, theirs = (Windows(one, 16, policy="pack").documents(np.arange(3)) for one in (view, whole))
        assert np.array_equal(ours, theirs)


def test_the_certificate_looks_at_views_and_at_the_files_below_them(corpus: Path) -> None:
    store, sizes = wr.open_store(corpus), RunSizes(8, 8, 2)
    train, valid = store.select(np.arange(40) % 4 > 0), store.select([4, 8, 0])
    made = certify(corpus, sizes, stores={"train": train, "valid": valid})
    assert [finding for finding in made.findings if finding.status not in ("ok", "advice")] == []
    assert made.fingerprint == train.fingerprint
    shuffled = certify(corpus, sizes, stores={"train": store.select(np.arange(40)[::-1]), "valid": valid})
    (failed,) = (finding for finding in shuffled.findings if finding.status == "failed")
    assert failed.evidence == "document 0 of valid is document 35 of train (in all 3): use --dedupe"
    (corpus / "tokens-00000.bin").write_bytes((corpus / "tokens-00000.bin").read_bytes()[::-1])
    broken = certify(corpus, sizes, stores={"train": train, "valid": valid})
    assert "files are those that were written" in {f.name for f in broken.findings if f.status == "failed"}


# -- mixtures ------------------------------------------------------------------------------------------------------


def buckets(batch_size: int = 2, dp_rank: int = 0, dp_world_size: int = 1, **kwargs: Any) -> Loader:
    """Good documents twice as often as bad ones, and one that is left out of both."""
    lengths = np.arange(30) % 7 + 2
    store = TokenStore.from_ids(np.arange(lengths.sum()), eos_id=EOS, document_ends=np.cumsum(lengths))
    scores = np.arange(30) % 5
    good, bad = scores >= 3, (scores < 3) & (np.arange(30) != 6)
    windows = {name: Windows(store.select(mask), 5, **kwargs) for name, mask in [("good", good), ("bad", bad)]}
    mixture = Mixture({name: (each, weight) for (name, each), weight in zip(windows.items(), (2, 1), strict=True)})
    return Loader(mixture, batch_size, dp_rank=dp_rank, dp_world_size=dp_world_size, seed=3, epochs=None)


@pytest.mark.parametrize(
    "kwargs", [{"policy": "pack"}, {"documents": "epoch"}, {"policy": "pack", "documents": "epoch"}]
)
def test_buckets_of_one_store_resume_and_are_one_stream(kwargs: Any) -> None:
    assert_resumes(lambda: buckets(**kwargs), 9)
    whole = np.concatenate([buckets(1, **kwargs)[step].inputs for step in range(34)])
    assert_elastic(lambda *sizes: buckets(*sizes, **kwargs), [(2, 2, 3), (5, 1, 2), (1, 3, 4)], whole)


@pytest.mark.parametrize("kwargs", [{}, {"policy": "pack"}, {"policy": "pad", "documents": "epoch"}])
def test_the_ledger_of_buckets_balances_over_the_tokens_of_the_view(kwargs: Any) -> None:
    loader = buckets(**kwargs)
    targets = Counter(
        token for step in range(loader.epoch_samples // 2) for token in loader[step].targets.ravel().tolist()
    )
    for name, member in wr.plan(loader, epochs=1).members.items():
        store = loader.members[name].store
        times = Counter(targets[token] for token in store.tokens().tolist())
        member.check()
        assert (member.num_tokens, member.times_target) == (store.num_tokens, times)


@pytest.mark.parametrize("kwargs", [{}, {"documents": "epoch"}, {"policy": "pack", "documents": "epoch"}])
def test_when_a_document_of_a_view_comes_is_where_its_tokens_are(kwargs: Any) -> None:
    loader = buckets(**kwargs)
    store = loader.members["bad"].store
    start, stop = store.document_span(4)
    found = {
        (seen.position, token)
        for seen in sightings(loader, start, stop, epochs=2, member="bad")
        for token in store.tokens(seen.first, seen.stop).tolist()
    }
    wanted, held = set(store.document(4).tolist()), set()
    for step in range(2 * loader.epoch_samples // 2):
        batch = loader[step]
        for row, (x, y) in enumerate(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)):
            held |= {(2 * step + row, token) for token in {*x, *y} & wanted}
    assert found == {one for one in held if one[0] < 2 * loader.epoch_samples}


def test_exclusions_name_the_documents_of_the_view() -> None:
    loader = buckets(policy="pad")
    store = loader.members["good"].store
    loader.exclude(documents=[2], member="good")
    hidden = set(store.document(2).tolist())
    targets = {t for step in range(loader.epoch_samples // 2) for t in loader[step].targets.ravel().tolist()}
    assert not targets & hidden
    assert set(store.document(3).tolist()[1:]) <= targets
