"""What a stream needs next, fetched before it is asked for.

Guarantee: what is forgotten is the block whose next use is farthest away, as all of the stream is known (Belady, "A
study of replacement algorithms for a virtual-storage computer", 1966), and not before the slowest reader has done with
it; so no order of fetching has fewer fetches. With readers of another stream it is what was used longest ago. Cost: the
arithmetic of the stream, once, in one process of the machine; the others wait for what it fetches, or fetch what it has
not begun. It does not do: reading.
"""

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Event, Lock, Thread
from typing import Any
from weakref import finalize

import numpy as np

from windrow.arrays import Int64, Mask
from windrow.errors import WindrowError
from windrow.far.cache import Cache
from windrow.far.slots import NEVER, Reader, needed_last

__all__ = ["Ahead"]

_AT_ONCE = 4  # fetches
_PAUSE, _AFTER_ERROR = 0.005, 1.0  # seconds
_URGENT = 2  # parts of the stream: what they need is fetched even if a block must go that could have stayed
_MOST = 1 << 20  # uses that are looked at


class Ahead:
    """Fetches for ``cache`` what the readers of ``recipe``, a number, need: this one stands at ``position``.

    ``needs(n)`` are the blocks of the positions from ``n * span`` to ``(n + 1) * span``, in the order of first need.
    Nothing is fetched for what comes from position ``stop`` on.
    """

    def __init__(
        self, cache: Cache, recipe: int, needs: Callable[[int], Int64], span: int, position: int, stop: int | None
    ) -> None:
        self.reader: Reader = cache.slots.enter(recipe, position)
        self._cache, self._recipe, self._needs, self._span, self._stop = cache, recipe, needs, span, stop
        self._first, self._known = 0, deque[Int64]()  # what is needed from part number ``first`` of the stream on
        self._turn, self._gone = Lock(), Event()
        self._lead: finalize[..., Any] | None = None  # gives up the lead
        self._threads = [Thread(target=self._work, name="windrow-ahead", daemon=True) for _ in range(_AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Fetch no more, and read no more; without ``_turn``, which a thread may hold that ended with the program."""
        self._gone.set()
        self.reader.close()
        self._give_up()

    def _give_up(self) -> None:
        if self._lead:
            self._lead()

    def _work(self) -> None:
        while not self._gone.is_set():
            try:
                pause = 0.0 if self._has_fetched() else _PAUSE
            except (WindrowError, OSError):  # who reads that block meets it too, and is the one to tell
                pause = _AFTER_ERROR
            self._gone.wait(pause)
        self._give_up()

    def _has_fetched(self) -> bool:
        with self._turn:
            claimed = self._claimed() if not self._gone.is_set() and self._leads() else None
        if claimed:
            self._cache.fill(*claimed)
        return claimed is not None

    def _leads(self) -> bool:
        """Whether this process is the one that looks ahead for the stream."""
        if not self._lead and (lock := self._cache.slots.takes_turn(f"ahead-{self._recipe}")) is not None:
            self._lead = finalize(self, os.close, lock)
        return self._lead is not None

    def _claimed(self) -> tuple[int, int] | None:
        """The block that is fetched next, and its slot; None where all is here, or what must go is still needed."""
        slots, standing = self._cache.slots, self._cache.slots.standing()
        uses, place = self._next_missing(min([at for recipe, at in standing if recipe == self._recipe], default=0))
        if place is None:
            return None
        block, num_blocks = int(uses[place]), len(self._cache.blocks)
        slots.foresee(_first_uses(uses, num_blocks))
        after, soon = _first_uses(uses[place:], num_blocks), np.zeros(num_blocks, dtype=np.bool_)
        soon[uses[:place]] = True
        alone = all(recipe == self._recipe for recipe, _ in standing)
        waits = alone and place >= sum(map(len, [*self._known][:_URGENT]))
        choose = partial(_to_forget, after=after if alone else None, soon=soon, waits=waits)
        slot = slots.claim(block, self.reader, choose)
        return None if slot is None else (block, slot)

    def _next_missing(self, slowest: int) -> tuple[Int64, int | None]:
        """What is needed from ``slowest`` on, in order, and where the first block stands that is not here."""
        self._move(slowest // self._span)
        while True:
            uses = np.concatenate([*self._known, np.empty(0, np.int64)])
            num_parts = len(self._known) if self._stop is None else self._stop // self._span - self._first
            wanted = uses[: sum(map(len, [*self._known][: max(num_parts, 0)]))]
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
                self._known.append(self._needs(self._first + len(self._known)))

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
