"""Blocks of objects that are far away, read through a folder on this machine.

Guarantee: no byte is given before the sum of its block was checked; a sum that is wrong twice is an error that names
the block; nobody waits for another longer than a server may be away. Cost: a block is fetched once for all processes of
the machine, and again only after another took its slot. It does not do: choosing what to fetch before it is asked for.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from windrow.arrays import Int64, grouped
from windrow.errors import StoreError
from windrow.far.objects import Objects
from windrow.far.slots import Reader, Slots, needed_last, unneeded

__all__ = ["Cache", "FarBlock", "Traffic"]

_LOOK = 0.005  # seconds between two looks at whether another has fetched a block
_PATIENCE = 0.5  # seconds in which nothing moves, until what is waited for is fetched at the cost of others
_LED = 10.0  # seconds that who is led waits for its leader to begin


class FarBlock(NamedTuple):
    """Bytes ``[start, stop)`` of the object ``name``, and their sha256 (hex)."""

    name: str
    start: int
    stop: int
    sum: str


class Traffic(NamedTuple):
    """What this process has fetched, in bytes, and how often blocks were here when they were read, or waited for."""

    bytes_fetched: int
    hits: int
    waits: int


class Cache:
    """``blocks`` of ``far``, each of ``nbytes`` at most, ``num_slots`` of them at a time in ``folder``."""

    def __init__(self, far: Objects, folder: Path, blocks: Sequence[FarBlock], num_slots: int, nbytes: int) -> None:
        self.blocks: Sequence[FarBlock] = blocks
        self.num_slots: int = num_slots
        self.nbytes: int = nbytes
        self.slots: Slots = Slots(folder, num_slots, nbytes, len(blocks))
        self.owner: Reader = self.slots.enter()
        self.is_led: bool = False  # whether another process fetches what is read here, as long as it does
        self._far, self._fetched, self._hits, self._waits = far, 0, 0, 0

    @property
    def holds_all(self) -> bool:
        """Whether there is a slot for each block."""
        return self.num_slots >= len(self.blocks)

    @property
    def lacks(self) -> int:
        """Bytes that are missing to hold all."""
        return max(0, len(self.blocks) - self.num_slots) * self.nbytes

    def speed(self, at_once: int) -> float:
        """Bytes per second of so many blocks, fetched together and dropped."""
        chosen, begun = [self.blocks[n % len(self.blocks)] for n in range(at_once)], time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            return sum(map(len, pool.map(self._fetch, chosen))) / (time.perf_counter() - begun)

    @property
    def traffic(self) -> Traffic:
        """What was fetched and read so far."""
        return Traffic(self._fetched, self._hits, self._waits)

    def read(self, blocks: Int64, starts: Int64, stops: Int64) -> bytearray | bytes:
        """Bytes ``[starts[i], stops[i])`` of ``blocks[i]`` (n,), joined; what is not here is fetched, or waited for."""
        found = self.slots.read(blocks, starts, stops)
        if found is not None:
            self._hits += 1
            return found
        parts, seen, moved = [b""] * len(blocks), b"", 0.0
        patient = len(np.unique(blocks)) <= self.num_slots  # it may wait until all that it reads is here
        self._waits += 1
        for block, which in grouped(blocks):  # one by one: together they may be more than there are slots
            asked = time.monotonic()
            while (some := self.slots.read(blocks[which], starts[which], stops[which])) is None:
                if (signs := self.slots.signs()) != seen or self.slots.is_fetching:
                    seen, moved = signs, time.monotonic()
                patient = patient and time.monotonic() < moved + _PATIENCE
                self.bring(block, time.monotonic() - asked, patient=patient)
            edges = np.cumsum(stops[which] - starts[which])[:-1]
            for here, part in zip(which.tolist(), np.split(np.frombuffer(some, np.uint8), edges), strict=True):
                parts[here] = part.tobytes()
        return b"".join(parts)

    def bring(self, block: int, waited: float = 0.0, *, patient: bool = False) -> None:
        """Fetch a block, or wait a moment where another does; ``waited`` are the seconds so far.

        One who is ``patient`` takes no slot from what the readers of a stream need: its turn comes. Raises what
        ``fill`` raises, and ``FarError`` where another has tried for as long as a server may be away.
        """
        choose = unneeded if patient and self.slots.standing() else needed_last
        slot = None if self.is_led and waited < _LED else self.slots.claim(block, self.owner, choose)
        if slot is None:
            time.sleep(_LOOK)
        elif waited > self._far.patience:
            self.slots.release(slot)
            raise self._far.silent(self.blocks[block].name)
        else:
            self.fill(block, slot)

    def fill(self, block: int, slot: int) -> None:
        """Fetch a block into the slot that was claimed for it.

        Raises ``FarError`` for what the far side does, ``StoreError`` for damage and for a disk that is full.
        """
        about = self.blocks[block]
        try:
            if sha256(self.slots.held(slot, about.stop - about.start)).hexdigest() != about.sum:  # an earlier job's
                self.slots.write(slot, self._fetch(about))
        except OSError as error:
            self.slots.release(slot)
            raise StoreError(
                f"{self.slots.folder} cannot be written: {error.strerror}. The cache takes up to "
                f"{self.num_slots * self.nbytes:,} bytes there: free them, or give fewer cache_bytes or another folder."
            ) from error
        except BaseException:
            self.slots.release(slot)
            raise
        self.slots.publish(slot)

    def _fetch(self, about: FarBlock) -> bytes:
        for _ in range(2):  # a wrong sum once may be the way, twice it is what lies there
            data = self._far.read(about.name, about.start, about.stop)
            self._fetched += len(data)
            if (found := sha256(data).hexdigest()) == about.sum:
                return data
        raise StoreError(
            f"{self._far.url}/{about.name}: block {about.start // self.nbytes} (bytes {about.start} to {about.stop}) "
            f"has the sha256 {found[:16]}, twice, and was copied with {about.sum[:16]}: it is damaged. Copy the store "
            "there again."
        )
