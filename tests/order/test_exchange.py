"""Permutations of many ranges at once: each is one, all are drawn by the key, and none depends on another."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.order.exchange import Exchange


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 2**63 - 1), st.integers(0, 99))
def test_each_range_is_permuted_and_the_inverse_undoes_it(sizes: list[int], epoch: int, seed: int) -> None:
    nums = np.repeat(sizes, sizes)
    which = np.repeat(np.arange(len(sizes)), sizes)
    values = np.concatenate([np.arange(size) for size in sizes])
    moved = Exchange("test", seed).forward(values, nums, epoch, which)
    for one, size in enumerate(sizes):
        assert sorted(moved[which == one].tolist()) == list(range(size))
    assert Exchange("test", seed).inverse(moved, nums, epoch, which).tolist() == values.tolist()


@pytest.mark.parametrize("num", [2**31, 2**53 + 1, 2**62])
def test_large_ranges_are_as_exact_as_small_ones(num: int) -> None:
    values = np.array([0, 1, num // 3, num - 1], dtype=np.int64)
    nums = np.full(4, num)
    moved = Exchange("large").forward(values, nums, 7)
    assert ((moved >= 0) & (moved < num)).all()
    assert Exchange("large").inverse(moved, nums, 7).tolist() == values.tolist()


def test_no_value_depends_on_what_else_is_asked_for() -> None:
    values, nums = np.array([0, 4, 8]), np.array([3, 9, 9])
    together = Exchange("x", 1).forward(values, nums, np.array([5, 6, 6]), np.array([1, 2, 2]))
    alone = [Exchange("x", 1).forward(values[i : i + 1], nums[i : i + 1], [5, 6, 6][i], [1, 2, 2][i]) for i in range(3)]
    assert together.tolist() == [int(one[0]) for one in alone]


@pytest.mark.parametrize("num", [2, 3, 4])
def test_over_many_epochs_every_order_of_a_few_values_comes_about_equally_often(num: int) -> None:
    epochs = 24_000
    values = np.tile(np.arange(num), epochs)
    moved = Exchange("orders").forward(values, np.full(len(values), num), np.repeat(np.arange(epochs), num))
    counts = Counter(map(tuple, moved.reshape(epochs, num).tolist()))
    expected = epochs / len(list(permutations(range(num))))
    assert len(counts) == epochs / expected
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


@pytest.mark.parametrize("num", [37, 1000])
def test_a_pair_of_values_goes_to_every_distance_as_often_as_by_chance(num: int) -> None:
    epochs = 40_000
    values = np.tile([num // 2, num // 2 + 1], epochs)
    moved = Exchange("pairs").forward(values, np.full(2 * epochs, num), np.repeat(np.arange(epochs), 2)).reshape(-1, 2)
    counts = np.bincount((moved[:, 1] - moved[:, 0]) % num, minlength=num)[1:]
    chi_square = ((counts - epochs / (num - 1)) ** 2 / (epochs / (num - 1))).sum()
    assert abs(chi_square - (num - 2)) < 5 * (2 * (num - 2)) ** 0.5
