"""What this machine, this disk and this recipe can do: ``windrow bench STORE``.

Guarantee: measures the loader that a run would use, beside the raw copy of as many bytes and the bare gather of the
same windows, in turns, so that a noisy machine is noisy to all; reports medians. Cost: the seconds asked for. Reads
the store only.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from windrow.loader.ahead import caches_of, most_mixed
from windrow.loader.loader import Loader

__all__ = ["as_lines", "measure", "verdict"]

_ROUNDS = 5
_TOGETHER = 4  # blocks


def measure(make: Callable[[int], Loader], *, seconds: float = 10.0) -> dict[str, Any]:
    """Tokens per second of a loader and of what limits it, the first batch's time, and the bytes of a step.

    ``make(0)`` makes the loader, ``make(1)`` the same with another seed.
    """
    started = time.perf_counter()
    loader = make(0)
    first = next(iter(loader))
    first_seconds = time.perf_counter() - started
    windows = next(iter(loader.members.values()))
    tokens = windows.store.tokens(0, 1 << 26)  # for the limits: memory, not disk
    contenders = {
        "cold": _endless(make(1)),
        "loader": _endless(make(0)),
        "gather": _bare_gather(tokens, windows.max_length, loader.batch_size),
        "copy": _raw_copy(first.targets.nbytes * 2),
    }
    each, num_tokens = seconds / _ROUNDS / len(contenders), first.targets.size
    rounds = [{name: _steps_per_second(steps, each) for name, steps in contenders.items()} for _ in range(_ROUNDS)]
    medians = {name: median(rates[name] for rates in rounds[1:]) * num_tokens for name in contenders}
    return {
        "num_windows": loader.epoch_samples,
        "first_batch_seconds": first_seconds,
        "tokens_per_second": medians["loader"],
        "first_round_tokens_per_second": rounds[0]["cold"] * num_tokens,
        "bare_gather_tokens_per_second": medians["gather"],
        "raw_copy_tokens_per_second": medians["copy"],
        "of_bare_gather": medians["loader"] / medians["gather"],
        "step_seconds": num_tokens / medians["loader"],
        "step_nbytes": first.inputs.nbytes + first.targets.nbytes,
        **_link(loader),
    }


def _link(loader: Loader) -> dict[str, Any]:
    """What the way to data that is far away can do, and what its cache has room for; of a mixture, the first's."""
    for name, cache in caches_of(loader.members).items():
        alone, together = cache.speed(1), cache.speed(_TOGETHER)
        return {
            "link_nbytes": [alone, together],
            "link_tokens_per_second": together / loader.members[name].dtype.itemsize,
            "blocks_held": [min(cache.num_slots, len(cache.blocks)), len(cache.blocks)],
            "most_shuffle_block": most_mixed(loader.members, name, cache),
            "more_cache_bytes": cache.lacks,
        }
    return {}


def verdict(figures: dict[str, Any]) -> str:
    """What the figures mean for a training loop."""
    milliseconds = figures["step_seconds"] * 1e3
    slow_disk = figures["first_round_tokens_per_second"] < 0.3 * figures["tokens_per_second"]
    advice = " The first reading was much slower: the disk is the limit until its pages are in memory; prefetch helps."
    return (
        f"A batch takes {milliseconds:.3g} ms to make. A step of training that takes longer than "
        f"{milliseconds * 50:.3g} ms waits for data less than 2% of its time." + (advice if slow_disk else "")
    )


def _endless(loader: Loader) -> Iterator[Any]:
    while True:
        yield from loader


def _bare_gather(tokens: Any, max_length: int, batch_size: int) -> Iterator[Any]:
    spans = sliding_window_view(tokens, max_length + 1)
    random = np.random.default_rng(0)
    while True:
        for starts in random.integers(0, len(spans), (256, batch_size)):
            rows = spans[starts]
            yield rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)


def _raw_copy(nbytes: int) -> Iterator[Any]:
    source = np.ones(nbytes, dtype=np.uint8)
    while True:
        yield source.copy()


def _steps_per_second(steps: Iterator[Any], seconds: float) -> float:
    started = now = time.perf_counter()
    count = 0
    while now - started < seconds or not count:
        next(steps)
        count += 1
        now = time.perf_counter()
    return count / (now - started)


def as_lines(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures as a person reads them."""
    rates = {name: f"{value / 1e6:,.1f} million tokens/s" for name, value in figures.items() if "per_second" in name}
    far = []
    if "link_nbytes" in figures:
        alone, together = (f"{speed / 1e6:,.1f} MB/s" for speed in figures["link_nbytes"])
        held, fits = "holds {:,} of {:,} blocks".format(*figures["blocks_held"]), figures["most_shuffle_block"]
        room = f": shuffle_block={fits} fits at most, {figures['more_cache_bytes']:,} more cache_bytes hold all"
        far = [
            ("link", f"{alone} with 1 block alone, {together} with {_TOGETHER} at once"),
            ("keeps up with", f"{rates['link_tokens_per_second']} while blocks come; at twice that a step waits half"),
            ("cache", held + room * bool(figures["more_cache_bytes"])),
        ]
    return [
        *far,
        ("windows", f"{figures['num_windows']:,}"),
        ("first batch", f"{figures['first_batch_seconds'] * 1e3:.1f} ms after opening"),
        ("first reading", rates["first_round_tokens_per_second"]),
        ("loader", f"{rates['tokens_per_second']} ({figures['of_bare_gather']:.2f} of a bare gather)"),
        ("bare gather", rates["bare_gather_tokens_per_second"]),
        ("raw copy", rates["raw_copy_tokens_per_second"]),
        ("a batch", f"{figures['step_seconds'] * 1e6:,.0f} us, {figures['step_nbytes']:,} bytes"),
    ]
