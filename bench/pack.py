"""Packing of ten million documents: time, memory and rows, beside TRL's and OLMo-core's packers.

Run: python bench/pack.py [NUM_DOCUMENTS]            (writes bench/results/pack.json; minutes)
The others run under the interpreter named by PACKERS_PYTHON, an environment of their own with trl, datasets and
ai2-olmo-core, on as many documents as they pack in TIME_LIMIT seconds; one that is not there is named as such. Lengths
are log-normal (median 400 tokens, a long tail: about those of web text), rows of 1024 tokens. TRL packs a thousand
documents at a time, the others all of them.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "pack.json"
MAX_LENGTH, TIME_LIMIT = 1023, 60  # rows of 1024 tokens: OLMo-core's packer wants a power of two


def lengths_of(num: int) -> Any:
    import numpy as np

    return np.clip(np.random.default_rng(0).lognormal(6, 1.1, num), 2, MAX_LENGTH + 1).astype(np.int32)


def windrow(lengths: Any) -> int:
    """The whole index: starts, lengths and rows, as ``Windows(policy="pack")`` builds it."""
    import numpy as np

    from windrow.windows.document_rows import rows_of

    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return rows_of(lambda: [(starts, lengths)], MAX_LENGTH, "pack").num_rows


def trl(lengths: Any) -> int:
    """``pack_dataset`` by best-fit-decreasing over a dataset of that many ids (all zero)."""
    import datasets
    import numpy as np
    import pyarrow as pa
    from trl.data_utils import pack_dataset

    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(int(offsets[-1]), dtype=np.uint16)))
    dataset = datasets.Dataset(pa.table({"input_ids": ids}))
    return len(pack_dataset(dataset, MAX_LENGTH + 1, strategy="bfd"))


def olmo(lengths: Any) -> int:
    """``InstancePacker``: optimised best-fit-decreasing with a segment tree."""
    import numpy as np
    from olmo_core.data.utils import InstancePacker

    ends = np.cumsum(lengths, dtype=np.int64)
    packer = InstancePacker(MAX_LENGTH + 1)
    instances, *_ = packer.pack_documents(np.stack([ends - lengths, ends], axis=1).astype(np.uint64))
    return len(instances)


PACKERS: dict[str, Callable[[Any], int]] = {"windrow": windrow, "trl": trl, "olmo": olmo}


def one(name: str, num: int) -> dict[str, Any]:
    lengths = lengths_of(num)
    PACKERS[name](lengths[:100])  # imports are not packing
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, busy = time.perf_counter(), time.process_time()
    rows = PACKERS[name](lengths)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fill = float(lengths.sum()) / (rows * (MAX_LENGTH + 1))
    return {
        "num_documents": num,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak / 1e3,
        "before_mb": before / 1e3,
        "rows": rows,
        "fill": fill,
    }


def measured(name: str, python: str, num: int) -> dict[str, Any]:
    """One packer in a process of its own, or why it could not be measured."""
    try:
        done = subprocess.run(
            [python, __file__, "--one", name, str(num)], capture_output=True, text=True, timeout=10 * TIME_LIMIT
        )
    except subprocess.TimeoutExpired:
        return {"num_documents": num, "error": f"not done after {10 * TIME_LIMIT} s"}
    if done.returncode:
        return {"num_documents": num, "error": done.stderr.strip().splitlines()[-1][:300]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def largest(name: str, python: str, most: int) -> list[dict[str, Any]]:
    """Ten times as many documents each time, until one takes too long."""
    results, num = [], 10_000
    while num <= most:
        results.append(measured(name, python, num))
        if "error" in results[-1] or results[-1]["seconds"] * 10 > TIME_LIMIT:
            break
        num *= 10
    return results


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], int(sys.argv[3]))))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    others = os.environ.get("PACKERS_PYTHON", sys.executable)
    results = {name: largest(name, sys.executable if name == "windrow" else others, most) for name in PACKERS}
    RESULTS.write_text(json.dumps({"max_length": MAX_LENGTH, "packers": results}, indent=1) + "\n", encoding="utf-8")
    for name, rows in results.items():
        for row in rows:
            print(name, {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})


if __name__ == "__main__":
    main()
