"""Policies beside one another: the time of a batch, kept neighbours, and the index of ten million documents.

Run: make bench-documents        (writes bench/results/documents.json; two minutes)
A batch is (1024, 16) of documents of 600 tokens in the mean, log-normal, 20 million tokens in memory; processor time,
the least of interleaved rounds. Neighbours are pairs of documents side by side in a row of 2048, in epoch 1 and in 0.
"""

import json
import os
import platform
import tempfile
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from windrow import Loader, TokenStore, Windows
from windrow.store.line import Line

RESULTS = Path(__file__).parent / "results" / "documents.json"
ROUNDS, STEPS = 15, 320
CHOICES: dict[str, dict[str, Any]] = {
    "concat": {},
    'concat, phase="epoch"': {"phase": "epoch"},
    "pad": {"policy": "pad"},
    "pack": {"policy": "pack"},
    "bos": {"policy": "bos"},
    'concat, documents="epoch"': {"documents": "epoch"},
    'pack, documents="epoch"': {"policy": "pack", "documents": "epoch"},
}


def store_of(lengths: Any, num_shards: int = 1) -> TokenStore:
    """Documents of these lengths; the shards are as even as documents allow."""
    ends = np.cumsum(lengths, dtype=np.int64)
    ids = np.random.default_rng(1).integers(0, 50_000, ends[-1], dtype=np.uint16)
    cuts = [0, *np.searchsorted(ends, np.arange(1, num_shards) * ends[-1] // num_shards).tolist(), len(ends)]
    tokens, boundaries = [], []
    for first, last in pairwise(cuts):
        begin = int(ends[first - 1]) if first else 0
        tokens.append(ids[begin : ends[last - 1]])
        boundaries.append(ends[first:last] - begin)
    return TokenStore(Line(tokens, boundaries, ids.dtype), eos_id=0)


def mean_600(num: int) -> Any:
    return np.maximum(np.random.default_rng(0).lognormal(np.log(600) - 0.5, 1, num), 2).astype(np.int64)


def microseconds() -> dict[str, dict[str, float]]:
    """Processor time of a batch, by number of shards and choice."""
    streams = {
        (shards, name): iter(Loader(Windows(store, 1024, **choice), 16, seed=1, epochs=None))
        for shards in (1, 40, 500)
        for store in [store_of(mean_600(33_000), shards)]
        for name, choice in CHOICES.items()
    }
    least = dict.fromkeys(streams, float("inf"))
    for _ in range(ROUNDS):
        for which, stream in streams.items():
            started = time.process_time()
            for _ in range(STEPS):
                next(stream)
            least[which] = min(least[which], (time.process_time() - started) / STEPS * 1e6)
    return {str(shards): {name: least[shards, name] for name in CHOICES} for shards, _ in streams}


def kept(windows: Windows) -> float:
    """The share of the pairs of epoch 1 that are pairs of epoch 0 too."""
    pairs = []
    for epoch in (0, 1):
        documents = windows.documents(np.arange(len(windows)), epoch)
        left, right = documents[:, :-1], documents[:, 1:]
        beside = (left != right) & (left >= 0) & (right >= 0)
        both = np.sort(np.stack([left[beside], right[beside]]), axis=0)
        pairs.append(np.unique(both[0] * windows.store.num_documents + both[1]))
    return len(np.intersect1d(*pairs)) / len(pairs[1])


def neighbours() -> dict[str, dict[str, float]]:
    stores = {num: store_of(mean_600(num)) for num in (1_000, 10_000, 100_000)}
    rows = [name for name in CHOICES if name not in ("pad", "bos")]
    return {
        str(num): {name: kept(Windows(store, 2048, **CHOICES[name])) for name in rows} for num, store in stores.items()
    }


def index_of_ten_million() -> dict[str, dict[str, float]]:
    """The index of an epoch: made by one row of each group of documents."""
    lengths, made = np.random.default_rng(0).integers(2, 40, 10**7), {}
    for shards in (1, 40):
        store = store_of(lengths, shards)
        windows = Windows(store, 1024, documents="epoch")
        rows = np.linspace(0, len(windows) - 1, 60).astype(np.int64)
        started = time.process_time()
        windows.rows(rows, 0)
        seconds = time.process_time() - started
        tracemalloc.start()
        windows.rows(rows, 1)
        made[str(shards)] = {"cpu_seconds": seconds, "kept_mb": tracemalloc.get_traced_memory()[0] / 1e6}
        tracemalloc.stop()
    return made


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        results = {
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}",
            "rounds": ROUNDS,
            "microseconds": microseconds(),
            "neighbours": neighbours(),
            "index": index_of_ten_million(),
        }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
