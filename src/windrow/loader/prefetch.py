"""Make what an iterator yields in a thread, a few items ahead: hides page faults and cold disks.

Guarantee: the same items in the same order; an exception arrives where its item would have (an item may be many steps);
the thread ends when the consumer is exhausted, closed or dropped, also while it waits for room. The thread keeps
nothing alive that the consumer does not.
"""

import os
from collections.abc import Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

from windrow.errors import WindrowError

__all__ = ["prefetched"]

T = TypeVar("T")
_END = object()
_PATIENCE = 0.05  # seconds between two looks at whether the consumer is gone


def prefetched(items: Iterator[T], depth: int) -> Iterator[T]:
    """``items``, up to ``depth`` of them made ahead. Raises ``WindrowError`` in a process forked off in the middle."""
    queue: Queue[tuple[Any, BaseException | None]] = Queue(maxsize=depth)
    gone = Event()
    thread = Thread(target=_produce, args=(items, queue, gone), name="windrow-prefetch", daemon=True)
    thread.start()
    here = os.getpid()
    try:
        while True:
            if os.getpid() != here:
                raise WindrowError(
                    "this process was forked off in the middle of a loop, and the thread that reads ahead stayed in "
                    "its parent. Begin again with iter(loader), which goes on from the same place."
                )
            item, error = queue.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:  # also when the consumer is dropped in the middle
        gone.set()


def _produce(items: Iterator[Any], queue: "Queue[tuple[Any, BaseException | None]]", gone: Event) -> None:
    try:
        for item in items:
            if not _put(queue, (item, None), gone):
                return
        _put(queue, (_END, None), gone)
    except BaseException as error:  # whatever it is, it belongs to the consumer
        _put(queue, (None, error), gone)


def _put(
    queue: "Queue[tuple[Any, BaseException | None]]", entry: tuple[Any, BaseException | None], gone: Event
) -> bool:
    while not gone.is_set():
        try:
            queue.put(entry, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False
