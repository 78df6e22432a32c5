"""The statistics of the shuffle: z-scores that a random permutation keeps within a few units.

Run: python bench/order_quality.py            (writes bench/results/order_quality.json; a minute)
The test suite asserts |z| < 5 for the same figures; docs/order.md shows them, beside a Fisher-Yates shuffle's.
"""

import json
import sys
from pathlib import Path

import numpy as np

from windrow.order.order import MemberOrder
from windrow.quality import Shuffle, Values, figures

RESULTS = Path(__file__).parent / "results" / "order_quality.json"
SIZES = [2**k + d for k in (8, 10, 13, 16, 18) for d in (-1, 0, 1)] + [300, 4**5 + 1, 10**5, 10**6]
SEEDS = range(3)


def ours(num: int, seed: int, epoch: int) -> Values:
    return MemberOrder(num, seed=seed).at(np.arange(num) + num * epoch)[0]


def blocked(num: int, seed: int, epoch: int) -> Values:
    return MemberOrder(num, seed=seed, shuffle_block=64).at(np.arange(num) + num * epoch)[0]


def fisher_yates(num: int, seed: int, epoch: int) -> Values:
    return np.random.default_rng([seed, epoch]).permutation(num)


def worst(shuffle: Shuffle, sizes: list[int], seeds: range) -> dict[str, dict[str, float]]:
    """Of every statistic the largest |z| over all sizes and seeds, and the root mean square, 1 when random."""
    seen: dict[str, list[float]] = {}
    for num in sizes:
        for seed in seeds:
            for name, z in figures(shuffle, num, seed):
                seen.setdefault(name, []).append(z)
    return {n: {"largest": max(map(abs, z)), "rms": float(np.sqrt(np.mean(np.square(z))))} for n, z in seen.items()}


def main() -> None:
    results = {
        "sizes": SIZES,
        "seeds": len(SEEDS),
        "windrow": worst(ours, SIZES, SEEDS),
        "Fisher-Yates": worst(fisher_yates, SIZES, SEEDS),
        "shuffle_block=64": worst(blocked, SIZES, SEEDS),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    json.dump(results, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
