"""Mixtures: exact shares, own epochs, stages, and what they refuse."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import WindrowError
from windrow.order.mixture_order import BLOCK


def numbered(num_samples: int, max_length: int = 2) -> Windows:
    return Windows(TokenStore.from_ids(np.arange(num_samples * max_length + 1)), max_length)


def members_in(loader: Loader, first: int, num_samples: int) -> Counter[str]:
    batch_size = loader.batch_size
    assert first % batch_size == num_samples % batch_size == 0
    steps = range(first // batch_size, (first + num_samples) // batch_size)
    return Counter(sample.member for step in steps for sample in loader.lookup(step))


def test_every_block_holds_the_exact_counts_that_the_recipe_states() -> None:
    mixture = Mixture({"web": (numbered(1000), 0.8), "code": (numbered(77), 0.2)})
    loader = Loader(mixture, 4096, epochs=None)
    for block in range(3):
        assert members_in(loader, block * BLOCK, BLOCK) == {"web": 52_429, "code": 13_107}
    assert mixture.recipe()["stages"] == {"0": {"code": 13_107, "web": 52_429}}


@pytest.mark.parametrize("block", [256, 4096, 2**17])
def test_a_block_of_another_size_holds_exact_counts_and_is_part_of_the_recipe(block: int) -> None:
    stages = {3 * block: {"web": 1, "code": 3}}
    mixture = Mixture({"web": (numbered(1000), 3), "code": (numbered(77), 1)}, stages=stages, block=block)
    loader = Loader(mixture, 256, seed=3, epochs=None)
    shares = [members_in(loader, first, block) for first in range(0, 5 * block, block)]
    more, less = block * 3 // 4, block // 4
    assert shares == [{"web": more, "code": less}] * 3 + [{"web": less, "code": more}] * 2
    assert json.loads(loader.recipe)["mixture"]["block"] == block
    for sample in loader.lookup(13):
        assert loader.positions_of(sample.window, sample.epoch, member=sample.member) == sample.position


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=1, max_size=12).filter(any))
@settings(max_examples=50)
def test_counts_add_up_to_a_block_and_are_within_one_of_the_share(weights: list[float]) -> None:
    members = {f"m{i:02d}": (numbered(3), weight) for i, weight in enumerate(weights)}
    smallest = min(weight for weight in weights if weight) / sum(weights) * BLOCK
    if smallest < 1:
        return
    counts = Mixture(members).recipe()["stages"]["0"]
    assert sum(counts.values()) == BLOCK
    for (name, (_, weight)), count in zip(members.items(), counts.values(), strict=True):
        assert abs(count - weight / sum(weights) * BLOCK) < 1, name
        assert (count == 0) == (weight == 0)


def test_a_members_samples_come_in_its_own_order_whatever_else_is_mixed_in() -> None:
    def web_order(mixture: Mixture) -> list[tuple[int, int]]:
        loader = Loader(mixture, 64, seed=5, epochs=None)
        return [(s.window, s.epoch) for step in range(40) for s in loader.lookup(step) if s.member == "web"]

    web, code, books = numbered(300), numbered(50), numbered(20)
    two = web_order(Mixture({"web": (web, 1), "code": (code, 1)}))
    three = web_order(Mixture({"web": (web, 1), "code": (code, 1), "books": (books, 1)}))
    length = min(len(two), len(three))
    assert length > 600
    assert two[:length] == three[:length]


def test_without_shuffle_each_member_is_read_in_order() -> None:
    loader = Loader(Mixture({"a": (numbered(10), 1), "b": (numbered(7), 2)}), 64, shuffle=False, epochs=None)
    for name, num in (("a", 10), ("b", 7)):
        windows = [s.window for step in range(3) for s in loader.lookup(step) if s.member == name]
        assert windows == [i % num for i in range(len(windows))]


def test_a_member_smaller_than_its_share_of_a_block_repeats_in_epochs_of_its_own() -> None:
    loader = Loader(Mixture({"big": (numbered(5000), 9), "small": (numbered(3), 1)}), 4096, epochs=None)
    epochs = Counter(s.epoch for step in range(16) for s in loader.lookup(step) if s.member == "small")
    assert len(epochs) == 2185  # 6 554 samples of 3 windows
    assert set(list(epochs.values())[:-1]) == {3}


def test_stages_change_weights_on_a_block_edge_and_leave_the_past_alone() -> None:
    members = {"a": (numbered(100), 1), "b": (numbered(50), 1)}
    plain = Loader(Mixture(members), 4096, epochs=None)
    staged = Loader(Mixture(members, stages={BLOCK: {"a": 3, "b": 1}, 3 * BLOCK: {"a": 0, "b": 1}}), 4096, epochs=None)
    assert [staged.lookup(step) for step in (0, 15)] == [plain.lookup(step) for step in (0, 15)]
    assert staged.lookup(16) != plain.lookup(16)
    shares = [members_in(staged, block * BLOCK, BLOCK) for block in range(5)]
    assert shares == [
        {"a": 32_768, "b": 32_768},
        {"a": 49_152, "b": 16_384},
        {"a": 49_152, "b": 16_384},
        {"b": 65_536},
        {"b": 65_536},
    ]


def test_a_member_goes_on_where_it_was_across_stages() -> None:
    members = {"a": (numbered(97), 1), "b": (numbered(50), 1)}
    stages = {BLOCK: {"a": 0, "b": 1}, 2 * BLOCK: {"a": 1, "b": 1}}
    loader = Loader(Mixture(members, stages=stages), 4096, epochs=None)
    windows = [s.window for step in range(48) for s in loader.lookup(step) if s.member == "a"]
    for first in range(0, len(windows) - 97, 97):
        assert sorted(windows[first : first + 97]) == list(range(97))


def test_shares_and_repeats_are_told_before_training_and_are_what_happens() -> None:
    mixture = Mixture({"a": (numbered(1000), 0.3), "b": (numbered(400), 0.7)}, stages={BLOCK: {"a": 1, "b": 1}})
    loader = Loader(mixture, 500, epochs=None)
    for num_samples in (500, 65_500, 66_000, 200_000):
        told = loader.shares(num_samples)
        counted = members_in(loader, 0, num_samples)
        assert {name: row["samples"] for name, row in told.items()} == counted
        assert told["b"]["repeats"] == counted["b"] / 400
        assert told["b"]["share"] == counted["b"] / num_samples


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_shares_of_no_samples_raise(wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"num_samples is {wrong!r}, and it must be a whole number, 1 or more"):
        Loader(numbered(10), 2).shares(wrong)


def test_an_epoch_is_the_sum_of_the_members_samples_unless_said_otherwise() -> None:
    members = {"a": (numbered(10), 1), "b": (numbered(30), 1)}
    assert len(Loader(Mixture(members), 4)) == 10
    assert len(Loader(Mixture(members, epoch_samples=100), 4)) == 25


def test_a_cap_on_repeats_raises_before_training_with_the_figures() -> None:
    mixture = Mixture({"a": (numbered(10), 1), "b": (numbered(1000), 1)}, max_repeats=4)
    with pytest.raises(
        WindrowError, match=r"draws \d+ samples from 'a', [45]\d\.\d\d times its 10, and max_repeats is 4"
    ):
        Loader(mixture, 4)


def test_a_cap_on_repeats_also_stops_an_endless_stream() -> None:
    mixture = Mixture({"a": (numbered(10), 1), "b": (numbered(1000), 1)}, epoch_samples=40, max_repeats=4)
    loader = Loader(mixture, 4, epochs=None)
    with pytest.raises(WindrowError, match="'a' has been read 4 times"):
        for _ in loader:
            pass
    assert 60 < loader.position < 110


def test_a_cap_on_repeats_stops_all_ranks_at_one_step() -> None:
    mixture = Mixture({"web": (numbered(500), 0.95), "code": (numbered(10), 0.05)}, max_repeats=1, epoch_samples=100)
    steps = []
    for rank in range(4):
        loader = Loader(mixture, 2, epochs=None, dp_rank=rank, dp_world_size=4)
        with pytest.raises(WindrowError, match="'code' has been read 1 times"):
            for _ in loader:
                pass
        steps.append(loader.step)
    assert len(set(steps)) == 1
    assert steps[0] > 10


def test_a_cap_on_repeats_does_not_count_rows_beyond_the_epoch() -> None:
    mixture = Mixture({"a": (numbered(10), 1)}, max_repeats=1)
    for rank in range(2):
        assert len(list(Loader(mixture, 3, drop_last=False, dp_rank=rank, dp_world_size=2))) == 2


def windows_of_length(max_length: int) -> Windows:
    return Windows(TokenStore.from_ids(np.arange(100)), max_length)


@pytest.mark.parametrize(
    ("members", "kwargs", "message"),
    [
        ({}, {}, "no members"),
        ({"a": -1.0, "b": 1.0}, {}, r"weights are \{'a': -1.0\}"),
        ({"a": float("nan"), "b": 1.0}, {}, "finite"),
        ({"a": 0, "b": 0}, {}, "not all 0"),
        ({"a": 1e-9, "b": 1.0}, {}, r"the weight 1e-09 of 'a'.*smallest weight here is about 1.53e-05"),
        ({"a": 1.0, "b": 1.0}, {"stages": {100: {"a": 1, "b": 1}}}, "stage 100 is no multiple of 65536.*Use 65536"),
        ({"a": 1.0, "b": 1.0}, {"stages": {BLOCK + 512: {"a": 1}}}, "Use 65536 or 131072, or block=512"),
        ({"a": 1.0, "b": 1.0}, {"stages": {BLOCK + 384: {"a": 1}}, "block": 512}, "Use 65536 or 66048"),
        ({"a": 0.001, "b": 1.0}, {"block": 256}, r"block of 256.*about 0.00391; give that, 0, block=512, or merge"),
        ({"a": 1.0}, {"block": 100}, "block is 100, and it must be a whole number, 256 or more"),
        ({"a": 1.0}, {"block": 1000}, r"block is 1000, and it is a power of two from 256 to 1048576.*Use block=512"),
        ({"a": 1.0}, {"block": 2**21}, "Use block=1048576"),
        ({"a": 1.0, "b": 1.0}, {"stages": {BLOCK: {"a": 1}}}, r"stage 65536: weights are given for \['a'\]"),
        ({"a": 1.0, "b": 1.0}, {"stages": {BLOCK: {"a": 1, "b": 1, "c": 1}}}, "Name every member"),
        ({"a": 1.0}, {"epoch_samples": 0}, "epoch_samples is 0"),
        ({"a": 1.0}, {"max_repeats": 0.5}, "max_repeats is 0.5"),
    ],
)
def test_weights_that_are_no_shares_raise(members: dict[str, float], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture({name: (numbered(9), weight) for name, weight in members.items()}, **kwargs)


def test_members_of_different_lengths_raise_with_each_length() -> None:
    with pytest.raises(WindrowError, match=r"max_length \{'a': 8, 'b': 9\}.*max_length=8"):
        Mixture({"a": (windows_of_length(8), 1), "b": (windows_of_length(9), 1)})


def test_members_of_different_dtypes_mix_without_wrapping_ids() -> None:
    small = Windows(TokenStore.from_ids(np.arange(50)), 4)
    large = Windows(TokenStore.from_ids(np.arange(50) + 100_000), 4)
    loader = Loader(Mixture({"small": (small, 1), "large": (large, 1)}), 8)
    firsts = np.concatenate([batch.inputs[:, 0] for batch in loader])
    assert {int(first) >= 100_000 for first in firsts} == {True, False}
    assert set(firsts.tolist()) <= {*range(50), *range(100_000, 100_050)}


def test_a_padded_member_masks_only_its_own_rows() -> None:
    padded = Windows(TokenStore.from_ids(np.arange(3), eos_id=0), 8, tail="pad")
    whole = Windows(TokenStore.from_ids(np.arange(100) + 100), 8)
    for batch in Loader(Mixture({"p": (padded, 1), "w": (whole, 1)}), 13):
        is_padded = batch.inputs[:, 0] < 100
        assert (np.count_nonzero(batch.targets != -100, axis=1) == np.where(is_padded, 2, 8)).all()


# -- shares of the targets that count ------------------------------------------------------------------------------

LENGTHS = [40, 3, 1, 17, 2, 2, 9, 64, 5]


def documents(lengths: list[int], times: int = 1, max_length: int = 8, **kwargs: Any) -> Windows:
    ends = np.cumsum(lengths * times)
    return Windows(TokenStore.from_ids(np.arange(ends[-1]), eos_id=0, document_ends=ends), max_length, **kwargs)


def targets_of(loader: Loader) -> Counter[str]:
    """How many targets count in an epoch, by member."""
    out: Counter[str] = Counter()
    for step in range(len(loader)):
        for sample, targets in zip(loader.lookup(step), np.asarray(loader[step].targets), strict=True):
            out[sample.member] += int(np.count_nonzero(targets != -100))
    return out


@pytest.mark.parametrize("mask_targets", [None, "document_edges"])
def test_weights_of_targets_are_shares_of_the_targets_that_count(mask_targets: Any) -> None:
    members = {"web": (documents([50], 90), 1.0), "chat": (documents([2, 3], 400, policy="pad"), 1.0)}
    shares = {}
    for weights in ("samples", "targets"):
        mixture = Mixture(members, epoch_samples=4096, block=4096, weights=weights)
        loader = Loader(mixture, 64, seed=3, mask_targets=mask_targets)
        counted, told = targets_of(loader), loader.shares()
        shares[weights] = counted["web"] / counted.total()
        for name, row in told.items():
            assert row["targets"] == pytest.approx(counted[name], rel=0.01)
            assert row["share_of_targets"] == pytest.approx(counted[name] / counted.total(), abs=0.005)
    assert shares["samples"] > 0.8
    assert shares["targets"] == pytest.approx(0.5, abs=0.005)


def test_the_recipe_holds_the_weights_and_the_whole_numbers_of_shares_of_targets() -> None:
    members = {"web": (documents([50], 90), 1.0), "chat": (documents([2], 400, policy="pad"), 1.0)}
    loader = Loader(Mixture(members, block=256, weights="targets"), 8)
    held = json.loads(loader.recipe)["mixture"]
    assert held["stages"] == {"0": {"chat": 228, "web": 28}}  # 1 and 8 targets a row: 8 to 1
    assert held["targets"] == {"0": {"chat": 1.0, "web": 1.0}}


def test_shares_of_targets_are_of_those_that_could_count_whatever_is_excluded() -> None:
    members = {"web": (documents([50], 90), 1.0), "chat": (documents([2, 3], 400, policy="pad"), 1.0)}
    loader = Loader(Mixture(members, block=256, weights="targets"), 8)
    told = loader.shares()
    loader.exclude(documents=range(90), member="web")
    assert loader.shares() == told


def test_a_member_of_which_no_target_counts_has_no_share_of_targets() -> None:
    store = TokenStore.from_ids(np.arange(99), counts=np.zeros(99, dtype=np.bool_))
    members = {"web": (numbered(9, 8), 1.0), "none": (Windows(store, 8), 1.0)}
    with pytest.raises(WindrowError, match="no target of 'none' counts"):
        Loader(Mixture(members, weights="targets"), 2)
    assert Loader(Mixture(members), 2).shares()["none"]["share_of_targets"] == 0
    wrong: Any = "tokens"
    with pytest.raises(WindrowError, match=r"weights is 'tokens', and weights are shares of \"samples\" or of"):
        Mixture(members, weights=wrong)


def test_a_weight_of_targets_that_is_too_small_says_the_smallest_in_its_own_measure() -> None:
    members = {"web": (documents([50], 90), 0.001), "chat": (documents([2], 400, policy="pad"), 1.0)}
    with pytest.raises(WindrowError, match=r"the weight 0.001 of 'web' .* about 0\.0313; give that, 0, block=4096,"):
        Loader(Mixture(members, block=256, weights="targets"), 2)
    assert Loader(Mixture({**members, "web": (members["web"][0], 0.0313)}, block=256, weights="targets"), 2)
