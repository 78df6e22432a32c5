"""The comparison: windrow beside every loader that people train GPT-like models with, over one token file, in one run.

Run: python bench/loaders.py [--rounds 5] [--seconds 1.5] [--only NAME,...] [--skip-install] [--fresh]

Every round runs each contender once, in a process and, for packages, an environment of its own (.venv-bench/NAME), with
the file in the page cache; the first batches are not timed. A ratio is windrow's speed by the contender's *in the same
round*; the median of the rounds is reported. Before anything is timed, each contender's rows are looked up in the
file. A run that was stopped goes on where it stopped (build/bench/partial.json); --fresh starts over.
Results: bench/results/loaders.json, from which bench/render.py makes the tables of docs/benchmarks.md.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "bench" / "peers"
RESULTS = ROOT / "bench" / "results" / "loaders.json"
WORK = ROOT / "build" / "bench"
NUM_TOKENS = 200_000_000
WORKER_COUNTS = (1, 2, 4)
BIG_TOKENS = 2 * 10**9  # 4 GB, sparse: for the time to the first batch
BIG_STRIDES = {f"10^{9 - e}": 2 * 10**e for e in (3, 2, 1, 0)}
FIRST_FIGURES = ("windows", "milliseconds", "peak_mb", "mapped_mb")
FIRST_SECONDS, FIRST_GB = 60, 8  # what a contender may take until its first batch
PROCESS_SECONDS = 300


@dataclass(frozen=True)
class Contender:
    name: str
    script: str
    kind: str = "loader"  # or "windrow", "limit"
    variant: str = ""
    beside: str = "windrow (torch)"  # the windrow whose output is of the same type
    package: str = ""  # installed into an environment of its own
    workers: bool = True  # has worker processes to try
    first: bool = False  # reads the raw file as it is, so the time to the first batch is its own
    needs: tuple[str, ...] = ()  # what its documentation installs beside it

    @property
    def home(self) -> Path:
        return ROOT / ".venv-bench" / Path(self.script).stem.removeprefix("with_")

    @property
    def python(self) -> str:
        return str(self.home / "bin" / "python") if self.package else sys.executable


CONTENDERS = [
    Contender("windrow", "windrow_loader.py", "windrow", "numpy", "windrow", workers=False, first=True),
    Contender("bare gather", "limits.py", "limit", "gather", "windrow", workers=False),
    Contender("bare gather, view kept", "limits.py", "limit", "view", "windrow", workers=False),
    Contender("gather into kept buffers", "limits.py", "limit", "kept", "windrow", workers=False),
    Contender("copy of a ready batch", "limits.py", "limit", "copy", "windrow", workers=False),
    Contender("windrow (torch)", "windrow_loader.py", "windrow", "torch", workers=False),
    Contender("textbook list of tensors (first 20M tokens)", "textbook.py"),
    Contender("map-style slices, DataLoader(shuffle=True)", "map_style.py", first=True),
    Contender("nanoGPT's get_batch", "get_batch.py", workers=False),
    Contender("litdata", "with_litdata.py", package="litdata"),
    Contender("mosaicml-streaming", "with_streaming.py", package="mosaicml-streaming"),
    Contender("grain", "with_grain.py", beside="windrow", package="grain", first=True),
    Contender("grain, no threads", "with_grain.py", "loader", "no threads", "windrow", "grain", workers=False),
    Contender("megatron-core", "with_megatron.py", package="megatron-core"),
    Contender("datatrove", "with_datatrove.py", package="datatrove"),
    Contender("Hugging Face datasets", "with_datasets.py", package="datasets"),
]


# -- environments and data -------------------------------------------------------------------------------------------


def install(contender: Contender) -> str | None:
    """An environment with torch (pinned: no CUDA) and the package. Why it failed, or None."""
    done = contender.home / ".installed"
    if done.exists():
        return None
    pip = [contender.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    for command in (
        [sys.executable, "-m", "venv", str(contender.home)],
        [*pip, "--requirement", constraints],
        [*pip, "--constraint", constraints, "numpy", contender.package, *contender.needs],
    ):
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
            return f"cannot be installed: {(lines or process.stderr.splitlines() or ['?'])[-1]}"[:300]
    done.touch()
    return None


def skewed(count: int, rng: np.random.Generator) -> np.ndarray:
    """Ids in 0 .. 50256, small ones often and large ones seldom, as in text."""
    return (50_257 * rng.random(count, dtype=np.float32) ** 3).clip(0, 50_256).astype("<u2")


def make_store(folder: Path, num_tokens: int, *, sparse: bool = False) -> Path:
    """A windrow store of ``num_tokens`` (its token file is what all contenders read); the path of that file."""
    sys.path.insert(0, str(ROOT / "src"))
    from windrow import prepare
    from windrow.store.manifest import MANIFEST

    tokens, marker = folder / "train" / "tokens-00000.bin", folder / "made"
    if marker.exists() and tokens.stat().st_size == 2 * num_tokens:
        return tokens
    prepare(iter(["x"]), folder, tokenizer="bytes")
    manifest = json.loads((folder / "train" / MANIFEST).read_text())
    shard = manifest["shards"][0]
    with open(tokens, "r+b") as file:
        rng = np.random.default_rng(20)
        for first in range(0, 0 if sparse else num_tokens, 1 << 24):
            file.write(skewed(min(1 << 24, num_tokens - first), rng).tobytes())
        file.truncate(2 * num_tokens)
    np.save(folder / "train" / shard["documents"], np.array([num_tokens], dtype=np.int64))
    manifest["num_tokens"] = shard["num_tokens"] = num_tokens
    manifest["num_documents"] = shard["num_documents"] = 1
    manifest["max_token_id"] = 50_256
    (folder / "train" / MANIFEST).write_text(json.dumps(manifest))
    marker.touch()
    return tokens


# -- running a contender ---------------------------------------------------------------------------------------------


def run(contender: Contender, what: str, tokens: Path, *options: str, timeout: float = PROCESS_SECONDS) -> list[dict]:
    """The rows that the contender's process printed; a process that failed or took too long is a row that says so."""
    command = [contender.python, str(PEERS / contender.script), what, "--tokens", str(tokens)]
    command += ["--folder", str(WORK / contender.home.name), *options]
    if contender.variant:
        command += ["--variant", contender.variant]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")] if contender.kind == "windrow" else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    WORK.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=WORK,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        out, err = stop(process)
        return [*rows_of(out), {"failed": f"not in {timeout:g} s"}]
    finally:
        stop(process)  # and the workers it left
    rows = rows_of(out)
    if process.returncode or not rows:
        last = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        why = "killed for memory" if process.returncode == -9 else last[:300]
        rows.append({"failed": why})
    return rows


