"""Workers and other executors, also killed ones and in scripts of any kind: the bytes are always the same."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import snapshot
from windrow import prepare
from windrow.errors import PrepareError
from windrow.preparing.workers import Workers


@pytest.mark.parametrize("kind", ["workers", "threads", "spawned processes"])
def test_any_executor_gives_the_same_bytes(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, kind: str
) -> None:
    executor: Executor = {
        "workers": lambda: Workers(3),
        "threads": lambda: ThreadPoolExecutor(2),
        "spawned processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }[kind]()
    with executor:
        prepare(inputs, tmp_path, valid_fraction=0.1, executor=executor)
    assert snapshot(tmp_path) == undisturbed


SCRIPT = """
import sys
import windrow
print("top level")  # once: no worker imports this file again
windrow.prepare(sys.argv[1], sys.argv[2], workers=2, valid_fraction=0.1)
"""


@pytest.mark.parametrize("way", ["script", "standard input", "-c"])
def test_a_script_needs_no_main_guard(inputs: Path, undisturbed: dict[str, str], tmp_path: Path, way: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    start: list[Any] = {"script": [script], "standard input": ["-"], "-c": ["-c", SCRIPT]}[way]
    out = subprocess.run(
        [sys.executable, "-W", "error", *start, str(inputs), str(tmp_path / "out")],
        input=SCRIPT if way == "standard input" else None,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, "top level\n", "")
    assert snapshot(tmp_path / "out") == undisturbed


def test_workers_are_not_started_for_little_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    prepare(iter(["a story"]), tmp_path)


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def test_a_task_whose_worker_is_killed_is_done_again_and_after_three_times_it_is_named(tmp_path: Path) -> None:
    from windrow.preparing.crew import run

    with Workers(2) as workers:
        paths = [str(tmp_path / name) for name in "abcd"]
        assert sorted(run(workers, die_once, paths, 3)) == [(n, path, path) for n, path in enumerate(paths)]
        with pytest.raises(PrepareError, match=r"died 3 times on the same work: 3 \(killed by signal 9\)"):
            list(run(workers, die, range(6), 3))
        assert sorted(run(workers, die, [1, 2], 3)) == [(0, 1, 1), (1, 2, 2)]  # and the workers go on


class OddError(Exception):
    """Cannot be made again of its own arguments, as pickle would do."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_oddly(number: int) -> int:
    raise OddError(number, number)


def test_an_error_that_cannot_travel_is_told_all_the_same() -> None:
    with Workers(1) as workers:
        with pytest.raises(RuntimeError, match="OddError: 3 and 3"):
            workers.submit(fail_oddly, 3).result(timeout=60)
        assert workers.submit(os.getpid).result(timeout=60)  # and the worker goes on


def test_workers_start_whatever_is_in_the_path_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current folder, and none of ours')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*filter(None, sys.path), Path("/tmp")])  # a Path there does nothing in Python
    with Workers(1) as workers:
        assert workers.submit(os.getcwd).result(timeout=60) == str(tmp_path)


def die_at_first(when: str, mark: str, call: Callable[[Any], Any], task: Any) -> Any:
    """``call(task)``; but the first worker that is at it is killed before, in the middle of it or after."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if os.path.exists(mark):
        return call(task)
    Path(mark).touch()
    if when == "before":
        die()
    middle = threading.Timer(0.02, die)
    if when == "in the middle":
        middle.start()
    done = call(task)
    middle.cancel()
    if when == "after":
        die()
    return done


def test_a_run_whose_workers_are_killed_again_and_again_ends_with_the_same_bytes(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at each piece of work, that is: three times at the same one would be too often."""
    start, submit, started = Workers._start, Workers.submit, list[Any]()
    marks: dict[str, str] = {}  # of each piece of work, and when its first worker is killed

    def counted(self: Workers) -> Any:
        started.append(start(self))
        return started[-1]

    def deadly(self: Workers, call: Callable[[Any], Any], task: Any) -> Any:
        mark = str(tmp_path / hashlib.sha256(pickle.dumps(task)).hexdigest())
        when = marks.setdefault(mark, ("before", "in the middle", "after")[len(marks) % 3])
        return submit(self, die_at_first, when, mark, call, task)

    monkeypatch.setattr(Workers, "_start", counted)
    monkeypatch.setattr(Workers, "submit", deadly)
    prepare(inputs, tmp_path / "out", workers=2, valid_fraction=0.1)
    num_killed = sum(when != "in the middle" for when in marks.values())  # that one may come too late
    assert num_killed >= 4
    assert len(started) > num_killed
    assert snapshot(tmp_path / "out") == undisturbed


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, signal, time
        from windrow.preparing.workers import Workers
        workers = Workers(2)
        pids = [workers.submit(os.getpid).result()]
        workers.submit(time.sleep, 100)
        print(*pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)  # waits for stderr
    assert out.returncode == -signal.SIGKILL
    for _ in range(600):
        status = subprocess.run(["ps", "-o", "stat=", "-p", out.stdout.strip()], capture_output=True, text=True).stdout
        if status.strip()[:1] in ("", "Z"):  # gone, or dead and not yet collected
            return
        time.sleep(0.1)
    raise AssertionError(f"worker {out.stdout} is still {status}")


def test_workers_that_are_started_early_take_the_tasks_and_end_without_any() -> None:
    with Workers(2) as workers:
        workers.start(5)
        assert len(workers._children) == 2
        assert len({workers.submit(os.getpid).result() for _ in range(4)}) <= 2
        assert len(workers._children) == 2
    with Workers(3) as workers:
        workers.start(1)
        workers.submit(os.getpid).result()
        assert len(workers._children) == 1
    with Workers(2) as workers:
        workers.start(1)
        (child,) = workers._children
    assert child.wait(timeout=60) == -signal.SIGKILL


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_workers() -> None:
    with Workers(1) as workers:
        assert workers.submit(os.getpgrp).result() != os.getpgrp()


def hold(nbytes: int) -> int:
    global held
    held = b"x" * nbytes
    return os.getpid()


def test_a_worker_whose_replacement_would_hold_as_much_is_kept() -> None:
    with Workers(1, max_rss=1) as workers:
        assert len({workers.submit(hold, 1).result() for _ in range(4)}) == 1


def test_a_worker_that_holds_too_much_memory_is_replaced() -> None:
    with Workers(1, max_rss=200 << 20) as workers:
        first = workers.submit(hold, 1).result()
        assert workers.submit(hold, 400 << 20).result() == first
        assert workers.submit(hold, 1).result() != first
