"""The permutation and the order over epochs. Its statistics are in test_order_quality.py."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.order import permutation
from windrow.order.mixture_order import MixtureOrder
from windrow.order.order import MemberOrder, PlainOrder
from windrow.order.permutation import MAX_SAMPLES, Permutation, keyed_integers

POWERS = [2**k + d for k in (1, 2, 7, 8, 15, 16, 17) for d in (-1, 0, 1)]
FERMAT = [4**k + 1 for k in range(1, 10)]  # 65 537 and 262 145 among them


@pytest.mark.parametrize("num", [*range(1, 301), *POWERS, *FERMAT, 10**5, 10**6])
def test_every_value_comes_once_and_the_inverse_undoes_it(num: int) -> None:
    permutation = Permutation(num, "test", num)
    values = permutation.forward(np.arange(num))
    assert np.array_equal(np.bincount(values, minlength=num), np.ones(num, dtype=np.int64))
    assert np.array_equal(permutation.inverse(values), np.arange(num))


@pytest.mark.parametrize("num", [10**12, 2**62, 2**62 + 1, MAX_SAMPLES])
def test_at_sizes_no_memory_holds_many_positions_do_not_collide(num: int) -> None:
    positions = np.unique(np.random.default_rng(num % 2**32).integers(0, num, 200_000))
    permutation = Permutation(num, "huge")
    values = permutation.forward(positions)
    assert len(np.unique(values)) == len(positions)
    assert values.min() >= 0
    assert values.max() < num
    assert np.array_equal(permutation.inverse(values), positions)


@given(st.integers(1, MAX_SAMPLES), st.integers(), st.data())
def test_a_value_does_not_depend_on_its_neighbours(num: int, seed: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, num - 1), min_size=1, max_size=5)), dtype=np.int64)
    permutation = Permutation(num, seed)
    together = permutation.forward(positions)
    assert together.tolist() == [int(permutation.forward(positions[i : i + 1])[0]) for i in range(len(positions))]
    assert np.array_equal(permutation.inverse(together), positions)


SIZES = st.one_of(st.integers(1, 9), st.sampled_from([*POWERS, *FERMAT]), st.integers(1, MAX_SAMPLES))
CHOICES = st.fixed_dictionaries({"shuffle": st.booleans(), "shuffle_block": st.sampled_from([None, None, 4])})


@given(st.lists(SIZES, min_size=1, max_size=9), st.data())
def test_samples_of_many_members_are_those_of_each_by_itself(sizes: list[int], data: st.DataObject) -> None:
    choice = {"shuffle": True} if data.draw(st.booleans()) else data.draw(CHOICES)
    members = [MemberOrder(num, seed=3, name=str(number), **choice) for number, num in enumerate(sizes)]
    drawn = st.tuples(st.integers(0, len(sizes) - 1), st.integers(0, MAX_SAMPLES))
    number, indices = np.array(data.draw(st.lists(drawn, min_size=1, max_size=30)), dtype=np.int64).T
    window, epoch = MemberOrder.at_each(members, number, indices)
    for i, (which, index) in enumerate(zip(number.tolist(), indices.tolist(), strict=True)):
        assert [window[i : i + 1], epoch[i : i + 1]] == list(members[which].at(np.array([index])))


def test_more_members_take_no_more_passes_over_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, network = list[int](), permutation._network
    monkeypatch.setattr(permutation, "_network", lambda *of: looked_at.append(len(of[0])) or network(*of))
    counts, indices = [], np.arange(40_000)
    for num_members in (3, 500):
        members = [MemberOrder(2**17 - number, seed=1, name=str(number)) for number in range(num_members)]
        looked_at.clear()
        MemberOrder.at_each(members, indices % num_members, indices)
        counts.append(len(looked_at))
    assert counts[1] < 2 * counts[0]


def assert_uniform(rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Each of the N! orders is as frequent among ``rows`` (draws, N) as chance has it: |z| < 5."""
    num = rows.shape[1]
    _, counts = np.unique(rows @ num ** np.arange(num), return_counts=True)
    freedom, expected = factorial(num) - 1, len(rows) / factorial(num)
    assert len(counts) == factorial(num)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) / np.sqrt(2 * freedom) < 5


@pytest.mark.parametrize("num", [2, 3, 4, 5])
def test_small_permutations_are_uniform_over_all_orders_from_seed_to_seed(num: int) -> None:
    draws = range(50 * factorial(num))
    assert_uniform(np.stack([Permutation(num, "uniform", seed).forward(np.arange(num)) for seed in draws]))