def stop(process: subprocess.Popen) -> tuple[str, str]:
    """Ends the session that ``process`` leads: itself and its workers."""
    import contextlib
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=10)
    except (subprocess.TimeoutExpired, ValueError):
        return "", ""


def rows_of(out: str) -> list[dict]:
    return [json.loads(line.removeprefix("RESULT ")) for line in out.splitlines() if line.startswith("RESULT ")]


class Partial:
    """What has been measured, by key, kept on disk after each step."""

    def __init__(self, path: Path, fresh: bool) -> None:
        self.path = path
        self.rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if fresh:
            self.forget()

    def forget(self) -> None:
        """All but what it took to make the contenders' own copies of the tokens, which stay."""
        self.rows = {key: value for key, value in self.rows.items() if key.startswith("prepare ")}
        self.path.write_text(json.dumps(self.rows))

    def once(self, key: str, work: Any) -> Any:
        if key not in self.rows:
            print(f"{datetime.datetime.now():%H:%M:%S} {key}", flush=True)
            self.rows[key] = work()
            self.path.write_text(json.dumps(self.rows))
            for row in self.rows[key] if isinstance(self.rows[key], list) else []:
                if "failed" in row:
                    print(f"         {row}", flush=True)
        return self.rows[key]


# -- the whole run ---------------------------------------------------------------------------------------------------


def chosen(only: str) -> list[Contender]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in {contender.name for contender in CONTENDERS}]
    if unknown:
        sys.exit(f"no contender {unknown}. There are: {', '.join(contender.name for contender in CONTENDERS)}")
    wanted = [c for c in CONTENDERS if not names or c.name in names]
    needed = {c.beside for c in wanted}
    return [c for c in CONTENDERS if c in wanted or c.name in needed]


