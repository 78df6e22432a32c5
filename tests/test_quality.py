"""The statistics of the shuffle, and that they would catch a bad one."""

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from windrow.order.order import MemberOrder
from windrow.quality import Shuffle, figures

Values = NDArray[np.int64]
SIZES = [255, 256, 257, 300, 1023, 1024, 1025, 4097, 8192, 65_535, 65_536, 65_537, 10**5, 262_145, 10**6]


def ours(num: int, seed: int, epoch: int) -> Values:
    return MemberOrder(num, seed=seed).at(np.arange(num) + num * epoch)[0]


def fisher_yates(num: int, seed: int, epoch: int) -> Values:
    return np.random.default_rng([seed, epoch]).permutation(num)


def affine(num: int, seed: int, epoch: int) -> Values:
    """No shuffle: one multiplication."""
    factor = next(f for f in range(num // 3 + seed + epoch, num) if math.gcd(f, num) == 1)
    return np.arange(num) * factor % num


def copies_a_bit(num: int, seed: int, epoch: int) -> Values:
    """A shuffle that leaves the lowest bit of each value where it was."""
    values = np.arange(num)
    for parity in (0, 1):
        half = np.arange(parity, num, 2)
        values[half] = half[fisher_yates(len(half), seed, epoch)]
    return values


def seed_plus_epoch(num: int, seed: int, epoch: int) -> Values:
    return fisher_yates(num, seed + epoch, 0)


@pytest.mark.parametrize("shuffle", [ours, fisher_yates])
@pytest.mark.parametrize("num", SIZES)
def test_every_statistic_is_that_of_a_random_permutation(num: int, shuffle: Shuffle) -> None:
    seeds = 1 if shuffle is fisher_yates else 2 if num > 10**5 else 5  # one shows that the measure is right
    for seed in range(seeds):
        for name, z in figures(shuffle, num, seed):
            assert abs(z) < 5, (name, seed)


@pytest.mark.parametrize("num", range(100, 300, 7))
def test_small_sizes_are_random_over_many_seeds(num: int) -> None:
    scores = np.array([[z for _, z in figures(ours, num, seed)] for seed in range(30)])
    reference = np.array([[z for _, z in figures(fisher_yates, num, seed)] for seed in range(30)])
    apart = (scores.mean(0) - reference.mean(0)) / np.sqrt((scores.var(0) + reference.var(0) + 1e-9) / 30)
    assert (np.abs(apart) < 5).all()


@pytest.mark.parametrize(
    ("bad", "caught_by"),
    [(affine, "distinct differences"), (copies_a_bit, "bit agreement"), (seed_plus_epoch, "seed + epoch")],
)
def test_a_bad_shuffle_is_caught(bad: Shuffle, caught_by: str) -> None:
    assert abs(dict(figures(bad, 10_000, 1))[caught_by]) > 50


def test_block_shuffles_pay_in_neighbours_and_are_random_beyond_a_block() -> None:
    def blocked(num: int, seed: int, epoch: int) -> Values:
        return MemberOrder(num, seed=seed, shuffle_block=64).at(np.arange(num) + num * epoch)[0]

    assert dict(figures(blocked, 2**16, 0))["lag-1 correlation"] > 100
    values = blocked(2**16, 0, 0).reshape(-1, 64)
    blocks, inner = values[:, 0] // 64, values % 64
    assert (values // 64 == blocks[:, None]).all()
    assert abs(dict(figures(lambda *_: blocks, len(blocks), 0))["lag-1 correlation"]) < 5
    means = inner.astype(float).mean(axis=0)  # of 1 024 blocks, by place in the block
    assert (np.abs(means - 31.5) < 5 * 18.5 / np.sqrt(len(values))).all()
    assert len({tuple(row) for row in inner}) == len(inner)


def test_low_and_high_bits_of_positions_reach_every_window_bit_at_sizes_no_memory_holds() -> None:
    """Avalanche: flipping one bit of a position changes each bit of the window half of the time."""
    num = 2**40
    order = MemberOrder(num, seed=1)
    positions = np.random.default_rng(0).integers(0, num, 4000)
    before = order.at(positions)[0]
    for flipped, epoch in product(range(0, 40, 3), (0, 1)):
        after = order.at((positions ^ (1 << flipped)) + num * epoch)[0]
        changed = ((before ^ after)[:, None] >> np.arange(40) & 1).mean(axis=0)
        assert (np.abs(changed - 0.5) < 5 * 0.5 / np.sqrt(4000)).all(), flipped
