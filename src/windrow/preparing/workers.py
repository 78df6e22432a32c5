"""Worker processes that need no ``__main__``: an ``Executor`` over plain subprocesses.

Guarantee: works at the top level of a script, in a notebook and from ``python -``, for nothing of the caller's is
imported again; when a worker dies the one future it worked on gets ``BrokenExecutor``, and a new worker takes its
place; when this process dies, however rudely, the workers end. Cost: a process start of a third of a second
each, at the first task. What it does not do: bound how many tasks wait.
"""

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, BinaryIO, TypeVar, cast

__all__ = ["WorkerDiedError", "Workers", "serve"]

R = TypeVar("R")
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import windrow.preparing.encode  # what the tasks will need, while the parent gets them ready
from windrow.preparing.workers import serve
serve()
"""
_ONE_CORE = {"RAYON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class WorkerDiedError(BrokenExecutor):
    """The process that worked on this task ended."""


class Workers(Executor):
    """``num_workers`` processes, each started when there is work for it, or by ``start``; one that holds more
    than ``max_rss`` bytes after a task is replaced."""

    def __init__(self, num_workers: int, max_rss: int = 1 << 62) -> None:
        self._max_rss, self._closed = max_rss, False
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._starting = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._num_workers, self._threads = num_workers, list[threading.Thread]()

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        future: Future[R] = Future()
        self._tasks.put((future, pickle.dumps((call, args, kwargs), protocol=5)))
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._num_workers:
            self._add()
        return future

    def start(self, num_tasks: int) -> None:
        """Start processes now, as so many tasks will come: they get ready while the tasks are made."""
        for _ in range(min(num_tasks, self._num_workers) - len(self._threads)):
            self._add()
            self._idle.release()

    def _add(self) -> None:
        thread = threading.Thread(target=self._serve_child, name="windrow-worker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; what they are at now is given up."""
        with self._starting:
            self._closed = True
            for child in self._children:
                child.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _serve_child(self) -> None:
        child: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError, EOFError):  # the first task will tell
            child = self._start()
        while (task := self._tasks.get()) is not None and not self._closed:
            future, data = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                child = child or self._start()
                succeeded, value, rss = _ask(child, data)
            except (OSError, EOFError) as error:
                future.set_exception(self._buried(child, error))
                child = None
            except Exception as error:  # an answer that cannot be read is one, too: nobody may wait for ever
                future.set_exception(error)
            else:
                if rss > self._max_rss:
                    self._end(child)
                    child = None
                (future.set_result if succeeded else future.set_exception)(value)
            self._idle.release()
        if child:
            self._end(child)

    def _start(self) -> "subprocess.Popen[bytes]":
        path = [folder for folder in sys.path if isinstance(folder, str)]  # Python itself takes no notice of others
        command = [sys.executable, "-P", "-c", _START, json.dumps(path)]  # -P: no json.py of the current folder
        environment = {**os.environ, **_ONE_CORE}
        with self._starting:
            if self._closed:
                raise EOFError("the workers were shut down")
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                process_group=0,  # a Ctrl-C in the terminal is for the parent, which decides
            )
            self._children.add(child)
        return child

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        child.kill()  # it has nothing to lose: what it made is on disk
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):  # what was not sent yet
                pipe and pipe.close()
        child.wait()
        with self._starting:
            self._children.discard(child)

    def _buried(self, child: "subprocess.Popen[bytes] | None", error: Exception) -> Exception:
        if child is None:
            return error  # it could not even be started
        self._end(child)
        code = child.returncode
        return WorkerDiedError(f"killed by signal {-code}" if code < 0 else f"ended with status {code}")


def _ask(child: "subprocess.Popen[bytes]", data: bytes) -> tuple[bool, Any, int]:
    assert child.stdin is not None
    assert child.stdout is not None
    _send(child.stdin, data)  # type: ignore[arg-type]
    return cast(tuple[bool, Any, int], pickle.loads(_receive(child.stdout)))  # type: ignore[arg-type]


def _send(pipe: BinaryIO, data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes:
    """One message. Raises ``EOFError`` when the other side has gone."""
    head = pipe.read(8)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
    if len(head) < 8 or len(data) < int.from_bytes(head, "little"):
        raise EOFError("the other process ended")
    return data


def serve() -> None:
    """The life of a worker: tasks from standard input, results to what was standard output, until either closes."""
    import gc

    gc.freeze()  # what was imported stays, and need not be looked at time and again
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that is printed gets among the results
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"), tasks), daemon=True).start()
    while True:
        message = _answer(tasks.get())
        _send(results, message)


def _listen(pipe: BinaryIO, tasks: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            tasks.put(_receive(pipe))
    except (EOFError, OSError):
        os._exit(0)  # the parent has gone, maybe in the middle of a task


def _answer(data: bytes) -> bytes:
    try:
        call, args, kwargs = pickle.loads(data)  # from the parent, through its pipe
        answer: tuple[bool, Any, int] = (True, call(*args, **kwargs), _rss())
        return pickle.dumps(answer, protocol=5)
    except Exception as error:
        return pickle.dumps((False, _that_travels(error), _rss()), protocol=5)


def _that_travels(error: Exception) -> Exception:
    """``error``, or one that says the same when it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error, protocol=5))
    except Exception:
        return RuntimeError(f"{type(error).__module__}.{type(error).__name__}: {error}")
    return error


def _rss() -> int:
    """Bytes of memory that this process holds (0 where that is not known)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
