"""Targets that the data chooses, against plain loops over places: every policy, output and mixture takes part."""

import pickle
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import EOS, corpora, counting, store_of
from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import StoreError
from windrow.look.explain import explain
from windrow.look.report_data import coverage
from windrow.look.when import sightings
from windrow.store.line import Line
from windrow.windows.windows import POLICIES, Policy

KEY = (3, "talk")
LENGTHS = [4, 9, 1, 2, 17, 6]


@st.composite
def twins(draw: st.DrawFn) -> tuple[Windows, Windows, list[bool]]:
    """The same windows over a store with counts and over one without, and the counts; an id tells its place."""
    store, lengths, max_length = draw(corpora())
    counts = draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths)))
    policy: Policy = draw(st.sampled_from([*POLICIES, "evaluation"]))
    choices: dict[str, Any] = {"policy": policy}
    if policy in ("concat", "evaluation"):
        choices["stride"] = draw(st.integers(1, max_length))
    if policy == "concat":
        choices |= draw(st.sampled_from([{}, {"tail": "pad"}, {"phase": "epoch"}]))
        if sum(lengths) < max_length + choices["stride"] + 1:
            choices = {"tail": "pad"}
    if policy in ("concat", "pack"):
        choices["documents"] = draw(st.sampled_from(["store", "epoch"]))
    return Windows(counting(store, counts), max_length, **choices), Windows(store, max_length, **choices), counts


@settings(max_examples=400)
@given(twins(), st.integers(0, 2))
def test_a_target_counts_where_its_token_does_and_the_policy_lets_it(made: Any, epoch: int) -> None:
    chosen, plain, counts = made
    ids = np.arange(len(plain))
    assert len(chosen) == len(plain)
    rows, mask = chosen.rows(ids, epoch, key=KEY)
    same_rows, before = plain.rows(ids, epoch, key=KEY)
    assert np.array_equal(rows, same_rows)
    before = np.ones((len(ids), plain.max_length), bool) if before is None else before
    expected = [
        [was and counts[target] for was, target in zip(row, targets, strict=True)]
        for row, targets in zip(before.tolist(), np.where(rows[:, 1:] == EOS, 0, rows[:, 1:]).tolist(), strict=True)
    ]
    assert mask is not None
    assert mask.tolist() == expected


@settings(max_examples=100)
@given(corpora(), st.data())
def test_counts_are_those_of_their_places_over_shards_in_splits_and_pickled(corpus: Any, data: st.DataObject) -> None:
    store, lengths, _ = corpus
    n = sum(lengths)
    counts = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=3))), n]
    ends, flags = np.cumsum(lengths), np.array(counts, dtype=np.uint8)
    line = Line(
        [store.tokens(a, b) if b > a else store.tokens()[:0] for a, b in pairwise(edges)],
        [ends[(ends > a) & (ends <= b)] - a for a, b in pairwise(edges)],
        store.dtype,
        counts=[flags[a:b] for a, b in pairwise(edges)],
    )
    whole = pickle.loads(pickle.dumps(TokenStore(line, eos_id=EOS)))
    sides = [(whole, 0)]
    if n > 1:
        cut = int(np.floor(n * 0.5))
        sides += list(zip(whole.split(0.5), (0, cut), strict=True))
    for side, first in sides:
        starts = data.draw(st.lists(st.integers(0, side.num_tokens - 1), max_size=5))
        spans = [(start, data.draw(st.integers(1, side.num_tokens - start))) for start in starts]
        places = [np.array([span[i] for span in spans], dtype=np.int64) for i in (0, 1)]
        found = side.counts_at(*places)
        assert found.dtype == np.bool_
        assert found.tolist() == [one for a, m in spans for one in counts[first + a : first + a + m]]


def talk(first: int = 0) -> TokenStore:
    """Documents over ids that tell their places, of which every third token counts."""
    store = store_of(LENGTHS, first)
    return counting(store, np.arange(store.num_tokens) % 3 == 1)


def test_counts_enter_the_fingerprint_and_none_are_none() -> None:
    store = store_of(LENGTHS)
    all_count = counting(store, np.ones(store.num_tokens, dtype=int))
    prints = {one.fingerprint for one in (store, all_count, talk(), talk().split(0.5)[0])}
    assert len(prints) == 4
    assert (store.has_counts, all_count.has_counts) == (False, True)
    assert store.counts_at(np.array([2, 0]), np.array([3, 1])).tolist() == [True] * 4