def best_workers(contender: Contender, tokens: Path, partial: Partial, seconds: float) -> int:
    """The worker count that is fastest over all settings together (geometric mean); 0 when there is none to choose."""
    speeds = {}
    for count in WORKER_COUNTS:
        rows = partial.once(
            f"try {contender.name}, {count} workers",
            lambda count=count: run(contender, "speed", tokens, "--workers", str(count), "--seconds", str(seconds / 2)),
        )
        found = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
        if found:
            speeds[count] = statistics.geometric_mean(found)
    return max(speeds, key=speeds.__getitem__) if speeds else 0


def prime(tokens: Path) -> None:
    with open(tokens, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def rotated(rows: list, by: int) -> list:
    return rows[by % len(rows) :] + rows[: by % len(rows)]


def speeds(
    runs: list[tuple[Contender, int]], tokens: Path, partial: Partial, rounds: int, seconds: float
) -> Iterator[tuple[int, Contender, int, list[dict]]]:
    """Interleaved: each round runs every contender once, beginning with another one."""
    for number in range(rounds):
        prime(tokens)
        for contender, workers in rotated(runs, number * 3):
            key = f"round {number}, {contender.name}, {workers} workers"
            options = ("--workers", str(workers), "--seconds", str(seconds))
            yield (
                number,
                contender,
                workers,
                partial.once(key, lambda c=contender, o=options: run(c, "speed", tokens, *o)),
            )


def summary(
    measured: Iterable[tuple[int, Contender, int, list[dict]]], settings: list[str]
) -> dict[tuple[str, int], dict]:
    """Per contender and worker count, by setting: median speed, and the median over rounds of windrow's ratio to it."""
    measured = list(measured)
    at = {
        (number, contender.name, workers, row.get("setting")): row
        for number, contender, workers, rows in measured
        for row in rows
    }
    failed = {
        (contender.name, workers): row["failed"]
        for _, contender, workers, rows in measured
        for row in rows
        if "failed" in row and "setting" not in row
    }
    rounds = sorted({number for number, *_ in measured})
    out: dict[tuple[str, int], dict] = {}
    for contender, workers in dict.fromkeys((contender, workers) for _, contender, workers, _ in measured):
        by_setting = {}
        for setting in settings:
            rows = [at.get((number, contender.name, workers, setting), {}) for number in rounds]
            speed = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
            ratios = [
                windrow["tokens_per_second"] / row["tokens_per_second"]
                for number, row in zip(rounds, rows, strict=True)
                if "tokens_per_second" in row
                and "tokens_per_second" in (windrow := at.get((number, contender.beside, 0, setting), {}))
            ]
            if speed:
                by_setting[setting] = {
                    "tokens_per_second": statistics.median(speed),
                    "rounds": len(speed),
                    "ratio": statistics.median(ratios) if ratios else None,
                    "ratios": [round(ratio, 3) for ratio in ratios],
                }
            else:
                why = [row.get("not_offered") or row.get("failed") for row in rows if row]
                by_setting[setting] = {"reason": (why or [failed.get((contender.name, workers), "no result")])[0]}
        out[contender.name, workers] = by_setting
    return out


def first_batches(contenders: list[Contender], partial: Partial) -> dict[str, dict[str, Any]]:
    tokens = make_store(WORK / "big", BIG_TOKENS, sparse=True)
    prime(tokens)
    out: dict[str, dict[str, Any]] = {}
    for contender in contenders:
        for num, stride in BIG_STRIDES.items():
            options = ("--stride", str(stride), "--memory-gb", str(FIRST_GB))
            times = 5 if contender.kind == "windrow" else 1
            rows = [
                partial.once(
                    f"first {contender.name}, {num}, {i}",
                    lambda c=contender, o=options: run(c, "first", tokens, *o, timeout=FIRST_SECONDS),
                )[-1]
                for i in range(times)
            ]
            done = [row for row in rows if "milliseconds" in row]
            out.setdefault(contender.name, {})[num] = (
                {name: statistics.median(row[name] for row in done) for name in FIRST_FIGURES}
                if done
                else {"reason": rows[0].get("failed") or rows[0].get("not_offered")}
            )
    return out


def machine() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.date.today().isoformat(),
    }


