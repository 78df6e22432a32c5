"""documents="epoch": against plain loops that lay documents end to end, and that move pieces among their length.

Two thousand streams when WINDROW_EXHAUSTIVE is set (as in .ci/run).
"""

import os
import pickle
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import EOS, corpora, store_of
from windrow import Loader, Mixture, Windows
from windrow.errors import WindrowError
from windrow.look.when import sightings
from windrow.order.permutation import Permutation
from windrow.testing import assert_elastic, assert_resumes
from windrow.windows import document_rows, epoch_documents

KEY = (7, "web")
STREAMS = 2_000 if os.environ.get("WINDROW_EXHAUSTIVE") else 40


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of four documents, and sums of several of them, so that small stores have all of it."""
    monkeypatch.setattr(epoch_documents, "_GROUP", 4)
    monkeypatch.setattr(epoch_documents, "_MOST_SUMS", 5)
    monkeypatch.setattr(epoch_documents, "_SLICE", 16)
    monkeypatch.setattr(document_rows, "_MOST_KEPT", 6)


def laid(lengths: list[int], epoch: int, key: tuple[int, str] = KEY) -> list[int]:
    """The store's places in the order of the epoch's line."""
    ends = np.cumsum(lengths).tolist()
    numbers = list(range(len(lengths)))
    groups = [numbers[i : i + 4] for i in range(0, len(numbers), 4)]
    line: list[int] = []
    for group in Permutation(len(groups), "groups of documents", *key).forward(np.arange(len(groups)), epoch).tolist():
        size = len(groups[group])
        for inner in Permutation(size, "documents", *key).forward(np.arange(size), epoch, group).tolist():
            document = groups[group][inner]
            line += range(ends[document] - lengths[document], ends[document])
    return line


@st.composite
def concats(draw: st.DrawFn) -> tuple[Windows, list[int], dict[str, Any]]:
    store, lengths, max_length = draw(corpora())
    stride = draw(st.integers(1, max_length))
    chosen = draw(st.sampled_from([{}, {"phase": "epoch"}, {"tail": "pad"}]))
    if sum(lengths) < max_length + stride:
        chosen = {"tail": "pad"}
    return Windows(store, max_length, stride, documents="epoch", **chosen), lengths, chosen


@settings(max_examples=300)
@given(concats(), st.integers(0, 3))
def test_windows_are_cut_from_the_documents_as_the_epoch_lays_them(made: Any, epoch: int) -> None:
    windows, lengths, _ = made
    ids, line, length = np.arange(len(windows)), laid(lengths, epoch), windows.max_length
    offset = windows.layout.starts(ids[:1], epoch, key=KEY)[0]
    rows, mask = windows.rows(ids, epoch, key=KEY)
    for row, start in zip(rows.tolist(), range(offset, len(line), windows.stride), strict=False):
        held = line[start : start + length + 1]
        assert row == held + [EOS] * (length + 1 - len(held))
    counts = np.ones((len(ids), length), bool) if mask is None else mask
    assert counts.sum() == sum(min(length, len(line) - 1 - offset - i * windows.stride) for i in range(len(ids)))
    documents = windows.documents(ids, epoch, key=KEY)
    assert np.array_equal(documents[rows != EOS], windows.store.document_at(rows[rows != EOS].astype(np.int64)))
    assert (documents[rows == EOS] == -1).all()


@settings(max_examples=300)
@given(concats(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 4)), min_size=1, max_size=9))
def test_rows_of_several_epochs_asked_for_at_once_are_those_asked_for_alone(made: Any, asked: Any) -> None:
    windows, _, _ = made
    ids = np.array([number % len(windows) for number, _ in asked])
    epochs = np.array([epoch for _, epoch in asked])
    together = windows.gather(ids, epochs, key=KEY)
    for row, one, epoch in zip(together, ids, epochs, strict=True):
        assert np.array_equal(row, windows.gather(np.array([one]), int(epoch), key=KEY)[0])


@st.composite
def loaders(draw: st.DrawFn) -> Loader:
    store, lengths, max_length = draw(corpora())
    policy = draw(st.sampled_from(["concat", "pack"]))
    stride = draw(st.integers(1, max_length)) if policy == "concat" else None
    if policy == "concat" and sum(lengths) <= max_length:
        policy, stride = "pack", None
    windows = Windows(store, max_length, stride, policy=policy, documents="epoch")
    return Loader(windows, draw(st.integers(1, len(windows))), seed=draw(st.integers(0, 5)), epochs=None)


@settings(max_examples=300)
@given(loaders(), st.data())
def test_when_finds_exactly_the_rows_that_hold_the_tokens(loader: Loader, data: st.DataObject) -> None:
    (windows,) = loader.members.values()
    num = windows.store.num_tokens
    start = data.draw(st.integers(0, num - 1))
    stop = data.draw(st.integers(start + 1, num))
    found = {(s.epoch, s.window, p) for s in sightings(loader, start, stop, epochs=2) for p in range(s.first, s.stop)}
    for epoch in (0, 1):
        rows = windows.gather(np.arange(len(windows)), epoch, key=(loader.seed, ""))
        held = {(epoch, w, int(p)) for w, row in enumerate(rows) for p in row if start <= p < stop}
        assert {one for one in found if one[0] == epoch} == held


@settings(max_examples=200)
@given(corpora(), st.integers(0, 4))
def test_packed_pieces_change_places_with_pieces_of_their_length_only(corpus: Any, epoch: int) -> None:
    store, _, max_length = corpus
    fixed, moving = (Windows(store, max_length, policy="pack", documents=order) for order in ("store", "epoch"))
    ids = np.arange(len(fixed))
    before, after = fixed.spans(ids), moving.spans(ids, epoch, key=KEY)
    assert before.lengths.tolist() == after.lengths.tolist()
    assert before.row.tolist() == after.row.tolist()
    assert sorted(zip(before.starts, before.lengths, strict=True)) == sorted(
        zip(after.starts, after.lengths, strict=True)
    )
    assert np.array_equal(fixed.rows(ids)[1], moving.rows(ids, epoch, key=KEY)[1])


def kept_share(windows: Windows, epochs: int = 3) -> float:
    """The share of neighbouring documents that were neighbours in the epoch before too."""
    pairs = []
    for epoch in range(epochs):
        documents = windows.documents(np.arange(len(windows)), epoch, key=KEY).tolist()
        inside = [[one for one in row if one >= 0] for row in documents]
        pairs.append({pair for row in inside for pair in pairwise(row) if pair[0] != pair[1]})
    return float(np.mean([len(a & b) / len(b) for a, b in pairwise(pairs)]))


def shuffled_share(windows: Windows, seed: int) -> float:
    """The same, when pieces are exchanged within their length by a shuffle of NumPy's."""
    random, spans = np.random.default_rng(seed), windows.spans(np.arange(len(windows)))
    document, sets = windows.store.document_at(spans.starts), []
    for _ in range(2):
        moved = document.copy()
        for length in np.unique(spans.lengths):
            here = np.flatnonzero(spans.lengths == length)
            moved[here] = random.permutation(moved[here])
        same_row = spans.row[1:] == spans.row[:-1]
        sets.append({*zip(moved[:-1][same_row].tolist(), moved[1:][same_row].tolist(), strict=True)})
    return len(sets[0] & sets[1]) / len(sets[1])


