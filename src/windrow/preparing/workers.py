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
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar, cast

from windrow.system import APART, memory_of

__all__ = ["Workers", "serve"]

R = TypeVar("R")
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import windrow.preparing.encode  # what the tasks will need, while the parent gets them ready
from windrow.preparing.workers import serve
serve()
"""
_ONE_CORE = {"RAYON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Workers(ThreadPoolExecutor):
    """``num_workers`` processes, each started when there is work for it, or by ``start``. A thread waits for each.

    One that holds more than ``max_rss`` bytes after a task is replaced, unless a large tokenizer is why: unless it
    never held much less.
    """

    def __init__(self, num_workers: int, max_rss: int = 1 << 62) -> None:
        super().__init__(num_workers, "windrow-worker")
        self._num_workers, self._max_rss, self._closed = num_workers, max_rss, False
        self._children: dict[subprocess.Popen[bytes], int] = {}  # the least bytes that each held after a task
        self._idle: list[subprocess.Popen[bytes]] = []
        self._starting = threading.Lock()

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        return super().submit(self._do, pickle.dumps((call, args, kwargs), protocol=5))

    def start(self, num_tasks: int) -> None:
        """Start processes now, as so many tasks will come: they get ready while the tasks are made."""
        with contextlib.suppress(OSError):  # the first task will tell
            for _ in range(min(num_tasks, self._num_workers)):
                self._idle.append(self._start())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; what they are at now is given up."""
        with self._starting:
            self._closed = True
            for child in self._children:
                child.kill()
        super().shutdown(cancel_futures=True)
        while self._idle:
            self._end(self._idle.pop())

    def _do(self, data: bytes) -> Any:
        """One task, by a process that has none."""
        try:
            child = self._idle.pop()
        except IndexError:
            child = self._start()
        try:
            succeeded, value = _ask(child, data)
        except (OSError, EOFError) as error:
            self._end(child)
            code = child.returncode
            raise BrokenExecutor(f"killed by signal {-code}" if code < 0 else f"ended with status {code}") from error
        held = memory_of(child.pid)
        self._children[child] = least = min(held, self._children[child] or held)
        if held > max(self._max_rss, 1.5 * least):
            self._end(child)
        else:
            self._idle.append(child)
        if succeeded:
            return value
        raise value

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
                **APART,  # a Ctrl-C in the terminal is for the parent, which decides
            )
            self._children[child] = 0
        return child

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(OSError), child:  # what was not sent yet
            child.kill()  # it has nothing to lose: what it made is on disk
        with self._starting:
            self._children.pop(child, None)


def _ask(child: "subprocess.Popen[bytes]", data: bytes) -> tuple[bool, Any]:
    """Whether the task succeeded, and its result or error."""
    assert child.stdin is not None
    assert child.stdout is not None
    _send(child.stdin, data)
    answer = _receive(child.stdout)
    try:
        return cast(tuple[bool, Any], pickle.loads(answer))
    except Exception as error:  # an answer that cannot be read is one, too
        return False, error


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    """One message. Raises ``EOFError`` when the other side has gone."""
    nbytes = int.from_bytes(pipe.read(8), "little")  # cut short, it is no larger than what was sent
    data = pipe.read(nbytes)
    if not nbytes or len(data) < nbytes:
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
        _send(results, _answer(tasks.get()))


def _listen(pipe: IO[bytes], tasks: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            tasks.put(_receive(pipe))
    except (EOFError, OSError):
        os._exit(0)  # the parent has gone, maybe in the middle of a task


def _answer(data: bytes) -> bytes:
    try:
        call, args, kwargs = pickle.loads(data)  # from the parent, through its pipe
        return pickle.dumps((True, call(*args, **kwargs)), protocol=5)
    except Exception as error:
        return pickle.dumps((False, _that_travels(error)), protocol=5)


def _that_travels(error: Exception) -> Exception:
    """``error``, or one that says the same when it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error, protocol=5))
    except Exception:
        return RuntimeError(f"{type(error).__module__}.{type(error).__name__}: {error}")
    return error