@pytest.mark.parametrize("counts", [[1, 0], [0, 1, 2], [0, -1, 1], [0.0, 1.0, 1.0], [[0, 1, 1]], ["0", "1", "1"], 1])
def test_counts_that_are_not_0_or_1_for_each_id_are_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match=r"counts must be 3 times 0 or 1, one an id, and these are \("):
        TokenStore.from_ids([5, 6, 7], counts=counts)


def test_bytes_that_are_neither_0_nor_1_are_refused_where_they_are_read() -> None:
    ids = np.arange(6, dtype=np.uint16)
    line = Line([ids], [np.array([6])], ids.dtype, counts=[np.array([0, 1, 1, 1, 7, 0], dtype=np.uint8)])
    windows = Windows(TokenStore(line, eos_id=0), 2)
    assert windows.rows(np.array([0]))[1].tolist() == [[True, True]]  # type: ignore[union-attr]
    with pytest.raises(StoreError, match=r"the counts of TokenStore\(.* hold 7, and they are 0 and 1"):
        windows.rows(np.array([1]))[1]


def test_a_stretch_that_leaves_the_store_has_no_counts() -> None:
    with pytest.raises(IndexError, match="leave the store"):
        talk().split(0.5)[0].counts_at(np.array([15]), np.array([9]))


def test_a_mixture_takes_each_members_counts_and_has_all_of_a_member_without() -> None:
    plain, chosen = store_of(LENGTHS, 1000), talk()
    mixture = Mixture({"plain": (Windows(plain, 4), 1.0), "talk": (Windows(chosen, 4, policy="pack"), 2.0)})
    alone = Loader(Windows(chosen, 4, policy="pack"), 1, shuffle=False)
    of_window = {alone.lookup(step)[0].window: alone[step].targets[0].tolist() for step in range(len(alone))}
    loader, seen = Loader(mixture, 3, mask_targets=None), set[str]()
    for step in range(len(loader)):
        for sample, targets in zip(loader.lookup(step), loader[step].targets.tolist(), strict=True):
            seen.add(sample.member)
            assert -100 not in targets if sample.member == "plain" else targets == of_window[sample.window]
    assert seen == {"plain", "talk"}


@pytest.mark.parametrize("stride", [2, 4])
def test_an_evaluation_scores_each_target_that_counts_once(stride: int) -> None:
    store = talk()
    batches = list(Loader.evaluation(Windows(store, 4, stride), 3))
    scored = sorted(int(target) for batch in batches for target in batch.targets[batch.targets != -100])
    assert scored == [place for place in range(1, store.num_tokens) if place % 3 == 1]
    assert sum(batch.num_targets for batch in batches) == len(scored)


def test_masks_of_document_edges_and_of_the_data_hold_together() -> None:
    windows, seen = Windows(talk(), 4), set[int]()
    first = {0, *np.cumsum(LENGTHS).tolist()}
    for batch in Loader(windows, 1, mask_targets="document_edges"):
        seen |= set(batch.targets[batch.targets != -100].tolist())
    assert seen == {place for place in range(1, 1 + 4 * len(windows)) if place % 3 == 1 and place not in first}


def test_what_explains_looks_up_and_covers_knows_what_counts() -> None:
    windows = Windows(talk(), 4)
    loader = Loader(windows, 2, shuffle=False)
    for row in explain(loader, 0).rows:
        assert [target for target in row.targets if target != -100] == [i + 1 for i in row.inputs if (i + 1) % 3 == 1]
    (seen,) = sightings(loader, 1, 5)[:1]
    assert (seen.first, seen.stop, seen.num_targets) == (1, 5, 2)  # of 1, 2, 3 and 4, 1 and 4 count
    covered = coverage(loader, windows, "")
    assert covered is not None
    assert [times for _, _, times in covered[0]][:6] == [0, 1, 0, 0, 1, 0]


def test_what_cannot_hold_a_mask_says_so() -> None:
    windows = Windows(talk(), 4)
    with pytest.raises(ValueError, match="context by the data"):
        Loader(windows, 2, dtype=np.uint16)
    with pytest.raises(ValueError, match="over a store without counts"):
        Loader(windows, 2, device="cpu", resident=True)


def test_nothing_changes_for_a_store_without_counts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = Windows(store_of(LENGTHS), 4)
    assert not windows.may_mask
    assert windows.rows(np.arange(len(windows)))[1] is None
