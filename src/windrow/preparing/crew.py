"""Many tasks on any ``concurrent.futures.Executor``.

Guarantee: every task's result comes back once; a task whose worker died is given out again, and one that takes its
worker down three times is named. No more than a few tasks for each worker, and their results, are held. What it asks
of an executor: ``submit``, and a ``BrokenExecutor`` in the future whose worker died. Jobs that are no ``Future`` but
have ``done`` and ``result`` (submitit's) will do.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any, TypeVar

from windrow.errors import PrepareError, whole_number
from windrow.preparing.workers import Workers
from windrow.system import num_cores

__all__ = ["Crew", "Here", "crew_for", "run"]

_TRIES = 3
_ASK_EVERY = 0.2  # seconds
_PARENT = 160 << 20  # bytes that this process holds
_WORKER = 224 << 20  # bytes that a worker holds at its usual work
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


class Crew(AbstractContextManager["Crew"]):
    """Who does the work: the executor handed in, or processes of our ``own``, for more than one task."""

    def __init__(self, num_workers: int, executor: Executor | None = None, own: Workers | None = None) -> None:
        self.num_workers = num_workers
        self._executor, self._own = executor, own

    def __exit__(self, *failure: object) -> None:
        if self._own:
            self._own.shutdown()

    def start(self, num_tasks: int) -> None:
        """So many tasks will come: start the processes for them now, if there are to be any."""
        if self._own and num_tasks > 1:
            self._own.start(num_tasks)

    def map(self, call: Callable[[T], R], tasks: Iterable[T], *, small: bool = False) -> Iterator[tuple[int, T, R]]:
        """``(number, task, call(task))`` for each task, as they get done; ``small`` ones start no process."""
        iterator = iter(tasks)
        first = list(islice(iterator, 2))
        executor = self._executor or (self._own if len(first) == 2 and not small else None) or Here()
        in_flight = 1 if isinstance(executor, Here) else 2 * self.num_workers + 1
        return run(executor, call, chain(first, iterator), in_flight)


def crew_for(tokenizer: object, *, workers: int | None, memory: int | None, executor: Executor | None) -> Crew:
    """As many workers as there are cores, or as ``memory`` allows; none for a tokenizer that lives in ``__main__``."""
    workers = None if workers is None else whole_number("workers", workers)
    memory = None if memory is None else whole_number("memory, in bytes,", memory)
    cores = num_cores()
    if executor is not None:
        return Crew(workers or getattr(executor, "_max_workers", None) or cores, executor)
    if type(tokenizer).__module__ == "__main__":
        return Crew(0)
    allowed = memory or max(1 << 30, (workers or cores) * (256 << 20))
    num_workers = max(1, min(workers or cores, (allowed - _PARENT) // _WORKER))
    return Crew(num_workers, own=Workers(num_workers, (allowed - _PARENT) // num_workers))


def run(executor: Executor, call: Callable[[T], R], tasks: Iterable[T], in_flight: int) -> Iterator[tuple[int, T, R]]:
    """``(number, task, call(task))`` for each task, as they get done, with at most ``in_flight`` given out."""
    given: dict[Future[R], tuple[int, T, int]] = {}  # ... and how often it was tried
    try:
        for number, task in enumerate(tasks):
            given[_submit(executor, call, task)] = number, task, 1
            while len(given) >= in_flight:
                yield from _finished(executor, call, given)
        while given:
            yield from _finished(executor, call, given)
    finally:
        for future in given:
            future.cancel()


def _finished(
    executor: Executor, call: Callable[[T], R], given: "dict[Future[R], tuple[int, T, int]]"
) -> Iterator[tuple[int, T, R]]:
    for future in _some_done(given):
        number, task, tries = given.pop(future)
        try:
            yield number, task, future.result()
        except BrokenExecutor as error:
            if tries == _TRIES:
                raise _hopeless(task, error) from error
            given[_submit(executor, call, task)] = number, task, tries + 1


def _some_done(given: "Iterable[Future[R]]") -> "list[Future[R]]":
    """Those that are done, once there is one."""
    futures = list(given)
    if all(isinstance(future, Future) for future in futures):
        return list(wait(futures, return_when=FIRST_COMPLETED).done)
    while not (done := [future for future in futures if future.done()]):  # jobs of submitit can only be asked
        time.sleep(_ASK_EVERY)
    return done


def _submit(executor: Executor, call: Callable[[T], R], task: T) -> "Future[R]":
    try:
        return executor.submit(call, task)
    except BrokenExecutor as error:
        raise PrepareError(
            f"the executor {type(executor).__name__} broke ({error}) and takes no more work. Run the same command "
            "again with a new one: it goes on from the work that is done."
        ) from error


def _hopeless(task: object, error: BrokenExecutor) -> PrepareError:
    return PrepareError(
        f"the worker died {_TRIES} times on the same work: {task} ({error}). It may need more memory than there is, or "
        "meet a bug in the tokenizer's engine. Look at that text, give fewer workers, or uninstall gigatoken. Run the "
        "same command again: it goes on from the work that is done."
    )
