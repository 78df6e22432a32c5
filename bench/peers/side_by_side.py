"""windrow and the limits in one process, slices of 60 ms by turns: finer than the rounds, where a ratio is near 1.

Run: PYTHONPATH=src python bench/peers/side_by_side.py TOKENS        (prints microseconds a batch and windrow's ratios)
TOKENS is the token file of a store, build/bench/store/train/tokens-00000.bin after `make bench`.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import limits
import measure
import windrow_loader

SLICES, SECONDS = 25, 0.06


def batches_per_second(batches: Iterator[measure.Pair]) -> float:
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < SECONDS:
        next(batches)
        count += 1
    return count / took


def main(tokens: Path) -> None:
    source = measure.Source(tokens, tokens.parent)
    for setting in measure.SETTINGS:
        contenders = {
            "windrow": windrow_loader.batches(source, setting, 0, None),
            "windrow (torch)": windrow_loader.batches(source, setting, 0, "cpu"),
            "bare gather": limits.gather(source, setting, 0),
            "bare gather, view kept": limits.view(source, setting, 0),
            "gather into kept buffers": limits.kept(source, setting, 0),
        }
        rounds = [{name: batches_per_second(it) for name, it in contenders.items()} for _ in range(SLICES)]
        print(setting.name)
        for name in contenders:
            micros = 1e6 / statistics.median(one[name] for one in rounds)
            ratio = statistics.median(one["windrow"] / one[name] for one in rounds)
            print(f"  {name:26} {micros:8.1f} us a batch   windrow / it {ratio:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
