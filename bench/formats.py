"""What token files of other tools cost to read: gathers beside a prepared store of the same tokens, and opening.

Run: make bench-formats        (writes bench/results/formats.json; a minute, 1 GB under build/)
Gathers of 16 rows of 1 025 tokens, in turns, in processor time; opening of ten million documents, the first time and
later ones, in seconds.
"""

import json
import os
import platform
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from windrow import TokenStore, export_store, open_store, prepare
from windrow.preparing.crew import Here

ROOT = Path(__file__).parents[1]
RESULTS, WORK = ROOT / "bench" / "results" / "formats.json", ROOT / "build" / "formats"
NUM_TOKENS, NUM_DOCUMENTS, ROUNDS, EOS = 50_000_000, 10_000_000, 25, 50256
ASKED: dict[str, Any] = {"dtype": "uint16", "eos_id": EOS}
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "megatron": ("m", {}),
    "datatrove": ("d.ds", {}),
    "llmc": ("l.bin", {}),
    "nanogpt": ("n.bin", ASKED),
}


def write(folder: Path, tokens: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> TokenStore:
    """The same tokens in each format; the store in memory."""
    folder.mkdir(parents=True)
    store = TokenStore.from_ids(tokens, document_ends=ends, eos_id=EOS)
    export_store(store, folder / "m", "megatron")
    export_store(store, folder / "d", "datatrove")
    tokens.tofile(folder / "n.bin")
    head = np.array([20240520, 1, len(tokens), *[0] * 253], "<i4")
    (folder / "l.bin").write_bytes(head.tobytes() + np.roll(tokens, 1).tobytes())
    return store


def gathers(folder: Path) -> dict[str, float]:
    """Microseconds of a gather, medians."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 50_000, NUM_TOKENS).astype("<u2")
    ends = np.cumsum(random.integers(100, 1500, NUM_TOKENS // 100))
    ends = np.append(ends[ends < NUM_TOKENS], NUM_TOKENS)
    tokens[ends - 1] = EOS
    store = write(folder, tokens, ends)
    rows = ({"ids": store.document(number)} for number in range(store.num_documents))
    prepare(rows, folder / "corpus", ids_key="ids", tokenizer="gpt2", executor=Here())
    stores = {"windrow": open_store(folder / "corpus" / "train")}
    stores |= {name: open_store(folder / path, **asked) for name, (path, asked) in FILES.items()}
    for each in stores.values():
        each.tokens()  # in memory, all of them
    found: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(ROUNDS):
        batches = random.integers(0, NUM_TOKENS - 1025, (200, 16))
        for name in np.roll([*stores], turn).tolist():
            started = time.process_time()
            for starts in batches:
                stores[name].gather(starts, 1025)
            found[name].append((time.process_time() - started) / len(batches) * 1e6)
    return {name: statistics.median(each) for name, each in found.items()}


def openings(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds to open the files and read the last document: the first time, and the median of five more."""
    tokens = np.ones(NUM_DOCUMENTS * 8, np.uint16)
    tokens[7::8] = EOS
    write(folder, tokens, np.arange(1, NUM_DOCUMENTS + 1) * 8)
    found = {}
    for name, (path, asked) in FILES.items():
        seconds = []
        for _ in range(6):
            started = time.perf_counter()
            assert len(open_store(folder / path, **asked).document(NUM_DOCUMENTS - 1)) == 8
            seconds.append(time.perf_counter() - started)
        found[name] = seconds[0], statistics.median(seconds[1:])
    return found


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(WORK / "cache")
    results = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "rounds": ROUNDS,
        "gather_microseconds": gathers(WORK / "gathers"),
        "opening_seconds": openings(WORK / "openings"),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(WORK)


if __name__ == "__main__":
    main()
