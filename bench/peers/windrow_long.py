"""10^6 batches of windrow from one loader, through many epochs: does memory grow?

Run: python bench/peers/windrow_long.py STORE [NUM_BATCHES]         (prints one JSON line; about a minute)
"""

import json
import resource
import sys
import time
from pathlib import Path

import windrow as wr


def resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


def main(store: str, num_batches: int = 10**6) -> None:
    """Anonymous memory after each tenth; pages of the file come and go as the kernel likes and are not counted."""
    loader = wr.Loader(wr.Windows(wr.open_store(store), 8), 4, seed=1, epochs=None)
    stream, grown = iter(loader), []
    started = time.perf_counter()
    for _ in range(10):
        for _ in range(num_batches // 10):
            next(stream)
        grown.append(resident_kb() / 1024)
    row = {
        "batches": num_batches,
        "seconds": time.perf_counter() - started,
        "epochs": loader.position / (len(loader) * loader.batch_size),
        "anonymous_mb": grown,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("RESULT " + json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
