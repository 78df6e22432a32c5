"""What the order costs: nanoseconds per position, time and memory to make a loader, time to resume.

Run: make bench-order        (writes bench/results/order.json; a minute or two)
Beside it, in the same run and interleaved: ``torch.randperm(n).tolist()``, which a map-style loader's sampler makes
once an epoch, and Grain's ``index_shuffle``, called position by position as its sampler does.
"""

import itertools
import json
import operator
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from windrow import Loader, Mixture, Windows, open_store, prepare
from windrow.order.permutation import Permutation
from windrow.store.manifest import MANIFEST

RESULTS = Path(__file__).parent / "results" / "order.json"
ROUNDS = 7


def nanoseconds(work: Callable[[], Any], count: int, clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return (clock() - started) / count * 1e9


def permutation(num: int, count: int) -> Callable[[], Any]:
    positions = np.random.default_rng(0).integers(0, num, count)
    shuffle = Permutation(num, "bench")
    return lambda: shuffle.forward(positions, 1)


def randperm() -> Callable[[], Any]:
    import torch

    return lambda: torch.randperm(10**6).tolist()


def index_shuffle(count: int) -> Callable[[], Any] | None:
    try:
        from grain._src.python.experimental.index_shuffle.python import index_shuffle_module
    except ImportError:
        return None
    shuffle = index_shuffle_module.index_shuffle
    return lambda: [shuffle(i, max_index=10**9 - 1, seed=3, rounds=4) for i in range(count)]


def per_position() -> dict[str, float | None]:
    """Medians over interleaved rounds."""
    contenders: dict[str, tuple[Callable[[], Any] | None, int]] = {
        f"windrow, {name}, {count} at a time": (permutation(num, count), count)
        for name, num in (("10^6", 10**6), ("10^9", 10**9), ("2^30 + 1", 2**30 + 1), ("2^62", 2**62))
        for count in (512, 32_768)
    }
    contenders["torch.randperm(10^6).tolist()"] = (randperm(), 10**6)
    contenders["grain index_shuffle, 10^9"] = (index_shuffle(20_000), 20_000)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (work, count) in contenders.items():
            if work:
                times[name].append(nanoseconds(work, count))
    return {name: statistics.median(values) if values else None for name, values in times.items()}


def sparse_store(folder: Path, num_tokens: int) -> Path:
    """A store of ``num_tokens`` zeros that takes no disk: a small one, its token file grown sparse."""
    store = prepare(iter(["x"]), folder, tokenizer="bytes")["train"]
    assert store.path is not None
    manifest = json.loads((store.path / MANIFEST).read_text())
    ends = np.array([num_tokens], dtype=np.int64)
    np.save(store.path / manifest["shards"][0]["documents"], ends)
    with open(store.path / manifest["shards"][0]["file"], "r+b") as file:
        file.truncate(2 * num_tokens)
    manifest["num_tokens"] = manifest["shards"][0]["num_tokens"] = num_tokens
    manifest["num_documents"] = manifest["shards"][0]["num_documents"] = 1
    (store.path / MANIFEST).write_text(json.dumps(manifest))
    return store.path


def constructing(path: str) -> dict[str, float]:
    """Milliseconds and megabytes of making a loader over the store at ``path``, and of resuming in its middle."""
    warm = Loader(Windows(open_store(path), 8, 1), 32)
    next(iter(warm))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    loader = Loader(Windows(open_store(path), 8, 1), 32, seed=1)
    made = time.perf_counter()
    loader[len(loader) // 2].inputs.sum()
    state = {**loader.state_dict(), "position": len(loader) // 2 * 32}
    between = time.perf_counter()
    loader.load_state_dict(state)
    next(iter(loader))
    resumed = time.perf_counter()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"make_ms": (made - started) * 1e3, "resume_ms": (resumed - between) * 1e3, "grown_mb": grown}


def in_processes(num_windows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = sparse_store(Path(folder), num_windows + 8)
        command = [sys.executable, __file__, "--construct", str(path)]
        rows = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5)]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def of_blocks(batches: int = 8192) -> dict[str, float]:
    """Processor time of a batch of a mixture of two members, (8, 1024), over that with the usual block."""
    blocks = (1 << 16, 1 << 12, 1 << 8)
    with tempfile.TemporaryDirectory() as folder:
        stores = [open_store(sparse_store(Path(folder) / name, 2**27)) for name in "ab"]
        members = {name: (Windows(store, 1024), 1.0) for name, store in zip("ab", stores, strict=True)}
        times: dict[int, list[float]] = {block: [] for block in blocks}
        for _, block in itertools.product(range(ROUNDS), blocks):
            made = Loader(Mixture(members, block=block), 8)  # anew: one goes on where it stood, to pages not yet read
            work = partial(deque, itertools.islice(made, batches), 0)
            times[block].append(nanoseconds(work, batches, time.process_time))
    return {
        str(block): statistics.median(map(operator.truediv, times[block], times[blocks[0]])) for block in blocks[1:]
    }


def main() -> None:
    if sys.argv[1:2] == ["--construct"]:
        print(json.dumps(constructing(sys.argv[2])))
        return
    results = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "rounds": ROUNDS,
        "nanoseconds_per_position": per_position(),
        "loader": {f"10^{e}": in_processes(10**e) for e in (6, 9, 12)},
        "blocks": of_blocks(),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    json.dump(results, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
