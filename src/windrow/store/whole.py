"""Files that are there whole or not at all, and files that grow by whole pieces.

Guarantee: a path holds all that was written or what it held before, and a failure leaves no other file behind. Where
there is no room the error says how much is needed. Cost: a temporary file beside the path, two fsyncs and a rename; a
write that is refused goes on to its end, to be counted. It does not do: folders.
"""

import errno
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from windrow.system import sync_folder

__all__ = ["append_whole", "write_whole"]

T = TypeVar("T")
_NO_ROOM = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some of your quota",
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f)",
}


def write_whole(path: Path, write: Callable[[BinaryIO], T], *, durable: bool = True) -> T:
    """Make ``path`` the file that ``write(file)`` writes, and return what ``write`` returns.

    ``path`` survives a loss of power from here on. ``durable=False`` is for what can be made again, and may be made
    by several processes at once: quick, with no fsync, and with a temporary name of its own for each writer.
    Raises ``OSError`` with ``path`` when the disk refuses it, whatever ``write`` makes of that.
    """
    own = "" if durable else f".{os.getpid()}-{os.urandom(4).hex()}"
    temporary = path.with_name(f"{path.name}{own}.tmp")  # left by a kill, it is taken by the next durable write
    try:
        with io.BufferedWriter(raw := _Counted(temporary, "wb")) as file:
            written = write(file)
            file.flush()
            if durable:
                raw.sync()
            raw.require_written(path)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)
    return written


def append_whole(path: Path, data: bytes) -> None:
    """Add ``data`` to the file ``path``, all of it or nothing. Raises ``OSError`` as ``write_whole`` does."""
    with io.BufferedWriter(raw := _Counted(path, "ab")) as file:
        before = file.tell()
        file.write(data)
        file.flush()
        if raw.refused:
            raw.truncate(before)
        raw.require_written(path)


class _Counted(io.FileIO):
    """A file that counts what it is given, also after it was ``refused``: torch hides an error that a file raises."""

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.nbytes = 0
        self.refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        nbytes = memoryview(data).nbytes
        if not self.refused:
            try:
                nbytes = super().write(data)
            except OSError as error:
                self.refused = error
        self.nbytes += nbytes
        return nbytes

    def sync(self) -> None:
        """Wait until the disk has it all."""
        try:
            os.fsync(self.fileno())
        except OSError as error:
            self.refused = self.refused or error

    def require_written(self, path: Path) -> None:
        """Raise what the disk refused, with ``path``, and with what is needed where there is no room."""
        if not self.refused:
            return
        code, message = self.refused.errno or 0, self.refused.strerror
        if remedy := _NO_ROOM.get(code):
            message = (
                f"{message}, and {self.nbytes:,} bytes are needed. {remedy}, or choose another folder; what was there "
                "before is untouched"
            )
        raise OSError(code, message, str(path)) from self.refused