def versions(contender: Contender) -> str:
    code = (
        "import importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in "
        f"{[contender.package or None, 'torch', 'numpy']!r} if p))"
    )
    done = subprocess.run([contender.python, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="per measurement")
    parser.add_argument("--only", default="", help="names, separated by commas; windrow always runs beside them")
    parser.add_argument("--skip-install", action="store_true", help="use the environments that are there")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run measured")
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    partial = Partial(WORK / "partial.json", given.fresh)
    contenders, reasons = chosen(given.only), {}
    tokens = make_store(WORK / "store", NUM_TOKENS)
    prime(tokens)
    prepared, ready = {}, []
    for contender in contenders:
        if contender.package:
            here = Path(contender.python).exists()
            reasons[contender.name] = (None if here else "not installed") if given.skip_install else install(contender)
        reasons[contender.name] = reasons.get(contender.name) or checked(contender, tokens, partial, prepared)
        if reasons[contender.name]:
            print(f"         {contender.name}: {reasons[contender.name]}", flush=True)
        else:
            ready.append(contender)
    runs = [(contender, 0) for contender in ready]
    for contender in ready:
        if contender.workers and (best := best_workers(contender, tokens, partial, given.seconds)):
            runs.append((contender, best))
    runs = [pair for contender in ready for pair in runs if pair[0] is contender]
    settings = [row["setting"] for row in rows_with_settings(partial)]
    table = summary(speeds(runs, tokens, partial, given.rounds, given.seconds), settings)
    results = {
        "machine": machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "num_tokens": NUM_TOKENS,
        "settings": settings,
        "contenders": [
            {
                "name": contender.name,
                "kind": contender.kind,
                "beside": contender.beside,
                "versions": versions(contender) if not reasons[contender.name] else "",
                "reason": reasons[contender.name],
                "prepare_seconds": prepared.get(contender.name),
                "runs": [{"workers": w, "speed": table[c.name, w]} for c, w in runs if c is contender],
            }
            for contender in contenders
        ],
        "limits_of_first": {"seconds": FIRST_SECONDS, "gigabytes": FIRST_GB},
        "first": first_batches([contender for contender in ready if contender.first], partial),
        "resume": {
            c.name: partial.once(f"resume {c.name}", lambda c=c: run(c, "resume", tokens))
            for c in ready
            if c.kind == "loader" or c.name == "windrow"
        },
        "long": long_run(partial),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.forget()  # the next run measures anew
    print(f"wrote {RESULTS}")


def checked(contender: Contender, tokens: Path, partial: Partial, prepared: dict[str, float]) -> str | None:
    """Makes the contender's own copy of the tokens and looks its rows up in the file. Why it cannot go on, or None."""
    if contender.package:
        rows = partial.once(f"prepare {contender.home.name}", lambda: run(contender, "prepare", tokens, timeout=1200))
        if bad := next((row for row in rows if "failed" in row), None):
            return f"cannot be prepared: {bad['failed']}"
        prepared[contender.name] = sum(row.get("seconds", 0.0) for row in rows)
    for workers in (0, 1) if contender.workers else (0,):
        options = ("--workers", str(workers))
        key = f"check {contender.name}, {workers} workers"
        if contender.script == "limits.py" and contender.variant == "copy":
            return None  # it copies one batch over and over
        rows = partial.once(key, lambda o=options: run(contender, "check", tokens, *o))
        if bad := next((row for row in rows if "failed" in row), None):
            return f"{workers} workers: {bad['failed']}"
    return None


def rows_with_settings(partial: Partial) -> list[dict]:
    """The settings are those of bench/peers/measure.py, which this driver does not import."""
    return next(rows for key, rows in partial.rows.items() if key.startswith("check windrow"))


def long_run(partial: Partial) -> dict[str, Any]:
    store = make_store(WORK / "small", 1_000_000).parent
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(PEERS / "windrow_long.py"), str(store)]

    def work() -> dict:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return rows_of(done.stdout)[0]

    return partial.once("long run", work)


if __name__ == "__main__":
    main()
