"""Files that are far away, as inputs: found by URL, folder or glob, and read like files that are here.

Guarantee: what is read is of one version, the one that was there when it was opened; else ``FarError``. Cost: a request
for each folder that is listed, and one for each ``CHUNK`` that is read; a file keeps its last chunk in memory.
"""

import io
from fnmatch import fnmatchcase
from functools import lru_cache

from windrow.far.objects import CHUNK, FarError, Object, Objects, parted

__all__ = ["FarFile", "FarPath", "about_far", "find_far", "kept_open", "opened"]


class FarPath(str):
    """A URL, and what was there when it was found."""

    about: Object


def find_far(url: str) -> tuple[list[FarPath], bool]:
    """The objects that ``url`` names, sorted, and whether it is a folder: one object, else a glob, else a folder."""
    root, name = parted(url)
    is_glob = any(letter in name for letter in "*?[")
    folder = name if not is_glob else _fixed(name)
    found = [_path(root, one) for one in Objects(root).names(folder) if not is_glob or _matches(one.name, name)]
    try:
        return [_path(root, about_far(url)._replace(name=name))], False
    except FarError:
        if not (found or is_glob):
            raise
        return found, not is_glob


def about_far(url: str) -> Object:
    """What is at ``url`` now."""
    root, name = parted(url)
    return Objects(root).head(name)


def _fixed(pattern: str) -> str:
    """The folders before the first one with a letter that stands for others."""
    folders = pattern.split("/")[:-1]
    first = next((n for n, folder in enumerate(folders) if any(letter in folder for letter in "*?[")), len(folders))
    return "/".join(folders[:first])


def _matches(name: str, pattern: str) -> bool:
    """As ``glob`` does: ``*`` stays within a folder, and ``**`` is any number of them."""
    (first, *rest), (here, *below) = pattern.split("/"), name.split("/")
    if first == "**":
        return _matches(name, "/".join(rest) or "*") or bool(below and _matches("/".join(below), pattern))
    if not fnmatchcase(here, first) or bool(rest) != bool(below):
        return bool(fnmatchcase(here, first) and not below and rest == ["**"])
    return not rest or _matches("/".join(below), "/".join(rest))


def _path(root: str, about: Object) -> FarPath:
    path = FarPath(f"{root}/{about.name}")
    path.about = about
    return path


class FarFile(io.RawIOBase):
    """An object as a file to read, ``CHUNK`` bytes at a time."""

    def __init__(self, url: str) -> None:
        root, name = parted(url)
        self._far, self._name = Objects(root), name
        _, self._nbytes, self._etag = about_far(url)
        self._at, self._base, self._held = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._nbytes}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._base <= self._at < self._base + len(self._held):
            stop = min(self._at + CHUNK, self._nbytes)
            self._held, self._base = self._far.read(self._name, self._at, stop, etag=self._etag), self._at
        begin = self._at - self._base
        data = self._held[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def opened(url: str) -> io.BufferedReader:
    """The object at ``url``, to be read and sought in."""
    return io.BufferedReader(FarFile(url), 1 << 20)


@lru_cache(maxsize=2)
def kept_open(url: str) -> io.BufferedReader:
    """The same file again, for those who read short spans of it one after another."""
    return opened(url)
