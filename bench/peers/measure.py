"""What the contenders share: the settings, the clock, and the check that their rows are true windows of the file.

NumPy and the standard library only: every contender imports it in an environment of its own. A contender is a script

    python bench/peers/NAME.py speed|check|prepare|first|resume --tokens FILE --folder FOLDER [--workers N] ...

that prints one JSON line per setting. Its ``batches`` is an endless iterator of (inputs, targets), each (B, L) int64,
NumPy or torch: the output that its documentation leads to, not a thing made to look like windrow's.
"""

import argparse
import importlib.metadata
import itertools
import json
import mmap
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Setting(NamedTuple):
    max_length: int
    batch_size: int
    stride: int

    @property
    def name(self) -> str:
        overlap = "" if self.stride == self.max_length else f", stride {self.stride}"
        return f"({self.max_length}, {self.batch_size}{overlap})"


SETTINGS = [Setting(1024, 16, 1024), Setting(256, 8, 256), Setting(256, 8, 128)]
FIRST_LENGTH, FIRST_BATCH = 256, 8  # the shape of `first`, whose stride sets the number of windows


class Source(NamedTuple):
    """Where the tokens are: a raw file of uint16, and a folder for the contender's own copy of it."""

    tokens: Path
    folder: Path

    def memmap(self) -> Any:
        return np.memmap(self.tokens, dtype="<u2", mode="r")

    def num_windows(self, setting: Setting) -> int:
        return (self.tokens.stat().st_size // 2 - setting.max_length - 1) // setting.stride + 1


class NotOffered(Exception):  # noqa: N818  no failure: a setting that the contender does not have
    """Says why a contender cannot do a setting; the table shows it."""


Pair = tuple[Any, Any]
Batches = Callable[[Source, Setting, int], Iterator[Pair]]


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """One epoch after another."""
    while True:
        yield from loader


# -- the measurements ----------------------------------------------------------------------------------------------


def speed(batches: Iterator[Pair], setting: Setting, seconds: float, warm_seconds: float) -> dict[str, Any]:
    """Targets delivered per second, after ``warm_seconds`` and ten batches that are not counted."""
    started = time.perf_counter()
    for num, _ in enumerate(batches):
        if num >= 10 and time.perf_counter() - started > warm_seconds:
            break
    num_batches = 0
    started = time.perf_counter()
    stop = started + seconds
    for inputs, targets in batches:  # noqa: B007  held, as a training loop holds them
        num_batches += 1
        if time.perf_counter() >= stop:
            break
    took = time.perf_counter() - started
    num_targets = num_batches * setting.batch_size * setting.max_length
    return {"tokens_per_second": num_targets / took, "batches": num_batches}


def check(
    batches: Iterator[Pair], source: Source, setting: Setting, num_batches: int, *, replacement: bool = False
) -> dict[str, Any]:
    """Raises AssertionError unless the rows are windows of the file, each once, and not in the file's order.

    A window may come twice where windows are drawn with ``replacement``.
    """
    rows = []
    for inputs, targets in itertools.islice(batches, num_batches):
        shape = (setting.batch_size, setting.max_length)
        for array in (inputs, targets):
            assert str(array.dtype).endswith("int64"), f"{array.dtype}, not int64"
            assert tuple(array.shape) == shape, f"{tuple(array.shape)}, not {shape}"
        pair = np.asarray(inputs), np.asarray(targets)
        assert np.array_equal(pair[0][:, 1:], pair[1][:, :-1]), "targets are not the inputs moved on by one"
        rows += [np.append(row, last).astype("<u2") for row, last in zip(pair[0], pair[1][:, -1], strict=True)]
    with open(source.tokens, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tokens:
        starts = [find(tokens, row) for row in rows]
    steps = np.diff(starts)
    assert replacement or len(set(starts)) == len(starts), "a window came twice"
    assert len(set(steps.tolist())) > 1, "the windows came in the order of the file"
    return {"rows": len(rows), "aligned": all(start % setting.stride == 0 for start in starts)}


def find(tokens: mmap.mmap, row: Any) -> int:
    """The token at which ``row`` stands in the file."""
    head, whole = row[:12].tobytes(), row.tobytes()
    at = tokens.find(head)
    while at >= 0:
        if at % 2 == 0 and tokens[at : at + len(whole)] == whole:
            return at // 2
        at = tokens.find(head, at + 1)
    raise AssertionError(f"a row that begins {row[:6].tolist()} is no window of the file")


def first(batches: Batches, source: Source, setting: Setting) -> dict[str, Any]:
    """Milliseconds from nothing to the first batch, and how far memory rose above what the imports hold.

    Memory is anonymous memory, looked at every millisecond from outside. Pages of the file that the process has
    mapped are the page cache's and are told apart: the kernel maps up to 2 MB of a file for one token that is read.
    """
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import measure; measure.watch({os.getpid()})"
    )
    watcher = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    watcher.stdout.readline()  # it is there
    anonymous, mapped = memory_mb("RssAnon"), memory_mb("RssFile")
    started = time.perf_counter()
    inputs, targets = next(batches(source, setting, 0))
    took = time.perf_counter() - started
    assert tuple(inputs.shape) == tuple(targets.shape) == (setting.batch_size, setting.max_length)
    now = memory_mb("RssAnon")
    seen = float(watcher.communicate("done")[0])
    return {
        "windows": source.num_windows(setting),
        "milliseconds": took * 1e3,
        "peak_mb": max(now, seen) - anonymous,
        "mapped_mb": memory_mb("RssFile") - mapped,
    }


def memory_mb(what: str, pid: int | str = "self") -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) / 1024


