"""How cost grows: processor time, memory and bytes read of each path and command, over sizes a thousand times apart.

Run: make bench-scale        (writes bench/results/scale.json; a quarter of an hour, 3 GB on disk)
Stores of random ids, each in one size larger than the others; every path in a process of its own, once on a small store
for its imports, then on the measured one, of which nothing is in memory. Memory is what the process holds beyond mapped
files, at its peak, sampled; a growth of 1 means ten times as much for ten times the size. Then ``prepare``, on texts.
"""

import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice, pairwise
from math import log10
from pathlib import Path
from typing import Any

import numpy as np

import windrow as wr
from windrow.cli.main import app
from windrow.store.manifest import MANIFEST, Manifest, Shard, describe
from windrow.tokens.tokenizer import load_tokenizer

RESULTS = Path(__file__).parent / "results" / "scale.json"
EOS = 50_256
FLOORS = {"cpu_seconds": 0.05, "memory_mb": 5.0, "read_mb": 5.0}  # below it a difference is noise, and growth is 0
PHRASE = "a phrase that is nowhere"


@dataclass(frozen=True)
class Size:
    """What a store is made of."""

    tokens: int = 10**7
    documents: int = 10**4
    shards: int = 1
    sources: int = 10


SMALL = Size(10**5, 100)
AXES: dict[str, list[Size]] = {
    "tokens": [Size(tokens=10**power) for power in (6, 7, 8, 9)],
    "documents": [Size(tokens=10**8, documents=10**power) for power in (4, 5, 6, 7)],
    "shards": [Size(tokens=10**8, documents=10**6, shards=shards) for shards in (1, 10, 100, 500)],
    "sources": [Size(documents=10**5, sources=10**power) for power in (1, 3, 4, 5)],
}


# -- stores --------------------------------------------------------------------------------------------------------