@pytest.fixture
def _real_groups(monkeypatch: pytest.MonkeyPatch, _small_groups: None) -> None:
    monkeypatch.undo()


@pytest.mark.usefixtures("_real_groups")
def test_neighbours_are_kept_by_chance_only() -> None:
    lengths = [2 + int(n) for n in np.random.default_rng(0).integers(0, 60, 3000)]
    store = store_of(lengths)
    assert kept_share(Windows(store, 256)) > 0.99
    assert kept_share(Windows(store, 256, documents="epoch")) < 4 / len(lengths)
    packed = Windows(store, 256, policy="pack", documents="epoch")
    by_chance = np.mean([shuffled_share(packed, seed) for seed in range(8)])
    assert abs(kept_share(packed, 9) - by_chance) < 0.25 * by_chance + 0.002


@settings(max_examples=STREAMS)
@given(corpora(), st.sampled_from(["concat", "pack"]), st.integers(0, 9))
def test_streams_resume_at_any_batch_under_other_sizes_and_know_their_positions(
    corpus: Any, policy: Any, seed: int
) -> None:
    store, lengths, max_length = corpus
    if policy == "concat" and sum(lengths) <= max_length:
        policy = "pack"

    def make(batch: int = 3, rank: int = 0, world: int = 1) -> Loader:
        windows = Windows(store, max_length, policy=policy, documents="epoch")
        return Loader(windows, batch, seed=seed, epochs=None, dp_rank=rank, dp_world_size=world)

    assert_resumes(make, 4)
    alone = make(1)
    stream = np.concatenate([batch.inputs for batch, _ in zip(alone, range(60), strict=False)])
    assert_elastic(make, [(2, 2, 3), (5, 1, 2), (1, 3, 4)], stream)
    for sample in alone.lookup(len(stream) - 1) + make(3).lookup(2):
        assert alone.positions_of(sample.window, sample.epoch) == sample.position