@pytest.mark.parametrize("num", [2, 3, 4, 5])
def test_small_permutations_are_uniform_over_all_orders_from_epoch_to_epoch(num: int) -> None:
    draws = 1000 * factorial(num)
    order = PlainOrder({"": num}, seed=3)
    assert_uniform(order.at(np.arange(draws * num))[1].reshape(draws, num))


@pytest.mark.parametrize("num", [0, -1, 2**63])
def test_a_size_outside_the_range_raises(num: int) -> None:
    with pytest.raises(ValueError, match=f"num is {num}, and it must be a whole number, 1 "):
        Permutation(num)


def test_keys_of_different_parts_are_unrelated() -> None:
    parts: list[tuple[int | str, ...]] = [(1, 2), (12,), ("1", 2), ("1,2",), (1, 2, ""), ("a|b", "c"), ("a", "b|c")]
    assert len({keyed_integers(1, *key)[0] for key in parts}) == len(parts)


def test_seed_and_epoch_do_not_stand_in_for_each_other() -> None:
    def epoch_of(seed: int, epoch: int) -> list[int]:
        return PlainOrder({"": 1000}, seed=seed).at(np.arange(1000) + 1000 * epoch)[1].tolist()

    assert epoch_of(1, 2) != epoch_of(2, 1)
    assert epoch_of(1, 1) != epoch_of(2, 0)
    assert epoch_of(1, 0) != epoch_of(1, 1)


def test_members_of_another_name_are_shuffled_otherwise() -> None:
    positions = np.arange(100)
    a, b = (MemberOrder(100, seed=1, name=name).at(positions)[0] for name in ("a", "b"))
    assert not np.array_equal(a, b)


@given(st.integers(1, 50), st.integers(), st.booleans(), st.integers(0, 200))
def test_positions_of_undoes_at(num: int, seed: int, shuffle: bool, first: int) -> None:
    order = PlainOrder({"": num}, seed=seed, shuffle=shuffle)
    positions = np.arange(first, first + 77)
    member, window, epoch = order.at(positions)
    assert not member.any()
    assert np.array_equal(order.positions_of(0, window, epoch), positions)


def test_without_shuffle_the_order_is_the_windows_own() -> None:
    _, window, epoch = PlainOrder({"": 3}, seed=9, shuffle=False).at(np.arange(7))
    assert window.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert epoch.tolist() == [0, 0, 0, 1, 1, 1, 2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 2**40), st.booleans())
def test_members_in_turn_come_one_after_another_in_every_epoch(nums: list[int], epoch: int, shuffle: bool) -> None:
    order = PlainOrder({f"m{i}": num for i, num in enumerate(nums)}, seed=1, shuffle=shuffle)
    positions = np.arange(sum(nums)) + epoch * sum(nums)
    member, window, epochs = order.at(positions)
    assert member.tolist() == [i for i, num in enumerate(nums) for _ in range(num)]
    assert [sorted(window[member == i].tolist()) for i in range(len(nums))] == [list(range(num)) for num in nums]
    assert set(epochs.tolist()) == {epoch}
    found = [order.positions_of(int(m), window[i : i + 1], epochs[i : i + 1]) for i, m in enumerate(member)]
    assert np.array_equal(np.concatenate(found), positions)
    before = [order.samples_before(int(p)) for p in positions]
    assert before == [
        [epoch * num + int((member[:i] == m).sum()) for m, num in enumerate(nums)] for i in range(len(member))
    ]


@pytest.mark.parametrize("num", [2, 7, 65_536, 2**62 + 1])
def test_the_last_position_of_the_order_is_found_again_and_the_one_after_it_raises(num: int) -> None:
    order = PlainOrder({"": num}, seed=3, shuffle=False)
    last = np.array([MAX_SAMPLES])
    member, window, epoch = order.at(last)
    assert order.positions_of(int(member[0]), window, epoch) == last
    with pytest.raises(ValueError, match=rf"times {num} samples reach beyond position 2\*\*63 - 1"):
        order.positions_of(0, window, epoch + 1)


@pytest.mark.parametrize("counts", [(65_535, 1), (65_536, 0)])
def test_the_last_positions_of_a_mixture_are_found_again_and_what_comes_after_raises(counts: tuple[int, int]) -> None:
    order = MixtureOrder({"a": 5, "b": 3}, {0: dict(zip("ab", counts, strict=True))}, seed=1)
    positions = np.arange(MAX_SAMPLES - 65_535, MAX_SAMPLES) + 1
    member, window, epoch = order.at(positions)
    for number in set(member.tolist()):
        here = member == number
        assert np.array_equal(order.positions_of(number, window[here], epoch[here]), positions[here])
        with pytest.raises(ValueError, match="reach beyond position"):
            order.positions_of(number, window[here], epoch[here] + 65_536)
