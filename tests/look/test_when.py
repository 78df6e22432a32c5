"""when: what a step holds and when a document comes are inverses, at any size, at a cost that is bounded."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from look_helpers import store_of
from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import WindrowError
from windrow.look.explain import explain, rows_of
from windrow.look.when import print_sightings, sightings
from windrow.store.line import Line


@st.composite
def loaders(draw: st.DrawFn) -> Loader:
    lengths = draw(st.lists(st.integers(1, 30), min_size=3, max_size=12).filter(lambda n: sum(n) > 24))
    store, policy = store_of(lengths), draw(st.sampled_from(["concat", "concat", "pad", "pack", "bos"]))
    kind = {"policy": policy}
    if policy == "concat":
        phase = draw(st.sampled_from([0, "epoch"]))
        tail = draw(st.sampled_from(["drop", "pad"])) if phase == 0 else "drop"
        kind |= {"stride": draw(st.integers(1, 6)), "phase": phase, "tail": tail}
    if policy in ("concat", "pack"):
        kind |= {"documents": draw(st.sampled_from(["store", "epoch"]))}
    windows = Windows(store, 6, **kind)
    world = draw(st.integers(1, 3))
    sizes = {"dp_world_size": world, "drop_last": draw(st.booleans()), "epochs": draw(st.sampled_from([1, None]))}
    batch_size = draw(st.integers(1, max(1, len(windows) // world)))
    if len(windows) < batch_size * world:
        sizes["drop_last"] = False
    return Loader(windows, batch_size, seed=draw(st.integers(0, 9)), dp_rank=0, **sizes)


def on_rank(loader: Loader, rank: int) -> Loader:
    (windows,) = loader.members.values()
    tail = loader.sizes.tail
    made = Loader(
        windows,
        loader.batch_size,
        seed=loader.seed,
        dp_rank=rank,
        dp_world_size=loader.dp_world_size,
        drop_last=tail != "keep",
        epochs=None if tail == "straddle" else 1,
    )
    made.load_state_dict(loader.state_dict())
    return made


@settings(max_examples=60)
@given(loaders(), st.data())
def test_when_finds_exactly_the_rows_that_show_shows(loader: Loader, data: st.DataObject) -> None:
    (windows,) = loader.members.values()
    assert isinstance(windows, Windows)
    document = data.draw(st.integers(0, windows.store.num_documents - 1))
    start, stop = windows.store.document_span(document)
    found = sightings(loader, start, stop, epochs=2)
    by_when = {(s.step, s.dp_rank, s.row) for s in found if s.step is not None}
    by_show = set()
    ranks = [on_rank(loader, rank) for rank in range(loader.dp_world_size)]
    step = 0
    while loader._stream.segments.position_of(step) < 2 * loader.epoch_samples:
        for rank, one in enumerate(ranks):
            for sample, row in zip(one.lookup(step), rows_of(one, step), strict=True):
                last = windows.documents(np.array([sample.window]), np.array([sample.epoch]), key=(loader.seed, ""))[0]
                if sample.position < 2 * loader.epoch_samples and document in last:
                    by_show.add((step, rank, row.row))
        step += 1
    assert by_when == by_show


@settings(max_examples=40)
@given(loaders())
def test_the_tokens_of_a_sighting_stand_at_its_place_of_its_row(loader: Loader) -> None:
    (windows,) = loader.members.values()
    assert isinstance(windows, Windows)
    store = windows.store
    for one in sightings(loader, 0, store.num_tokens, epochs=2):
        if one.step is None:
            continue
        inputs, _ = on_rank(loader, one.dp_rank)[one.step]
        read = inputs[one.row][one.place : one.place + one.stop - one.first]
        assert read.tolist() == store.tokens(one.first, one.stop)[: len(read)].tolist()
        assert 0 <= one.num_targets <= one.stop - one.first


def test_the_targets_of_a_stretch_over_an_epoch_are_counted_once_each() -> None:
    loader = Loader(Windows(store_of([40, 30, 31]), 10), batch_size=1)
    found = sightings(loader, 40, 70)
    assert sum(one.num_targets for one in found) == 30


def test_a_member_of_a_mixture_is_found_in_the_steps_that_draw_from_it() -> None:
    a, b = (Windows(store_of([50] * n), 8, 4) for n in (4, 9))
    loader = Loader(Mixture({"a": (a, 0.5), "b": (b, 0.5)}), batch_size=2, seed=3)
    found = sightings(loader, 60, 70, member="a", epochs=2)
    assert len({one.epoch for one in found}) > 2
    for one in found:
        if one.step is not None:
            sample = loader.lookup(one.step)[one.row]
            assert (sample.member, sample.window, sample.epoch) == ("a", one.window, one.epoch)
    with pytest.raises(WindrowError, match="which member"):
        sightings(loader, 0, 1)


def test_a_resume_with_other_sizes_moves_what_comes_after_it_and_nothing_before() -> None:
    windows = Windows(store_of([200]), 5, 1)
    first = Loader(windows, batch_size=2, epochs=None)
    for _, _batch in zip(range(20), first, strict=False):
        pass
    later = Loader(windows, batch_size=7, epochs=None)
    later.load_state_dict(first.state_dict())
    for one in sightings(later, 100, 101, epochs=3):
        assert one.step is not None
        assert later.lookup(one.step)[one.row].window == one.window
        assert (one.step < 20) == (one.position < 40)


def test_what_is_skipped_or_dropped_is_never_seen() -> None:
    loader = Loader(Windows(store_of([100]), 3, 1), batch_size=7)
    never = [one for one in sightings(loader, 0, 100) if one.step is None]
    assert len(never) == loader.num_dropped == len(Windows(store_of([100]), 3, 1)) % 7
    loader.skip(21)
    assert sum(one.step is None for one in sightings(loader, 0, 100)) == loader.num_dropped + 21


class _Counting(TokenStore):
    """Counts the tokens that are read."""

    num_read = 0

    def gather(self, starts, length):  # type: ignore[no-untyped-def]
        type(self).num_read += len(starts) * length
        return super().gather(starts, length)


def test_show_and_when_read_no_more_of_a_billion_tokens_than_the_rows_asked_for(tmp_path: Path) -> None:
    num_tokens, num_documents = 10**9, 10**6
    with open(tmp_path / "tokens.bin", "wb") as file:
        file.truncate(2 * num_tokens)  # sparse: no disk is used
    tokens = np.memmap(tmp_path / "tokens.bin", dtype="<u2", mode="r")
    ends = np.arange(1, num_documents + 1) * (num_tokens // num_documents)
    store = _Counting(Line([tokens], [ends], np.dtype("u2")), eos_id=0, fingerprint="f" * 64)
    store._tokenizer = "gpt2"
    loader = Loader(Windows(store, 1024), batch_size=4, seed=1, dp_rank=3, dp_world_size=8, epochs=None)
    for step in (0, 48_211, 10**9):
        _Counting.num_read = 0
        made = explain(loader, step)
        assert _Counting.num_read == 4 * 1025
        assert len(made.rows) == 4
    _Counting.num_read = 0
    start, stop = store.document_span(812)
    found = sightings(loader, start, stop, epochs=5)
    assert _Counting.num_read == 0
    assert 5 <= len(found) <= 15
    for one in found:
        assert one.step is not None
        place = Loader(Windows(store, 1024), 4, seed=1, dp_rank=one.dp_rank, dp_world_size=8, epochs=None)
        assert place.lookup(one.step)[one.row].window == one.window


def test_of_very_many_sightings_those_that_are_looked_at_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(Windows(TokenStore.from_ids(np.zeros(400_001, np.uint16), eos_id=1), 8, 2), 16, seed=3)
    made: list[int] = []
    monkeypatch.setattr("windrow.look.when.Sighting", lambda *fields: made.append(fields[0]) or fields)
    found = sightings(loader, 0, 400_001, epochs=2)
    console = Console(file=io.StringIO(), width=100)
    monkeypatch.setattr("windrow.look.when._rows", lambda shown: [["row"] * 7 for _ in shown])
    print_sightings(console, [({"label": "all", "start": 0, "stop": 400_001}, found)], 2, most=40)
    assert len(found) == 2 * len(loader.members[""])
    assert len(made) == 40
    assert made == sorted(made)


def staged(store: TokenStore) -> Loader:
    """A mixture whose second stage begins within its step 25, which has 10 rows."""
    windows = Windows(store, 4)
    mixture = Mixture({"a": (windows, 1), "b": (windows, 1)}, stages={256: {"a": 1, "b": 0}}, block=256)
    return Loader(mixture, 10, epochs=None)


def test_each_sighting_says_which_stage_it_belongs_to_where_there_is_more_than_one() -> None:
    loader = staged(TokenStore.from_ids(np.arange(400)))
    found = sightings(loader, 40, 41, member="a", epochs=2)
    assert {one.stage for one in found} == {0, 256}
    for one in found:
        assert one.stage == (0 if one.position < 256 else 256)
        assert one.to_json()["stage"] == one.stage
    console = Console(file=io.StringIO(), width=100)
    print_sightings(console, [({"label": "all", "start": 40, "stop": 41}, found)], 2, most=40)
    assert "stage from" in console.file.getvalue()
    plain = sightings(Loader(Windows(TokenStore.from_ids(np.arange(400)), 4), 10), 40, 41)
    assert "stage" not in plain[0].to_json()
