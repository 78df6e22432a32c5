"""Files that are there whole or not at all.

Guarantee: a path holds all that was written or what it held before, and a failure leaves no other file behind.
Cost: a temporary file beside the path, two fsyncs and a rename. It does not do: folders, or files that grow.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

__all__ = ["write_whole"]

T = TypeVar("T")


def write_whole(path: Path, write: Callable[[BinaryIO], T], *, durable: bool = True) -> T:
    """Make ``path`` the file that ``write(file)`` writes, and return what ``write`` returns.

    ``path`` survives a loss of power from here on. ``durable=False`` is for what can be made again, and may be made
    by several processes at once: quick, with no fsync, and with a temporary name of its own for each writer.
    """
    own = "" if durable else f".{os.getpid()}-{os.urandom(4).hex()}"
    temporary = path.with_name(f"{path.name}{own}.tmp")  # left by a kill, it is taken by the next durable write
    try:
        with open(temporary, "wb") as file:
            written = write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _sync_folder(path.parent)
    return written


def _sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable (no-op where folders cannot be opened, as on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
