"""What a stream needs next, fetched before it is asked for.

Guarantee: what is forgotten is the block whose next use is farthest away, as all of the stream is known (Belady, "A
study of replacement algorithms for a virtual-storage computer", 1966), and not before the slowest reader has done with
it, unless a reader would wait for that: then a few blocks are fetched once more than they need be. With readers of
another stream it is what was used longest ago. Cost: the arithmetic of the stream, once, in one process of the machine;
the others wait for what it fetches, and fetch for themselves when nothing moves. It does not do: reading.
"""

import atexit
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Event, Semaphore, Thread
from typing import Any
from weakref import WeakSet, finalize

import numpy as np

from windrow.arrays import Int64, Mask
from windrow.errors import WindrowError
from windrow.far.cache import Cache
from windrow.far.slots import NEVER, Reader, needed_last

__all__ = ["Ahead"]

_AT_ONCE = 4  # fetches
_PAUSE, _ANYHOW = 0.02, 0.2  # seconds between two looks; until one although nothing has changed
_AFTER_ERROR, _AT_EXIT = 1.0, 1.0  # seconds
_URGENT = 2  # parts of the stream: what they need is fetched even if a block must go that could have stayed
_MOST = 1 << 20  # uses that are looked at


class Ahead:
    """Fetches for ``cache`` what the readers of ``recipe``, a number, need: this one stands at ``position``.

    ``needs(start, stop)`` are the blocks of those positions in the order of first need; ``span`` positions are a part.
    Nothing is fetched for what comes from position ``stop`` on.
    """

    def __init__(
        self, cache: Cache, recipe: int, needs: Callable[[int, int], Int64], span: int, position: int, stop: int | None
    ) -> None:
        self.reader: Reader = cache.slots.enter(recipe, position)
        self._cache, self._recipe, self._needs, self._span, self._stop = cache, recipe, needs, span, stop
        self._first, self._known = 0, deque[Int64]()  # what is needed from part number ``first`` of the stream on
        self._gone, self._news, self._free = Event(), Event(), Semaphore(_AT_ONCE)
        self._lead: finalize[..., Any] | None = None  # gives up the lead
        self._thread = Thread(target=self._look, name="windrow-ahead", daemon=True)
        self._thread.start()
        _ALL.add(self)

    def close(self) -> None:
        """Fetch no more, and read no more."""
        self._gone.set()
        self._news.set()
        self.reader.close()
        self._give_up()

    def join(self) -> None:
        """Wait a moment for what is under way: a thread that Python's end meets in the client aborts the program."""
        self._thread.join(_AT_EXIT)
        for _ in range(_AT_ONCE):
            self._free.acquire(timeout=_AT_EXIT)

    def _give_up(self) -> None:
        if self._lead:
            self._lead()

    def _look(self) -> None:
        """Have fetched what is needed, each time that a reader or a slot has moved on, as long as this one leads."""
        seen, looked = b"", 0.0
        while not self._gone.is_set():
            found, now = self._cache.slots.signs(), time.monotonic()
            try:
                if (found != seen or now > looked + _ANYHOW) and self._free.acquire(blocking=False):
                    if self._begins():
                        continue
                    self._free.release()
                    seen, looked = found, now
            except (WindrowError, OSError):  # who reads that block meets it too, and is the one to tell
                self._free.release()
                seen, looked = found, now
            self._news.wait(_PAUSE if self._lead else _ANYHOW)
            self._news.clear()
        self._give_up()

    def _begins(self) -> bool:
        """Whether a block was claimed, and is being fetched."""
        claimed = self._claimed() if self._leads() else None
        if claimed:
            Thread(target=self._fetch, args=claimed, name="windrow-fetch", daemon=True).start()
        return claimed is not None

    def _fetch(self, block: int, slot: int) -> None:
        try:
            self._cache.fill(block, slot)
        except (WindrowError, OSError):
            self._gone.wait(_AFTER_ERROR)
        self._free.release()
        self._news.set()

    def _leads(self) -> bool:
        """Whether this process is the one that looks ahead for the stream."""
        if not self._lead and (lock := self._cache.slots.takes_turn(f"ahead-{self._recipe}")) is not None:
            self._lead = finalize(self, os.close, lock)
        return self._lead is not None

    def _claimed(self) -> tuple[int, int] | None:
        """The block that is fetched next, and its slot; None where all is here, or what must go is still needed."""
        slots, standing = self._cache.slots, self._cache.slots.standing()
        uses, place = self._next_missing(min([at for recipe, at in standing if recipe == self._recipe], default=0))
        alone, num_blocks = all(recipe == self._recipe for recipe, _ in standing), len(self._cache.blocks)
        slots.foresee(np.minimum(_first_uses(uses[: len(uses) * alone], num_blocks), NEVER - alone))
        if place is None:
            return None
        block = int(uses[place])
        after, soon = _first_uses(uses[place:], num_blocks), np.zeros(num_blocks, dtype=np.bool_)
        soon[uses[:place]] = True
        waits = alone and place >= sum(map(len, [self._begun, *self._known][:_URGENT]))
        choose = partial(_to_forget, after=after if alone else None, soon=soon, waits=waits)
        slot = slots.claim(block, self.reader, choose)
        return None if slot is None else (block, slot)

    def _next_missing(self, slowest: int) -> tuple[Int64, int | None]:
        """What is needed from ``slowest`` on, in order, and where the first block stands that is not here."""
        self._move(slowest // self._span + 1)
        self._begun = self._needs(slowest, self._first * self._span)
        while True:
            uses = np.concatenate([self._begun, *self._known])
            num_parts = len(self._known) if self._stop is None else -(-self._stop // self._span) - self._first
            wanted = uses[: len(self._begun) + sum(map(len, [*self._known][: max(num_parts, 0)]))]
            if self._stop is not None and slowest >= self._stop:
                return uses, None
            here = self._cache.slots.here()
            missing = np.flatnonzero(~here[wanted])
            is_far = (
                here.all()
                or len(uses) >= _MOST
                or (not len(missing) and self._stop is not None and len(self._known) >= num_parts)
            )
            if is_far or (len(missing) and self._can_choose(uses[missing[0] :])):
                return uses, int(missing[0]) if len(missing) else None
            for _ in range(1 + len(self._known) // 4):
                if self._gone.is_set():
                    return uses, None
                part = (self._first + len(self._known)) * self._span
                self._known.append(self._needs(part, part + self._span))

    def _move(self, first: int) -> None:
        if not self._first <= first <= self._first + len(self._known):
            self._known.clear()
        for _ in range(min(first - self._first, len(self._known))):
            self._known.popleft()
        self._first = first

    def _can_choose(self, uses: Int64) -> bool:
        """Whether it is known which block is needed last: of all but one it is known when they are."""
        held = self._cache.slots.holding()
        return len(held) < self._cache.num_slots or len(np.setdiff1d(held, uses)) <= 1


_ALL = WeakSet[Ahead]()


@atexit.register
def _end() -> None:
    for step in (Ahead.close, Ahead.join):
        for one in [*_ALL]:
            step(one)


def _first_uses(uses: Int64, num_blocks: int) -> Int64:
    """Where each block stands first among ``uses``, (num_blocks,), or ``NEVER``."""
    first = np.full(num_blocks, NEVER)
    first[uses[::-1]] = np.arange(len(uses))[::-1]
    return first


def _to_forget(rows: Any, after: Int64 | None, soon: Mask, *, waits: bool) -> int:
    """The slot to take for what is fetched, by the uses ``after`` it, or by those that were where there are none.

    What is needed ``soon``, before it, stays; where that is what Belady's rule would take, -1 if it ``waits`` for it.
    """
    held = rows["block"] >= 0
    rows["next"] = 0 if after is None else np.where(held, after[rows["block"]], NEVER)
    stays = held & soon[rows["block"]]
    if not waits:
        rows["owner"][stays] = NEVER
    slot = needed_last(rows)
    return -1 if slot >= 0 and stays[slot] else slot