def make_store(folder: Path, size: Size) -> None:
    """Random ids, an eos after each document; documents of random lengths, as many in each shard and each source."""
    rng, tokenizer = np.random.default_rng(0), load_tokenizer("gpt2")
    folder.mkdir(parents=True)
    shares = [size.tokens * n // size.shards for n in range(size.shards + 1)]
    per_shard = size.documents // size.shards
    shards = [
        make_shard(folder, number, stop - start, per_shard, size, rng)
        for number, (start, stop) in enumerate(pairwise(shares))
    ]
    lines = (json.dumps({"nbytes": 100, "path": f"{n:07}.txt", "sha256": "0" * 64}) for n in range(size.sources))
    listing = "".join(f"{line}\n" for line in lines).encode()
    (folder / "sources.jsonl").write_bytes(listing)
    policy = {"eos": "after each document", "split": "documents", "valid_fraction": 0.0, "side": "train"}
    manifest = Manifest(
        dtype="uint16",
        num_tokens=size.tokens,
        num_documents=per_shard * size.shards,
        max_token_id=EOS,
        eos_id=EOS,
        tokenizer=describe(tokenizer),
        policy=policy,
        shards=tuple(shards),
        sources={"file": "sources.jsonl", "sha256": sha256(listing).hexdigest()},
        ledger={"text_tokens": size.tokens - per_shard * size.shards, "eos_tokens": per_shard * size.shards},
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def make_shard(folder: Path, number: int, num_tokens: int, num_documents: int, size: Size, rng: Any) -> Shard:
    weights = rng.random(num_documents) + 0.05
    ends = (np.cumsum(weights) / weights.sum() * (num_tokens - num_documents)).astype(np.int64)
    ends += np.arange(1, num_documents + 1)
    ends[-1] = num_tokens
    tokens = rng.integers(0, EOS, num_tokens, dtype=np.uint16)
    tokens[ends - 1] = EOS
    documents = np.arange(num_documents) + number * num_documents
    origins = np.zeros((num_documents, 4), np.int64)
    origins[:, 0] = documents * size.sources // size.documents
    origins[:, 1] = documents + 1
    origins[:, 3] = 100
    sums = {}
    for name, array in (("documents", ends), ("origins", origins)):
        np.save(folder / f"{name}-{number:05}.npy", array)
        sums[name] = sha256((folder / f"{name}-{number:05}.npy").read_bytes()).hexdigest()
    tokens.tofile(folder / f"tokens-{number:05}.bin")
    named = (f"documents-{number:05}.npy", sums["documents"], f"origins-{number:05}.npy", sums["origins"])
    return Shard(f"tokens-{number:05}.bin", num_tokens, num_documents, sha256(tokens).hexdigest(), *named)


# -- paths ---------------------------------------------------------------------------------------------------------


def loader_of(folder: Path, **choice: Any) -> wr.Loader:
    return wr.Loader(wr.Windows(wr.open_store(folder), 256, **choice), 8, seed=1, epochs=None)


def batches(num: int, **choice: Any) -> Callable[[Path], object]:
    """Open, and read ``num`` batches."""
    return lambda folder: sum(len(batch.inputs) for batch in islice(loader_of(folder, **choice), num))


def resumed(folder: Path) -> None:
    loader = loader_of(folder)
    loader.skip(12_345)
    again = loader_of(folder)
    again.load_state_dict(loader.state_dict())
    next(iter(again))


def looked_up(folder: Path) -> None:
    loader = loader_of(folder)
    for step in range(0, 10_000, 100):
        (sample, *_) = loader.lookup(step)
        assert loader.positions_of(sample.window, sample.epoch) == sample.position


def command(*arguments: str) -> Callable[[Path], object]:
    """A command on the store, its output thrown away."""

    def run(folder: Path) -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
            app([arguments[0], str(folder), *arguments[1:]], standalone_mode=False)

    return run


PATHS: dict[str, Callable[[Path], object]] = {
    "open_store": wr.open_store,
    "concat, 100 batches": batches(100),
    "concat, in order, 100 batches": lambda f: list(
        islice(wr.Loader(wr.Windows(wr.open_store(f), 256), 8, shuffle=False), 100)
    ),
    'concat, documents="epoch", 100 batches': batches(100, documents="epoch"),
    "pad, 100 batches": batches(100, policy="pad"),
    "pack, 100 batches": batches(100, policy="pack"),
    "bos, 100 batches": batches(100, policy="bos"),
    "resume, one batch": resumed,
    "lookup and positions_of, 100 times": looked_up,
    "info": command("info"),
    "show": command("show", "--step", "3"),
    "when --document": command("when", "--document", "77"),
    "when --text": command("when", "--text", PHRASE),
    "plan": command("plan"),
    "check": command("check"),
    "report": command("report", "--out", os.devnull),
}


# -- measuring -----------------------------------------------------------------------------------------------------


def anonymous_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


@contextlib.contextmanager
def measured(result: dict[str, float]) -> Iterator[None]:
    """Fill ``result`` with processor time, growth of memory, bytes from disk and bytes asked for, of what is within."""
    peak, over = [anonymous_mb()], threading.Event()

    def sample() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], anonymous_mb())

    before, sampler = peak[0], threading.Thread(target=sample)
    sampler.start()
    read, asked, cpu = counted_mb("read_bytes"), counted_mb("rchar"), time.process_time()
    try:
        yield
    finally:
        result.update(cpu_seconds=time.process_time() - cpu, read_mb=counted_mb("read_bytes") - read)
        result["asked_mb"] = counted_mb("rchar") - asked
        over.set()
        sampler.join()
        result["memory_mb"] = peak[0] - before


def counted_mb(name: str) -> float:
    """A count of this process's input: ``read_bytes`` from disk, ``rchar`` by any call that reads, workers' too."""
    with open("/proc/self/io") as counts:
        return next(int(line.split()[1]) / 1e6 for line in counts if line.startswith(name))


