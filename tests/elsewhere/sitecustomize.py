"""A Python as on Windows: on PYTHONPATH, it takes away what only some systems have, in all processes.

Missing: fcntl, resource, fork, advice, affinity, ``/proc``, folders as descriptors. Refused: renaming and removing what
some process of ours has open or mapped, and renaming a folder to the name of another. Each refusal is told on stderr.
"""

import builtins
import contextlib
import io
import mmap
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

OPEN, OS_OPEN, REPLACE, UNLINK = builtins.open, os.open, os.replace, os.unlink

for module in ("fcntl", "resource"):
    sys.modules[module] = None  # type: ignore[assignment]
for name in ["posix_fadvise", "sched_getaffinity", "fork", "forkpty", "O_DIRECTORY", "O_NOFOLLOW"]:
    if hasattr(os, name):
        delattr(os, name)
for name in [name for name in vars(mmap) if name.startswith(("MADV_", "PROT_"))]:
    delattr(mmap, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
    if hasattr(signal, name):
        delattr(signal, name)


class Mapping(mmap.mmap):
    """A mapping as Windows has it: with no advice, and none of the words that a mapping elsewhere is made with."""

    madvise: Any = property()  # type: ignore[assignment]

    def __new__(cls, fileno: int, length: int, *, access: int = 0, offset: int = 0) -> "Mapping":
        return super().__new__(cls, fileno, length, access=access, offset=offset)


mmap.mmap = Mapping  # type: ignore[misc]


def is_hidden(path: Any) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith("/proc/")


def opened(path: Any, *args: Any, **options: Any) -> Any:
    if is_hidden(path):
        raise FileNotFoundError(2, "No such file or directory", path)
    return OPEN(path, *args, **options)


def opened_low(path: Any, flags: int, *args: Any, **options: Any) -> int:
    is_unnamed = flags & os.O_TMPFILE == os.O_TMPFILE
    if is_hidden(path) or (os.path.isdir(path) and not is_unnamed):
        raise PermissionError(13, "Permission denied", path)
    return OS_OPEN(path, flags, *args, **options)


def processes() -> Iterator[str]:
    """This process, and those that it started."""
    yield "self"
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), OPEN(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            yield from file.read().split()


def held_below(path: Any) -> str:
    """A file at ``path``, or below it, that is open or mapped; or nothing."""
    top = os.path.realpath(os.fsdecode(path))
    for pid in processes():
        with contextlib.suppress(OSError), OPEN(f"/proc/{pid}/maps", encoding="utf-8") as file:
            held = [line.split(maxsplit=5)[-1].strip() for line in file]
            held += [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")[:-1]]
            for name in held:
                if name == top or name.startswith(f"{top}/"):
                    return name
    return ""


def refusing(real: Callable[..., Any], *, renames: bool) -> Callable[..., Any]:
    def call(path: Any, *args: Any, **options: Any) -> Any:
        onto = args[0] if renames else path
        if held := held_below(path) or held_below(onto):
            sys.stderr.write(f"refused: {held} is open\n")
            refused: Any = PermissionError(13, "Permission denied", path)
            refused.winerror = 32  # as only Windows says it
            raise refused
        if renames and os.path.isdir(path) and os.path.isdir(onto):
            sys.stderr.write(f"refused: {onto} is there\n")
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **options)

    return call


builtins.open = io.open = opened
os.open = opened_low
os.replace = os.rename = refusing(REPLACE, renames=True)
os.unlink = os.remove = refusing(UNLINK, renames=False)
shutil._use_fd_functions = False  # type: ignore[attr-defined]
