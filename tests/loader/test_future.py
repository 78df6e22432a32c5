"""What a mixture may do otherwise from a state on, and what of its past stays as it was."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import ResumeError, WindrowError
from windrow.loader.samples import Sample

BLOCK = 256
NAMES = ["code", "books", "web", "wiki"]
Weights = Mapping[str, float]


def numbered(num_samples: int, first: int = 0) -> Windows:
    return Windows(TokenStore.from_ids(np.arange(first, first + num_samples * 2 + 1)), 2)


WINDOWS = {name: numbered(num, 1000 * n) for n, (name, num) in enumerate(zip(NAMES, (90, 41, 300, 7), strict=True))}


def mixture(stages: Mapping[int, Weights], gone: tuple[str, ...] = (), **kwargs: Any) -> Mixture:
    """Of the members that a stage names; those that are ``gone`` without their windows. Weight 0 is left out."""
    names = sorted({name for weights in stages.values() for name in weights})
    full = {position: {name: weights.get(name, 0) for name in names} for position, weights in stages.items()}
    members = {name: (None if name in gone else WINDOWS[name], weight) for name, weight in full.pop(0).items()}
    return Mixture(members, stages=full, block=BLOCK, **kwargs)


def loader_of(stages: Mapping[int, Weights], batch_size: int = 8, gone: tuple[str, ...] = (), **kwargs: Any) -> Loader:
    of_mixture = {name: kwargs.pop(name) for name in ("epoch_samples", "weights") if name in kwargs}
    return Loader(mixture(stages, gone, **of_mixture), batch_size, seed=5, **{"epochs": None, **kwargs})


def told(stages: Mapping[int, Weights], before: int) -> dict[int, dict[str, float]]:
    """What holds of ``stages`` before a position, told in one way only: where it changes."""
    out: dict[int, dict[str, float]] = {}
    for position in sorted(stages):
        here = {name: weight for name, weight in stages[position].items() if weight}
        if position < before and (not out or list(out.values())[-1] != here):
            out[position] = here
    return out


some_weights = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0, 1, 3]), min_size=1).filter(
    lambda weights: any(weights.values())
)
some_stages = st.dictionaries(st.integers(1, 4).map(BLOCK.__mul__), some_weights, max_size=3).flatmap(
    lambda later: some_weights.map(lambda first: {0: first, **later})
)


@given(some_stages, some_stages, st.integers(0, 5 * BLOCK // 8), st.sampled_from([3, 8, 64]), st.booleans())
@settings(deadline=None)
def test_a_changed_future_keeps_the_stream_before_it_and_is_exact_after(
    past: dict[int, Weights], future: dict[int, Weights], steps: int, batch_size: int, drop: bool
) -> None:
    first = loader_of(past)
    first.skip(steps * 8)
    position = first.position
    stages = {p: w for p, w in past.items() if p < position} | {p: w for p, w in future.items() if p >= position}
    present = {name for p, w in stages.items() if p >= position for name in w if w[name]}
    in_force = stages[max(p for p in stages if p <= position)] if stages else {}
    drawn = {name for weights in told(stages, position).values() for name in weights}
    gone = tuple(sorted(drawn - present - {name for name in in_force if in_force[name]})) if drop else ()
    second = loader_of(stages if 0 in stages else {**stages, 0: future[0]}, batch_size, gone)
    second.load_state_dict(first.state_dict())
    assert second.position == position
    full = loader_of(stages if 0 in stages else {**stages, 0: future[0]})
    if not gone:
        assert second.samples_at(0, 6 * BLOCK) == full.samples_at(0, 6 * BLOCK)
        assert second.samples_at(0, position) == first.samples_at(0, position)
    assert second.samples_at(position, 3 * BLOCK) == full.samples_at(position, 3 * BLOCK)
    assert_exact(first.samples_at(0, position) + second.samples_at(position, 6 * BLOCK - position), stages)
    batch = next(iter(second))
    assert np.array_equal(batch.inputs, full.batch_at(position, batch_size).inputs)


def assert_exact(samples: list[Sample], stages: Mapping[int, Weights]) -> None:
    """Each block holds the counts of its stage, and each member goes through its own epochs window by window."""
    for first in range(0, len(samples), BLOCK):
        weights = stages.get(0, {})
        for position in sorted(stages):
            weights = stages[position] if position <= first else weights
        counts = Counter(sample.member for sample in samples[first : first + BLOCK])
        for name, weight in weights.items():
            assert abs(counts[name] - BLOCK * weight / sum(weights.values())) < 1
    for name, windows in WINDOWS.items():
        mine = [sample for sample in samples if sample.member == name]
        assert [sample.epoch for sample in mine] == [n // windows.num_samples for n in range(len(mine))]
        for epoch in range(len(mine) // windows.num_samples):
            assert len({sample.window for sample in mine if sample.epoch == epoch}) == windows.num_samples


@given(some_stages, some_stages, st.integers(1, 5 * BLOCK))
@settings(deadline=None)
def test_every_change_of_the_past_is_refused_with_both_values_and_the_position(
    past: dict[int, Weights], other: dict[int, Weights], position: int
) -> None:
    first, second = loader_of(past), loader_of(other)
    first.skip(position)
    here, saved = second.samples_at(0, 6 * BLOCK), first.samples_at(0, 6 * BLOCK)
    counts = [
        [Counter(sample.member for sample in one[at : at + BLOCK]) for at in range(0, position, BLOCK)]
        for one in (saved, here)
    ]
    parts = next((n for n, (a, b) in enumerate(zip(*counts, strict=True)) if a != b), None)
    if parts is None:
        second.load_state_dict(first.state_dict())
        assert second.samples_at(0, position) == saved[:position]
        return
    before = second.state_dict()
    with pytest.raises(ResumeError, match=f"They part at position {parts * BLOCK}, ") as caught:
        second.load_state_dict(first.state_dict())
    name = next(name for name in NAMES if counts[0][parts][name] != counts[1][parts][name])
    a, b = (one[parts][name] or "'nothing'" for one in counts)
    assert f"  stages.{parts * BLOCK}.{name}: saved {a}, here {b}" in str(caught.value).split("\n")
    assert second.state_dict() == before


PAST: dict[int, Weights] = {0: {"web": 1, "code": 1}, BLOCK: {"web": 1, "code": 3}}


def saved_at(position: int, stages: Mapping[int, Weights] = PAST, **kwargs: Any) -> dict[str, Any]:
    loader = loader_of(stages, **kwargs)
    loader.skip(position)
    return loader.state_dict()


@pytest.mark.parametrize(
    ("changed", "line", "parts"),
    [
        ({"seed": 6}, "  seed: saved 5, here 6", 0),
        ({"shuffle": False}, "  shuffle: saved True, here False", 0),
        ({"shuffle_block": 3}, "  shuffle_block: saved None, here 3", 0),
        ({"mask_targets": "document_edges"}, "  mask_targets: saved 'nothing', here 'document_edges'", 0),
    ],
)
def test_a_mixture_of_another_seed_or_shuffle_is_refused(changed: dict[str, Any], line: str, parts: int) -> None:
    loader = Loader(mixture(PAST), 8, **{"seed": 5, "epochs": None, **changed})
    with pytest.raises(ResumeError, match=f"They part at position {parts}") as caught:
        loader.load_state_dict(saved_at(300))
    assert line in str(caught.value).split("\n")


def test_another_block_is_refused() -> None:
    members = {name: (WINDOWS[name], 1.0) for name in ("web", "code")}
    loader = Loader(Mixture(members, stages={512: {"web": 1, "code": 3}}, block=512), 8, seed=5, epochs=None)
    with pytest.raises(ResumeError, match=r"mixture\.block: saved 256, here 512"):
        loader.load_state_dict(saved_at(300))


def test_other_text_of_a_member_is_refused_only_where_it_was_drawn_from() -> None:
    stages = {0: {"web": 1}, BLOCK: {"web": 1, "code": 1}}
    first, other = loader_of(stages), mixture(stages).members | {"code": numbered(80)}
    members = {name: (windows, float(name == "web")) for name, windows in other.items()}
    again = Mixture(members, stages={BLOCK: {"web": 1, "code": 1}}, block=BLOCK)
    first.skip(BLOCK)
    Loader(again, 8, seed=5, epochs=None).load_state_dict(first.state_dict())
    first.exclude(windows=[3], member="code")
    with pytest.raises(ResumeError, match=r"members\.code\.data.num_tokens: saved 181, here 161"):
        Loader(again, 8, seed=5, epochs=None).load_state_dict(first.state_dict())
    with pytest.raises(ResumeError, match=r"members.code.data.num_tokens: saved 181, here 161\n.*at position 256"):
        Loader(again, 8, seed=5, epochs=None).load_state_dict(saved_at(300, stages))


def test_a_plain_loader_says_that_only_a_mixture_may_go_on_otherwise() -> None:
    loader = Loader(WINDOWS["web"], 8)
    with pytest.raises(ResumeError, match="Only a Mixture may go on otherwise"):
        loader.load_state_dict(Loader(WINDOWS["code"], 8).state_dict())
    with pytest.raises(ResumeError, match="Only a Mixture may go on otherwise"):
        loader.load_state_dict(saved_at(0))
    with pytest.raises(ResumeError, match="mixture: saved None"):
        loader_of(PAST).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("position", [0, 100, BLOCK])
def test_how_often_a_member_may_be_repeated_is_not_compared(position: int) -> None:
    loader = Loader(mixture(PAST, max_repeats=9), 8, seed=5, epochs=None)
    loader.load_state_dict(saved_at(position))
    assert loader.position == position


def walk(loader: Loader, num_steps: int) -> Loader:
    for _ in zip(range(num_steps), loader, strict=False):
        pass
    return loader


# -- members that are gone -----------------------------------------------------------------------------------------

LATER: dict[int, Weights] = {**PAST, 2 * BLOCK: {"web": 1, "wiki": 1}}


def test_a_member_that_is_gone_is_kept_in_the_state_and_its_past_is_seen_by_who_has_it() -> None:
    first = walk(loader_of(PAST), 40)
    first.exclude(documents=[0], member="code")
    walk(first, 24)
    second = loader_of(LATER, gone=("code",))
    second.load_state_dict(first.state_dict())
    state = second.state_dict()
    for field in ("recipe", "data"):
        saved, kept = (json.loads(str(one.state_dict()[field])) for one in (first, second))
        saved, kept = (one.get("members", one) for one in (saved, kept))
        assert kept["code"] == saved["code"]
    assert state["excluded"] == first.state_dict()["excluded"]
    again = loader_of(LATER, gone=("code",))
    again.load_state_dict(state)
    assert again.state_dict() == state
    with_all = loader_of(LATER)
    with_all.load_state_dict(state)
    for step in range(2 * BLOCK // 8):
        assert with_all.lookup(step) == first.lookup(step)
        assert np.array_equal(with_all[step].targets, first[step].targets)
    assert with_all.samples_at(512, 300) == second.samples_at(512, 300)


def test_only_to_look_at_what_a_member_that_is_gone_drew_is_an_error() -> None:
    loader = loader_of(LATER, gone=("code",))
    for what in (lambda: next(iter(loader)), lambda: loader[0], lambda: loader.lookup(0)):
        with pytest.raises(WindrowError, match=r"position \d is drawn from 'code', a member whose windows are not"):
            what()
    loader.load_state_dict(walk(loader_of(PAST), 64).state_dict())
    for what in (lambda: loader[0], lambda: loader.lookup(63), lambda: loader.samples_at(500, 12)):
        with pytest.raises(WindrowError, match=r"position \d+ is drawn from 'code'"):
            what()
    assert {sample.member for sample in loader.lookup(64)} == {"web", "wiki"}
    assert len(next(iter(loader)).inputs) == 8
    window = loader_of(LATER).lookup(0)[0]
    assert loader.positions_of(3, member="web") == loader_of(LATER).positions_of(3, member="web")
    assert window.position == 0
    with pytest.raises(WindrowError, match="there is no member 'code'"):
        loader.positions_of(3, member="code")


def test_a_member_may_be_gone_only_from_the_edge_of_a_block_on() -> None:
    loader = loader_of(LATER, gone=("code",))
    with pytest.raises(ResumeError, match=r"from position 300 on .* draws from 'code'.*can begin at 512"):
        loader.load_state_dict(saved_at(300))
    with pytest.raises(ResumeError, match=r"from position 1024 on .* draws from 'code'.*can begin at 512"):
        loader_of({**LATER, 1024: {"code": 1}}, gone=("code",)).load_state_dict(saved_at(512))


def test_a_member_that_was_left_out_without_a_word_is_refused() -> None:
    with pytest.raises(ResumeError, match=r"stages.0.code: saved 128, here 'nothing'"):
        loader_of({0: {"web": 1}}).load_state_dict(saved_at(512))


# -- epochs of another length --------------------------------------------------------------------------------------


def test_where_none_is_given_an_epoch_is_as_long_as_in_the_state() -> None:
    first = loader_of(PAST, epochs=1)
    later = {**PAST, 2 * BLOCK: {"web": 1, "wiki": 1}}
    second = loader_of(later, epochs=1)
    assert (first.epoch_samples, second.epoch_samples) == (390, 397)
    first.skip(512)
    second.load_state_dict(first.state_dict())
    assert (second.epoch_samples, len(second), second.epoch, second.num_dropped) == (390, 48, 1, 6)
    assert json.loads(second.recipe)["mixture"]["epoch_samples"] == 390
    third = loader_of(later, epochs=1)
    third.load_state_dict(second.state_dict())
    assert third.state_dict() == second.state_dict()


def test_another_length_of_an_epoch_holds_from_the_position_on() -> None:
    first = loader_of(PAST, epochs=1, epoch_samples=100)
    for _ in range(2):
        for _ in first:
            pass
    state = first.state_dict()
    second = loader_of(PAST, epochs=1, epoch_samples=70, batch_size=16)
    second.load_state_dict(state)
    assert (first.step, first.position) == (24, 200)
    assert json.loads(str(second.state_dict()["segments"])) == [[0, 0, 8, 1, "drop", 100], [210, 24, 16, 1, "drop"]]
    assert (second.position, second.epoch) == (210, 3)  # epochs are counted from 0: 10 samples of the third are left
    assert (len(list(second)), second.position) == (4, 280)
    third = loader_of(PAST, epochs=1)
    third.load_state_dict(second.state_dict())
    assert third.epoch_samples == 70
    for step in range(24):
        assert third.lookup(step) == first.lookup(step)
    for sample in first.samples_at(0, 200):
        (place,) = third.places_of([sample.window], sample.epoch, member=sample.member)
        at = sample.position % 100
        assert place[:2] == (sample.position, None if at >= 96 else sample.position // 100 * 12 + at // 8)


# -- shares of targets ---------------------------------------------------------------------------------------------


def chat(num_documents: int) -> Windows:
    """Rows of 8 of which two targets count."""
    ends = np.arange(1, num_documents + 1) * 3
    return Windows(TokenStore.from_ids(np.arange(ends[-1]), eos_id=0, document_ends=ends), 8, policy="pad")


def by_targets(stages: Mapping[int, Weights], gone: tuple[str, ...] = ()) -> Loader:
    windows = {"chat": chat(50), "web": Windows(TokenStore.from_ids(np.arange(900)), 8), "new": chat(9)}
    members = {name: (None if name in gone else windows[name], weight) for name, weight in stages[0].items()}
    later = {position: weights for position, weights in stages.items() if position}
    return Loader(Mixture(members, stages=later, block=BLOCK, weights="targets"), 8, seed=5, epochs=None)


def test_a_resume_by_targets_takes_the_whole_numbers_of_the_state() -> None:
    first = walk(by_targets({0: {"chat": 1, "web": 1}}), 40)
    state = first.state_dict()
    recipe = json.loads(str(state["recipe"]))
    assert recipe["mixture"]["stages"] == {"0": {"chat": 205, "web": 51}}
    stages = {0: {"chat": 1, "web": 1, "new": 0}, 512: {"chat": 0, "web": 1, "new": 1}}
    second = by_targets(stages)
    second.load_state_dict(state)
    assert second.samples_at(0, 512) == first.samples_at(0, 512)
    recipe["mixture"]["stages"]["0"] = {"chat": 200, "web": 56}  # as another windrow may have worked them out
    third = by_targets(stages)
    third.load_state_dict({**state, "recipe": json.dumps(recipe)})
    assert json.loads(third.recipe)["mixture"]["stages"]["0"] == {"chat": 200, "web": 56}
    assert Counter(sample.member for sample in third.samples_at(0, 256)) == {"chat": 200, "web": 56}
    again = by_targets(stages)
    again.load_state_dict(third.state_dict())
    assert again.state_dict() == third.state_dict()
    for wrong in ({"chat": 200, "web": 57}, {"chat": -1, "web": 257}, {"chat": 200.0, "web": 56}):
        recipe["mixture"]["stages"]["0"] = wrong
        with pytest.raises(ResumeError, match="damaged"):
            by_targets(stages).load_state_dict({**state, "recipe": json.dumps(recipe)})


def test_other_weights_of_targets_in_the_past_are_refused() -> None:
    state = walk(by_targets({0: {"chat": 1, "web": 1}}), 40).state_dict()
    with pytest.raises(ResumeError, match=r"stages\.0\.web: saved 1.0, here 2.0"):
        by_targets({0: {"chat": 1, "web": 2}}).load_state_dict(state)
    with pytest.raises(ResumeError, match=r"weights: saved 'targets', here 'samples'"):
        Loader(Mixture({"web": (WINDOWS["web"], 1)}, block=BLOCK), 8, seed=5, epochs=None).load_state_dict(state)


def test_a_member_that_is_gone_keeps_its_whole_numbers_of_shares_of_targets() -> None:
    stages = {0: {"chat": 1, "web": 1, "new": 0}, 512: {"chat": 0, "web": 1, "new": 1}}
    state = walk(by_targets({0: {"chat": 1, "web": 1}}), 64).state_dict()
    loaders = [by_targets(stages), by_targets(stages, gone=("chat",))]
    for loader in loaders:
        loader.load_state_dict(state)
    assert loaders[0].samples_at(512, 512) == loaders[1].samples_at(512, 512)
    assert json.loads(loaders[1].recipe)["mixture"]["stages"]["0"] == {"chat": 205, "web": 51}


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        (
            "recipe",
            {"mixture": {"block": 256, "stages": {"x": {}}, "epoch_samples": 5}},
            r"mixture\.stages\.x: saved {}",
        ),
        ("recipe", {"mixture": {"block": 256, "stages": {"0": 5}, "epoch_samples": 5}}, r"mixture\.stages\.0: saved 5"),
        ("recipe", {"mixture": {"block": 256, "stages": {}, "epoch_samples": 5}}, r"stages\.0\.code: saved 'nothing'"),
        (
            "recipe",
            {"mixture": {"block": 256, "stages": {"0": {"web": 128, "code": 128}}}},
            "epoch_samples: saved 'nothing'",
        ),
        ("recipe", {"mixture": {"block": [], "stages": {}, "epoch_samples": 5}}, r"mixture\.block: saved \[\]"),
        ("recipe", {"mixture": {"block": 256, "stages": {}, "epoch_samples": 5, "targets": [1]}}, "targets: saved"),
        ("recipe", {"members": []}, r"members: saved \[\]"),
        ("recipe", {"members": {}}, r"members\.code: saved 'nothing'"),
        ("data", {"web": None}, r"members\.web\.data: saved None"),
    ],
)
def test_a_damaged_state_of_a_mixture_raises_and_changes_nothing(field: str, change: Any, message: str) -> None:
    loader, state = loader_of(LATER, epoch_samples=99), saved_at(300)
    before = loader.state_dict()
    with pytest.raises(ResumeError, match=message):
        loader.load_state_dict({**state, field: json.dumps({**json.loads(state[field]), **change})})
    assert loader.state_dict() == before
