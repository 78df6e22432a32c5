"""A file of slots that processes share: which block lies in which, who fetches what, and where readers stand.

Guarantee: a slot is read as a block only while it holds all of it: its stamp is odd from before the first byte changes
until all are checked and written, and what was copied while a stamp moved on is copied again. What a process was to
fetch is anybody's when it has died, and what an earlier job left is checked anew. The file never grows. Cost: a few
words of shared memory a read, a lock a fetch. It does not do: fetching, or checking what a block is.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from windrow.arrays import Int64, Mask
from windrow.errors import StoreError
from windrow.system import map_descriptor, takes_lock

__all__ = ["NEVER", "Reader", "Slots", "needed_last", "unneeded"]

NEVER = 1 << 62  # when a block is used next, as far as anyone knows
_SLOT = np.dtype([(name, "<i8") for name in ("stamp", "block", "owner", "next", "used")])
_READER = np.dtype([("recipe", "<i8"), ("position", "<i8")])
_READERS = 256
_LOOK = 0.001  # seconds between two tries to take the lock


class Slots:
    """``num_slots`` slots of ``nbytes`` in ``folder``, for blocks 0 to ``num_blocks``.

    Raises ``StoreError`` where another number of them is in use there.
    """

    def __init__(self, folder: Path, num_slots: int, nbytes: int, num_blocks: int) -> None:
        self.folder: Path = folder
        self._nbytes, self._head = nbytes, [num_slots, nbytes, num_blocks]
        users = _opened(folder / "users")
        finalize(self, os.close, users)
        with self.locked():
            if takes_lock(users, shared=False):  # nobody else is here
                self._begin()
            takes_lock(users, shared=True)
        table = np.memmap(folder / "table", np.int64, "r+")
        if len(table) != self._size // 8 or table[:3].tolist() != self._head:
            raise StoreError(
                f"{folder} is in use with {table[0] * table[1]:,} bytes of blocks, and {num_slots * nbytes:,} are "
                "asked for. Give the same cache_bytes in every process, or another cache folder."
            )
        self._places: Int64 = table[3 : 3 + num_blocks]  # the slot of each block
        rows = table[3 + num_blocks :].view(np.uint8)
        self._slots: Any = rows[: num_slots * _SLOT.itemsize].view(_SLOT)
        self._readers: Any = rows[num_slots * _SLOT.itemsize :].view(_READER)
        descriptor = _opened(folder / "slots")
        self._data = memoryview(map_descriptor(descriptor))
        os.close(descriptor)

    def read(self, blocks: Int64, starts: Int64, stops: Int64) -> bytearray | None:
        """Bytes ``[starts[i], stops[i])`` of ``blocks[i]`` (n,), joined; None where one of the blocks is not here."""
        slots = self._places[blocks]
        stamps = self._slots["stamp"][slots]
        if (slots < 0).any() or (stamps & 1).any() or (self._slots["block"][slots] != blocks).any():
            return None
        first = slots * self._nbytes
        parts = zip((first + starts).tolist(), (first + stops).tolist(), strict=True)
        joined = bytearray().join([self._data[start:stop] for start, stop in parts])
        if (self._slots["stamp"][slots] != stamps).any():
            return None
        self._slots["used"][slots] = time.monotonic_ns()
        return joined

    def here(self) -> Mask:
        """Which blocks can be read, or are being fetched: (num_blocks,)."""
        rows, held = self._slots, np.zeros(len(self._places), dtype=np.bool_)
        held[rows["block"][(rows["stamp"] & 1 == 0) | (rows["owner"] > 0)]] = True  # of an owner there is a block
        return held

    def holding(self) -> Int64:
        """The blocks that slots are taken by, as far as is known: (k,)."""
        blocks: Int64 = self._slots["block"][self._slots["block"] >= 0]
        return blocks

    def signs(self) -> bytes:
        """What changes when a reader stands further on, and when a slot holds something else."""
        return bytes(self._readers.tobytes() + self._slots["stamp"].tobytes())

    @property
    def is_fetching(self) -> bool:
        """Whether anyone fetches anything just now."""
        return bool((self._slots["owner"] > 0).any())

    # -- who fetches ---------------------------------------------------------------------------------------------------

    def claim(self, block: int, owner: "Reader", choose: "Callable[[Any], int] | None" = None) -> int | None:
        """The slot into which ``owner`` is to fetch ``block``; None where it is here, is being fetched, or must wait.

        ``choose`` is given a copy of the slots' rows, those that cannot be had with ``owner`` above 0, and says which
        to take, -1 for none; unless given, the one that is needed last.
        """
        with self.locked():
            self._void_dead(owner.number)
            slot, rows = int(self._places[block]), self._slots
            if slot < 0 or rows["block"][slot] != block:
                slot = (choose or needed_last)(rows.copy())
            elif not rows["stamp"][slot] & 1:
                return None
            if slot < 0 or rows["owner"][slot]:
                return None
            rows["stamp"][slot] |= 1
            if (old := rows["block"][slot]) >= 0 and self._places[old] == slot:
                self._places[old] = -1
            rows["block"][slot], rows["owner"][slot], rows["next"][slot] = block, owner.number, 0
            self._places[block] = slot
            return slot

    def held(self, slot: int, nbytes: int) -> memoryview:
        """The first bytes of a slot, whatever they are."""
        return self._data[slot * self._nbytes : slot * self._nbytes + nbytes]

    def write(self, slot: int, data: bytes) -> None:
        """Fill a slot that was claimed. Raises ``OSError``, where the disk is full, say."""
        with open(self.folder / "slots", "r+b") as file:
            file.seek(slot * self._nbytes)
            file.write(data)

    def publish(self, slot: int) -> None:
        """From here on what was claimed can be read."""
        self._slots["used"][slot] = time.monotonic_ns()
        self._slots["stamp"][slot] += 1  # before the owner goes: nobody takes what looks half-way
        self._slots["owner"][slot] = 0

    def release(self, slot: int) -> None:
        """Give up what was claimed."""
        self._slots["owner"][slot] = 0

    def foresee(self, uses: Int64) -> None:
        """Note when each block (num_blocks,) is used next, for whoever has to choose."""
        self._slots["next"] = np.where(self._slots["block"] < 0, NEVER, uses[self._slots["block"]])

    # -- readers -------------------------------------------------------------------------------------------------------

    def enter(self, recipe: int = 0, position: int = 0) -> "Reader":
        """Be a reader, who may claim, and who stands at ``position`` of the stream of ``recipe``; 0 is of none."""
        with self.locked():
            for number in range(1, _READERS):
                lock = _opened(self._lock_of(number))
                if takes_lock(lock, shared=False):
                    self._slots["owner"][self._slots["owner"] == number] = 0
                    self._readers[number] = (recipe, position)
                    return Reader(self._readers, number, lock)
                os.close(lock)
        raise StoreError(f"{self.folder} has {_READERS - 1} readers already. Give some of them another cache folder.")

    def standing(self) -> list[tuple[int, int]]:
        """``(recipe, position)`` of each reader of a stream that is alive."""
        numbers = np.flatnonzero(self._readers["recipe"]).tolist()
        return [self._readers[number].item() for number in numbers if self._is_alive(number)]

    def takes_turn(self, name: str) -> int | None:
        """The lock ``name``, to be closed by who has it, if nobody has."""
        lock = _opened(self.folder / name)
        if takes_lock(lock, shared=False):
            return lock
        os.close(lock)
        return None

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        num_slots, _, num_blocks = self._head
        return 24 + 8 * num_blocks + num_slots * _SLOT.itemsize + _READERS * _READER.itemsize

    def _begin(self) -> None:
        """Write the table anew; which block a slot may hold is all that is kept of one that was there."""
        num_slots, _, num_blocks = self._head
        slots, places = np.zeros(num_slots, _SLOT), np.full(num_blocks, -1)
        slots["block"], slots["stamp"], slots["next"] = -1, 1, NEVER
        table = self.folder / "table"
        if table.exists() and table.stat().st_size == self._size:
            found = np.fromfile(table, np.int64)
            old = found[3 + num_blocks :].view(np.uint8)[: slots.nbytes].view(_SLOT)["block"]
            if found[:3].tolist() == self._head:
                slots["block"] = np.where((old >= 0) & (old < num_blocks), old, -1)
        kept = np.flatnonzero(slots["block"] >= 0)
        places[slots["block"][kept]] = kept
        parts = [np.array(self._head), places, slots, np.zeros(_READERS, _READER)]
        table.write_bytes(b"".join(part.tobytes() for part in parts))
        with open(self.folder / "slots", "ab") as file:
            file.truncate(num_slots * self._nbytes)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes and threads; short, and never while anything is fetched."""
        lock = _opened(self.folder / "lock")
        try:
            while not takes_lock(lock, shared=False):
                time.sleep(_LOOK)
            yield
        finally:
            os.close(lock)

    def _void_dead(self, but: int) -> None:
        owners = self._slots["owner"]
        for number in {*owners[owners > 0].tolist()} - {but}:
            if not self._is_alive(number):
                owners[owners == number] = 0

    def _is_alive(self, number: int) -> bool:
        lock = _opened(self._lock_of(number))
        try:
            return not takes_lock(lock, shared=False)
        finally:
            os.close(lock)

    def _lock_of(self, number: int) -> Path:
        return self.folder / f"reader-{number}"


class Reader:
    """One that reads, until ``close()`` or for as long as its process lives."""

    def __init__(self, readers: Any, number: int, lock: int) -> None:
        self.number: int = number
        self._row = readers[number : number + 1]
        self.close: finalize[..., Any] = finalize(self, os.close, lock)

    def stand(self, position: int) -> None:
        """All before ``position`` has been read."""
        self._row["position"] = position


def needed_last(rows: Any) -> int:
    """Of the slots that can be had, the one that is needed last, or was used longest ago where nobody knows."""
    order = np.lexsort((rows["used"], -rows["next"], rows["block"] >= 0, rows["owner"] > 0))
    return int(order[0]) if not rows["owner"][order[0]] else -1


def unneeded(rows: Any) -> int:
    """The slot of ``needed_last``, if nobody is known to need what lies there; else -1."""
    slot = needed_last(rows)
    return slot if slot >= 0 and rows["next"][slot] == NEVER else -1


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