def watch(pid: int) -> None:
    """Until a line comes in: the most anonymous memory that process ``pid`` had."""
    print("there", flush=True)
    most = 0.0
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        most = max(most, memory_mb("RssAnon", pid))
    print(most)


def resume(at: Callable[[Source, Setting, int], Iterator[Pair]], source: Source, setting: Setting) -> dict[str, Any]:
    """Milliseconds from nothing to the first batch after half an epoch, after a resume that is seen to be right."""
    sixth, resumed = next(itertools.islice(at(source, setting, 0), 5, None)), next(at(source, setting, 5))
    assert np.array_equal(sixth[0], resumed[0]), "a resume at step 5 is not the sixth batch"
    steps = source.num_windows(setting) // setting.batch_size // 2
    started = time.perf_counter()
    inputs, _ = next(at(source, setting, steps))
    took = time.perf_counter() - started
    assert tuple(inputs.shape) == (setting.batch_size, setting.max_length)
    return {"milliseconds": took * 1e3, "steps": steps}


# -- the command line of every contender -----------------------------------------------------------------------------


def main(
    variants: dict[str, Batches],
    *,
    package: str = "",
    prepare: Callable[[Source, Setting], None] | None = None,
    resumes: Callable[[Source, Setting, int], Iterator[Pair]] | None = None,
    replacement: bool = False,
) -> None:
    """``prepare`` makes the contender's own copy of the tokens, once; ``resumes`` starts at a step of the epoch.

    ``replacement`` says that the contender may draw a window twice.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "check", "prepare", "first", "resume"])
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--variant", default=next(iter(variants)))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batches", type=int, default=2, help="how many batches `check` looks at")
    parser.add_argument("--stride", type=int, help="of `first`")
    parser.add_argument("--memory-gb", type=float, default=0, help="of `first`: the most it may take")
    given = parser.parse_args()
    source = Source(given.tokens, given.folder)
    source.folder.mkdir(parents=True, exist_ok=True)
    batches = variants[given.variant]
    version = importlib.metadata.version(package) if package else ""
    settings = [Setting(FIRST_LENGTH, FIRST_BATCH, given.stride)] if given.what == "first" else SETTINGS
    if given.memory_gb:
        limit = int(given.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for setting in settings:
        row: dict[str, Any] = {"setting": setting.name, "version": version}
        started = time.perf_counter()
        try:
            if given.what == "prepare":
                if prepare:
                    prepare(source, setting)
                row |= {"seconds": time.perf_counter() - started}
            elif given.what == "first":
                row |= first(batches, source, setting)
            elif given.what == "resume":
                row |= {"not_offered": "no state"} if resumes is None else resume(resumes, source, setting)
            else:
                stream = batches(source, setting, given.workers)
                if given.what == "check":
                    row |= check(stream, source, setting, given.batches, replacement=replacement)
                else:
                    row |= speed(stream, setting, given.seconds, min(0.5, given.seconds))
                del stream
        except NotOffered as reason:
            row["not_offered"] = str(reason)
        except MemoryError:
            row["failed"] = f"more than {given.memory_gb:g} GB of memory"
        except Exception as error:  # a contender that fails is named with its reason, and the next setting goes on
            row["failed"] = f"{type(error).__name__}: {error}"[:300]
        print("RESULT " + json.dumps(row), flush=True)
    sys.stdout.flush()
    os._exit(0)  # some leave threads and processes that hold the interpreter back
