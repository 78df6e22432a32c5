"""Many tasks on any ``concurrent.futures.Executor``.

Guarantee: every task's result comes back once, in the order of the tasks; a task whose worker died is given out
again, and one that takes its worker down three times is named. No more than ``in_flight`` tasks, and their results,
are held. What it asks of an executor: ``submit``, and a ``BrokenExecutor`` in the future whose worker died.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, TypeVar

from windrow.errors import PrepareError

__all__ = ["Here", "run"]

_TRIES = 3
T = TypeVar("T")
R = TypeVar("R")


class Here(Executor):
    """Calls in this process, at once: for small work, and for tokenizers that cannot travel."""

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        future: Future[R] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run(executor: Executor, call: Callable[[T], R], tasks: Iterable[T], in_flight: int) -> Iterator[tuple[T, R]]:
    """``(task, call(task))`` for each task, in order."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, _submit(executor, call, task)))
            if len(waiting) >= in_flight:
                yield _result(executor, call, *waiting.popleft())
        while waiting:
            yield _result(executor, call, *waiting.popleft())
    finally:
        for _, future in waiting:
            future.cancel()


def _submit(executor: Executor, call: Callable[[T], R], task: T) -> "Future[R]":
    try:
        return executor.submit(call, task)
    except BrokenExecutor as error:
        raise PrepareError(
            f"the executor {type(executor).__name__} broke ({error}) and takes no more work. Run the same command "
            "again with a new one: it goes on from the work that is done."
        ) from error


def _result(executor: Executor, call: Callable[[T], R], task: T, future: "Future[R]") -> tuple[T, R]:
    for _ in range(_TRIES - 1):
        try:
            return task, future.result()
        except BrokenExecutor:
            future = _submit(executor, call, task)
    try:
        return task, future.result()
    except BrokenExecutor as error:
        raise PrepareError(
            f"the worker died {_TRIES} times on the same work: {task} ({error}). It may need more memory than there is, "
            "or meet a bug in the tokenizer's engine. Look at that text, give fewer workers, or uninstall gigatoken. "
            "Run the same command again: it goes on from the work that is done."
        ) from error
