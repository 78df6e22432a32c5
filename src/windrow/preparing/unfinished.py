"""The folder of unfinished work, ``DEST/unfinished``: its lock, and one file for each finished item.

Guarantee: an item's file appears whole, in one rename, and is used again only when its checksum is right and its key,
which holds the recipe and what it was made from, is the one asked for: so nothing here waits for the disk (no fsync).
One writer at a time. Nothing is unpickled.
"""

import contextlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64
from windrow.errors import PrepareError, read_json
from windrow.store.whole import write_whole
from windrow.system import takes_lock
from windrow.tokens.encoder import COLUMNS

__all__ = ["DamagedItemError", "ItemFile", "ItemWriter", "locked", "remove_left_over", "remove_work", "write_item"]

_WORK = "unfinished"
_MAGIC = b"windrow item 1\n\0"
T = TypeVar("T")


def write_item(folder: Path, key: str, fill: Callable[["ItemWriter"], T]) -> T:
    """Make the file of an item: ``fill(writer)`` gives its content, and what it returns is returned."""
    return write_whole(folder / f"{key}.item", lambda file: fill(ItemWriter(file, key)), durable=False)


class ItemWriter:
    """Takes one item: tokens as they come, what counts of them where documents say so, the table of documents (see
    COLUMNS), and what is known of them."""

    def __init__(self, file: BinaryIO, key: str) -> None:
        self._file, self._key, self._crc = file, key, 0
        self.seconds: float = 0.0

    def write(self, array: NDArray[Any]) -> None:
        started = time.perf_counter()
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)
        self.seconds += time.perf_counter() - started

    def finish(self, about: Mapping[str, Any]) -> None:
        footer = json.dumps({**about, "key": self._key, "crc32": self._crc}).encode()
        self._file.write(footer + zlib.crc32(footer).to_bytes(4, "little") + len(footer).to_bytes(4, "little") + _MAGIC)


class DamagedItemError(ValueError):
    """Something changed the content of an item, whose path this holds: it is to be made again."""


@dataclass(frozen=True)
class ItemFile:
    """A finished item on disk. ``about`` is its footer; ``nbytes`` of tokens, documents, kept values lie before it."""

    path: Path
    about: Mapping[str, Any]
    nbytes: int

    @classmethod
    def open(cls, folder: Path, key: str) -> "ItemFile":
        """Raises ``FileNotFoundError`` or ``ValueError`` (not whole)."""
        path = folder / f"{key}.item"
        with open(path, "rb") as file:
            about, nbytes = _footer(file)
        if about["key"] != key:
            raise ValueError("it belongs to another item")
        return cls(path, about, nbytes)

    @classmethod
    def found(cls, folder: Path, key: str) -> "ItemFile | None":
        """The item if it is there, else None: then it is to be made. Its content is looked at when it is published."""
        try:
            return cls.open(folder, key)
        except (FileNotFoundError, ValueError):
            return None

    def require_whole(self) -> None:
        """Raise ``DamagedItemError`` unless the content is what was written."""
        if zlib.crc32(memoryview(self.path.read_bytes())[: self.nbytes]) != self.about["crc32"]:
            raise DamagedItemError(str(self.path))

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        """Tokens ``[start, stop)`` of the item, mapped."""
        dtype = np.dtype(self.about["dtype"]).newbyteorder("<")
        if start == stop:
            return np.empty(0, dtype)  # nothing cannot be mapped
        return np.memmap(self.path, dtype, "r", start * dtype.itemsize, (stop - start,)).view(np.ndarray)

    def counts(self, start: int, stop: int) -> NDArray[Any]:
        """Which of these tokens count, (stop - start,) uint8."""
        before = int(self.about["num_tokens"]) * np.dtype(self.about["dtype"]).itemsize
        return np.fromfile(self.path, np.uint8, stop - start, offset=before + start)

    def rows(self) -> Int64:
        """The table of its documents, (num_documents, 8)."""
        nbytes = int(self.about["num_documents"]) * len(COLUMNS) * 8
        offset = self.nbytes - int(self.about.get("kept_nbytes", 0)) - nbytes
        rows = np.fromfile(self.path, "<i8", nbytes // 8, offset=max(offset, 0))
        if zlib.crc32(rows.tobytes()) != self.about.get("rows_crc32", zlib.crc32(rows.tobytes())):
            raise DamagedItemError(str(self.path))
        return rows.reshape(-1, len(COLUMNS))

    def kept(self) -> list[NDArray[Any]]:
        """The values that it keeps of its rows, (num_documents,) of Python's own for each field."""
        nbytes = int(self.about.get("kept_nbytes", 0))
        values = np.fromfile(self.path, np.uint8, offset=self.nbytes - nbytes, count=nbytes).tobytes()
        return [np.array(column, object) for column in json.loads(values or b"[]")]


def _footer(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """What is known of an item, and how many bytes lie before that."""
    tail = len(_MAGIC) + 8
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - tail, 0))
    end = file.read()
    length = int.from_bytes(end[4:8], "little")
    if end[8:] != _MAGIC or length > size - tail:
        raise ValueError("it is not whole")
    file.seek(size - tail - length)
    footer = file.read(length)
    if zlib.crc32(footer) != int.from_bytes(end[:4], "little"):
        raise ValueError("its checksum is wrong")
    return read_json(footer, {"key": str, "crc32": int}), size - tail - length


@contextlib.contextmanager
def locked(dest: Path, part: tuple[int, int] | None = None) -> Iterator[Path]:
    """The folder of unfinished work, this process its only writer (with ``part``: of this part)."""
    folder = dest / _WORK
    with contextlib.ExitStack() as held:
        held.callback(os.close, _lock(folder, "lock", shared=part is not None))
        if part:
            held.callback(os.close, _lock(folder, f"lock-{part[0]}-of-{part[1]}"))
        yield folder


def _lock(folder: Path, name: str, *, shared: bool = False) -> int:
    """The descriptor that holds the lock. The system gives it back when the process ends, however that happens."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # a writer that has just finished removed the folder
        if not takes_lock(descriptor, shared=shared):
            os.close(descriptor)
            raise PrepareError(
                f"another windrow prepare is writing to {folder.parent} now ({folder / name} is locked). Two writers "
                "would mix their work. Wait until it ends, or choose another folder."
            )
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == os.stat(folder / name).st_ino:
                return descriptor
        os.close(descriptor)


def remove_left_over(dest: Path) -> None:
    """Remove what a run left that was killed between its last store and its end."""
    if (dest / _WORK).exists() or (dest / f"{_WORK}.done").exists():
        with locked(dest):
            remove_work(dest)


def remove_work(dest: Path) -> None:
    """Remove the folder of unfinished work, its name first: so nobody takes a lock that is about to go."""
    gone = dest / f"{_WORK}.done"
    shutil.rmtree(gone, ignore_errors=True)
    try:
        os.replace(dest / _WORK, gone)
    except FileNotFoundError:
        return
    except PermissionError as error:
        if not hasattr(error, "winerror"):
            raise
        gone = dest / _WORK  # Windows renames no folder of files that are open, as the lock is: it stays
    shutil.rmtree(gone, ignore_errors=True)