def test_a_row_masks_the_same_targets_at_document_edges_as_its_documents_say() -> None:
    store = store_of([3, 5, 2, 9, 4, 1, 7, 6, 30])
    loader = Loader(Windows(store, 8, documents="epoch"), 2, mask_targets="document_edges", epochs=None)
    for step in range(12):
        inputs, targets = loader[step]
        wanted = np.append(inputs[:, 1:], targets[:, -1:], axis=1)
        counts = targets != -100
        assert np.array_equal(counts[:, :-1], store.document_at(inputs[:, :-1]) == store.document_at(inputs[:, 1:]))
        assert np.array_equal(wanted[counts], targets[counts])


@settings(max_examples=100)
@given(corpora())
def test_no_window_holds_more_documents_than_said(corpus: Any) -> None:
    store, lengths, max_length = corpus
    if sum(lengths) <= max_length:
        return
    windows = Windows(store, max_length, documents="epoch")
    held = [
        np.unique(row[:-1]).size for e in range(4) for row in windows.documents(np.arange(len(windows)), e, key=KEY)
    ]
    shortest = sorted(lengths)
    fitting = sum(sum(shortest[: n + 1]) <= max_length - 2 for n in range(len(shortest)))
    assert max(held) <= windows.max_documents == min(fitting + 2, len(lengths), max_length)


def test_a_member_of_a_mixture_has_an_order_of_its_own() -> None:
    a, b = (Windows(store_of([5] * 40, first), 8, documents="epoch") for first in (0, 1000))
    loader = Loader(Mixture({"a": (a, 1), "b": (b, 1)}), 4, seed=3)
    tokens = Counter(token for step in range(len(loader)) for token in loader[step].inputs.reshape(-1).tolist())
    assert set(tokens.values()) <= {1, 2}
    first, second = (w.documents(np.arange(len(w)), 0, key=(3, name)).tolist() for w, name in ((a, "a"), (b, "b")))
    assert first != second


@pytest.mark.parametrize("policy", ["bos", "evaluation"])
def test_policies_that_cannot_lay_documents_anew_say_why(policy: Any) -> None:
    with pytest.raises(ValueError, match=rf'documents is "epoch", and policy="{policy}" takes none: .+\. Leave'):
        Windows(store_of([5, 9, 30]), 8, policy=policy, documents="epoch")
    with pytest.raises(ValueError, match='documents is \'often\', and it is "store" or "epoch"'):
        Windows(store_of([5, 9, 30]), 8, documents="often")  # type: ignore[arg-type]


def test_the_recipe_names_it_and_a_state_of_the_other_order_is_refused() -> None:
    store = store_of([5, 9, 30])
    fixed, fresh = (Loader(Windows(store, 8, documents=order), 1) for order in ("store", "epoch"))
    assert '"documents":"epoch"' in fresh.recipe.replace(" ", "")
    assert "documents" not in fixed.recipe
    with pytest.raises(WindrowError, match="documents"):
        fresh.load_state_dict(fixed.state_dict())


@pytest.mark.parametrize("policy", ["concat", "pack"])
def test_windows_that_were_read_from_can_be_pickled(policy: Any) -> None:
    windows = Windows(store_of([5, 9, 30, 4, 4, 4]), 8, policy=policy, documents="epoch")
    rows = windows.gather(np.arange(3), 2, key=KEY)
    assert np.array_equal(pickle.loads(pickle.dumps(windows)).gather(np.arange(3), 2, key=KEY), rows)


def test_pad_has_a_document_a_row_and_nothing_to_change() -> None:
    store = store_of([5, 9, 30])
    recipes = [Windows(store, 8, policy="pad", documents=order).recipe() for order in ("store", "epoch")]
    assert recipes[0] == recipes[1]


def test_resident_tokens_lie_in_one_order_and_say_so() -> None:
    with pytest.raises(ValueError, match="documents='epoch'"):
        Loader(Windows(store_of([5, 9, 30]), 8, documents="epoch"), 1, device="cpu", resident=True)
