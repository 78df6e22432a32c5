"""What some operating systems do not have, under names that work on all of them: the same bytes and batches everywhere.

name            where the system has it             where it has not
num_cores       the cores this process may run on   all of the machine
memory_of       memory of a process, by ``/proc``   0: a worker that has grown is not replaced
disk_reads      waits for the disk                  0: rows that come next are not read ahead
may_open_more   open files, up to the hard limit    False: the limit stays as it is
map_descriptor  keeps no descriptor (Python 3.13)   each mapping keeps its file open
advise_mapping  ``madvise``                         the system reads ahead as it sees fit
takes_lock      ``flock``; Windows' locks of bytes  True: nobody keeps a second writer away
sync_folder     a rename is on disk from here on    on disk when the system writes it, and whole all the same
APART           no Ctrl-C reaches a worker          on Windows by a flag
stop_signals    Ctrl-C, SIGTERM                     those that there are, and Windows' Ctrl-Break

No other module asks what there is. Cost: that of the calls. It does not do: anything of windrow's own.
"""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = [
    "APART",
    "advise_mapping",
    "disk_reads",
    "map_descriptor",
    "may_open_more",
    "memory_of",
    "num_cores",
    "stop_signals",
    "sync_folder",
    "takes_lock",
]


def _module(name: str) -> Any:
    with suppress(ImportError):
        return import_module(name)


_fcntl, _msvcrt, _resource = map(_module, ("fcntl", "msvcrt", "resource"))
_UNTRACKED = sys.version_info >= (3, 13) and hasattr(mmap, "PROT_READ")  # not yet on Windows
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if _UNTRACKED else {}
_SHARES = 1 << 24  # bytes of a lock on Windows
_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", None)
APART: dict[str, Any] = {"process_group": 0} if _GROUP is None else {"creationflags": _GROUP}


def num_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_of(pid: int) -> int:
    """Bytes of memory that a process holds."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def disk_reads() -> int:
    """How often this thread has waited for a page, or had blocks read, so far."""
    used = _resource and _resource.getrusage(getattr(_resource, "RUSAGE_THREAD", _resource.RUSAGE_SELF))
    return int(used.ru_majflt + used.ru_inblock) if used else 0


def may_open_more() -> bool:
    """Raise the soft limit on open files to the hard one, if that is more."""
    with suppress(AttributeError, ValueError, OSError):  # no such module, or a hard limit that is none
        soft, hard = _resource.getrlimit(_resource.RLIMIT_NOFILE)
        _resource.setrlimit(_resource.RLIMIT_NOFILE, (hard, hard))
        return bool(soft != hard)
    return False


def map_descriptor(descriptor: int) -> mmap.mmap:
    """The file, which is not empty, mapped to be read."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, **_NO_DESCRIPTOR)


def advise_mapping(held: mmap.mmap, advice: str, *stretch: int) -> None:
    """Tell the system how ``held``, or a ``stretch`` of it (first byte, bytes), is read: ``"MADV_RANDOM"``."""
    if hasattr(mmap, advice):
        held.madvise(getattr(mmap, advice), *stretch)


def takes_lock(descriptor: int, *, shared: bool) -> bool:
    """Whether this process holds the lock from here on, until it closes the file or ends."""
    with suppress(BlockingIOError, PermissionError):
        if _fcntl:
            _fcntl.flock(descriptor, (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX) | _fcntl.LOCK_NB)
        elif _msvcrt:  # who shares takes one byte, by chance its own; who does not takes them all
            os.lseek(descriptor, int.from_bytes(os.urandom(3)) if shared else 0, os.SEEK_SET)
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1 if shared else _SHARES)
        return True
    return False


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a loss of power."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def stop_signals(note: Callable[..., None]) -> Iterator[None]:
    """Within, ``note`` is called in place of what else a signal to stop would do."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