def forget(folder: Path) -> None:
    """Drop the files of ``folder`` from memory."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, small: Path, folder: Path) -> dict[str, float]:
    result = dict[str, float]()
    PATHS[name](small)
    forget(folder)
    with measured(result):
        PATHS[name](folder)
    return result


def in_a_process(*arguments: str, cache: Path) -> dict[str, float]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(sizes: list[int], values: list[float], floor: float) -> float:
    """The exponent from the last size but one to the last; 0 where the difference is noise."""
    if values[-1] - values[-2] < floor:
        return 0.0
    return (log10(values[-1]) - log10(max(values[-2], floor / 10))) / (log10(sizes[-1]) - log10(sizes[-2]))


def axis(name: str, sizes: list[Size], work: Path) -> dict[str, Any]:
    """Each path over the stores of one axis; a store is removed when it has been measured."""
    rows: dict[str, list[dict[str, float]]] = {path: [] for path in PATHS}
    make_store(work / "small", replace(SMALL, shards=1))
    for size in sizes:
        make_store(work / "store", size)
        for path in PATHS:
            shutil.rmtree(work / "cache", ignore_errors=True)
            found = in_a_process("path", path, str(work / "small"), str(work / "store"), cache=work / "cache")
            rows[path].append(found)
            print(f"{name} {getattr(size, name):.0e}  {path}: {found}", file=sys.stderr)
        shutil.rmtree(work / "store")
    shutil.rmtree(work / "small")
    along = [getattr(size, name) for size in sizes]
    grown = {
        path: {unit: growth(along, [row[unit] for row in found], floor) for unit, floor in FLOORS.items()}
        for path, found in rows.items()
    }
    return {"sizes": along, "paths": rows, "growth": grown}


# -- prepare -------------------------------------------------------------------------------------------------------


def words(num_bytes: int, seed: int = 0) -> str:
    """English-like text: words of a small vocabulary in random order."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["".join(rng.choice(list("etaoinshrdlucmf"), rng.integers(2, 9))) for _ in range(5_000)])
    return " ".join(vocabulary[rng.zipf(1.3, num_bytes // 5) % 5_000].tolist())[:num_bytes]


def json_lines(path: Path, num_bytes: int, document_bytes: int) -> None:
    text, rng = words(4 << 20), np.random.default_rng(1)
    with path.open("w") as file:
        while file.tell() < num_bytes:
            at = int(rng.integers(0, len(text) - document_bytes))
            file.write(json.dumps({"text": text[at : at + document_bytes]}) + "\n")


def small_files(folder: Path, num: int) -> None:
    text = words(1 << 20)
    for number in range(num):
        path = folder / f"{number // 1_000:04}" / f"{number:07}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text[number % 10**6 :][:300])


def one_document(path: Path, num_bytes: int) -> None:
    text = words(4 << 20)
    with path.open("w") as file:
        for _ in range(num_bytes // len(text) + 1):
            file.write(text + " ")


INPUTS: dict[str, tuple[list[int], Callable[[Path, int], None]]] = {
    "files of 300 bytes": ([10**3, 10**4, 10**5], small_files),
    ".jsonl of documents of 4 kB, bytes": (
        [20_000_000, 100_000_000, 400_000_000],
        lambda folder, num: json_lines(folder / "a.jsonl", num, 4_000),
    ),
    ".jsonl of documents of 8 bytes, bytes": (
        [2_000_000, 10_000_000, 40_000_000],
        lambda folder, num: json_lines(folder / "a.jsonl", num, 8),
    ),
    "one .txt document, bytes": (
        [20_000_000, 100_000_000, 400_000_000],
        lambda folder, num: one_document(folder / "a.txt", num),
    ),
}
WAYS: dict[str, dict[str, Any]] = {
    "": {},
    ", dedupe": {"dedupe": True},
    ", part 1 of 16": {"part": (1, 16)},
    ", finish": {},
}


def prepared(folder: Path, dest: Path, way: str) -> dict[str, float]:
    """What this process and its two workers took and read; memory is this process's growth and a worker's peak."""
    result, before = dict[str, float](), 0.0
    if way == ", finish":
        for part in (1, 2):
            wr.prepare(folder, dest, workers=2, part=(part, 2))
        before = children_seconds()
    with measured(result):
        wr.prepare(folder, dest, workers=2, **WAYS[way])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return result | {"workers_cpu_seconds": children_seconds() - before, "worker_peak_mb": peak}


def children_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def prepare_axis(name: str, sizes: list[int], make: Callable[[Path, int], None], work: Path) -> dict[str, Any]:
    rows: dict[str, list[dict[str, float]]] = {name + way: [] for way in WAYS}
    for size in sizes:
        (work / "texts").mkdir()
        make(work / "texts", size)
        for way in WAYS:
            found = in_a_process("prepare", str(work / "texts"), str(work / "dest"), way, cache=work / "cache")
            rows[name + way].append(found)
            print(f"{name}{way} {size:.0e}: {found}", file=sys.stderr)
            shutil.rmtree(work / "dest")
        shutil.rmtree(work / "texts")
    return {"sizes": sizes, "paths": rows}


def main() -> None:
    if sys.argv[1:2] == ["path"]:
        name, small, folder = sys.argv[2:]
        print(json.dumps(measure(name, Path(small), Path(folder))))
        return
    if sys.argv[1:2] == ["prepare"]:
        texts, dest, way = sys.argv[2:]
        print(json.dumps(prepared(Path(texts), Path(dest), way)))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("SCALE_FOLDER")) as folder:
        work = Path(folder)
        results = {
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}",
            "axes": {name: axis(name, sizes, work) for name, sizes in AXES.items()},
            "prepare": {name: prepare_axis(name, sizes, make, work) for name, (sizes, make) in INPUTS.items()},
        }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
