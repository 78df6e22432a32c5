"""How random a shuffle is: z-scores that a random permutation keeps within a few units.

Guarantee: each statistic takes a permutation of ``range(num)``, (num,) int64, and gives one number that is about
normal with mean 0 and deviation 1 when the permutation is random (for ``bit_agreement``, the largest of many such).
Meant for num of 200 and more. Cost: a few passes over the values.
"""

from collections.abc import Callable, Iterator

import numpy as np

from windrow.arrays import Int64

__all__ = [
    "Shuffle",
    "bit_agreement",
    "block_chi_square",
    "correlation",
    "distinct_differences",
    "figures",
    "lag_one",
]

Values = Int64
Shuffle = Callable[[int, int, int], Values]  # num, seed, epoch -> a permutation of range(num)


def lag_one(values: Values) -> float:
    """Correlation of neighbours, as a z-score: its variance under a random permutation is about 1 / num."""
    x = values - (len(values) - 1) / 2
    num = len(values)
    correlation = float(x[:-1] @ x[1:]) / float(x @ x)
    return float((correlation + 1 / num) * np.sqrt(num))


def distinct_differences(values: Values) -> float:
    """How many of the num - 1 neighbour differences (mod num) are distinct, against throwing balls into bins."""
    num = len(values)
    balls, bins = num - 1, num - 1  # a difference is never 0
    distinct = len(np.unique(np.diff(values) % num))
    empty = (1 - 1 / bins) ** balls
    variance = bins * empty * (1 - empty) + bins * (bins - 1) * ((1 - 2 / bins) ** balls - empty**2)
    return float((distinct - bins * (1 - empty)) / np.sqrt(max(variance, 1e-9)))


def bit_agreement(values: Values) -> float:
    """The largest agreement of any input bit with any output bit, over the whole bits of the largest power of two."""
    bits = len(values).bit_length() - 1
    whole = np.flatnonzero((np.arange(len(values)) < 2**bits) & (values < 2**bits))
    inputs = (whole[:, None] >> np.arange(bits) & 1) * 2 - 1
    outputs = (values[whole, None] >> np.arange(bits) & 1) * 2 - 1
    z = (inputs.T @ outputs) / np.sqrt(len(whole))  # (bits, bits)
    return float(z.flat[np.abs(z).argmax()])


def block_chi_square(values: Values) -> float:
    """Where the first, second, ... sixteenth of positions lands, in sixteenths of the values."""
    parts = 16
    place = np.arange(len(values)) * parts // len(values)
    table = np.zeros((parts, parts))
    np.add.at(table, (place, values * parts // len(values)), 1)
    expected = table.sum(1)[:, None] * table.sum(0) / len(values)
    chi_square = ((table - expected) ** 2 / expected).sum() * (len(values) - 1) / len(values)
    freedom = (parts - 1) ** 2
    return float((chi_square - freedom) / np.sqrt(2 * freedom))


def correlation(a: Values, b: Values) -> float:
    """Two permutations of the same values: the z-score of their correlation."""
    return float(np.corrcoef(a, b)[0, 1] * np.sqrt(len(a) - 1))


def figures(shuffle: Shuffle, num: int, seed: int) -> Iterator[tuple[str, float]]:
    """Every statistic of one shuffle, by name."""
    values = shuffle(num, seed, 0)
    yield "lag-1 correlation", lag_one(values)
    yield "distinct differences", distinct_differences(values)
    yield "bit agreement", bit_agreement(values)
    yield "block chi-square", block_chi_square(values)
    yield "epoch to epoch", correlation(values, shuffle(num, seed, 1))
    yield "seed to seed", correlation(values, shuffle(num, seed + 1, 0))
    yield "seed + epoch", correlation(shuffle(num, seed, 1), shuffle(num, seed + 1, 0))
