"""Raw text -> documents, in a fixed order.

Guarantee: files come in the sorted order of their names whatever order they were given in; every byte is read as
strict UTF-8, nothing replaced and no newline translated. Cost: one file in memory at a time. Knows no tokens.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from windrow.errors import SourceError

__all__ = ["Document", "Inputs", "Source", "decode_utf8", "open_sources"]

Inputs = str | Path | Iterable[str] | Iterable[Path]
SUFFIXES = (".txt",)


@dataclass(frozen=True)
class Document:
    """One text and where it lies in its source: ``line`` (from 1; 0 has none) and bytes ``[start, stop)``."""

    text: str
    line: int
    start: int
    stop: int


@dataclass(frozen=True)
class Source:
    """One input: what its documents are, and what a manifest says of it. ``name`` is never an absolute path."""

    name: str
    documents: Iterator[Document]
    digest: "Digest"


class Digest:
    """Size and sha256 of a source's bytes, known once its documents are read."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._sha256 = sha256()

    def update(self, data: bytes) -> bytes:
        self.nbytes += len(data)
        self._sha256.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def open_sources(inputs: Inputs) -> Iterator[Source]:
    """The sources that ``inputs`` names, in order.

    A str, a Path, or a list or tuple of them names files: a ``.txt`` file (one document), a folder (every ``.txt``
    file below it), a glob, or ``"-"`` for standard input. Any other iterable holds the documents themselves.
    Raises ``SourceError`` when nothing is found or an input cannot be read.
    """
    if isinstance(inputs, (str, Path)):
        return _from_files(_find(inputs))
    if isinstance(inputs, (list, tuple)):
        return _from_files([path for given in inputs for path in _find(given)])
    return iter([_from_iterable(inputs)])


def _find(given: str | Path) -> list[str]:
    name = os.fspath(given)
    if name == "-":
        return [name]
    if os.path.isdir(name):
        found = [os.path.join(folder, file) for folder, _, files in os.walk(name) for file in files]
        return _some([path for path in found if path.endswith(SUFFIXES)], name, "holds no .txt file")
    if os.path.exists(name):
        return [name]
    return _some([path for path in glob.glob(name, recursive=True) if os.path.isfile(path)], name, "is not there")


def _some(found: list[str], name: str, problem: str) -> list[str]:
    if found:
        return found
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    raise SourceError(
        f"input {shown!r} {problem}. Give files, folders, globs or '-' for standard input (the current folder is "
        f"{os.getcwd()}); to pass texts themselves, give an iterator: iter([text, ...])."
    )


def _from_files(found: list[str]) -> Iterator[Source]:
    paths = sorted(set(found))
    absolute = [path for path in paths if os.path.isabs(path)]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute]) if absolute else ""
    for path in paths:
        name = os.path.relpath(path, root) if os.path.isabs(path) else path
        digest = Digest()
        yield Source(Path(name).as_posix(), _whole_file(path, digest), digest)


def _whole_file(path: str, digest: Digest) -> Iterator[Document]:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    yield Document(decode_utf8(digest.update(data), path), 1, 0, len(data))


def _from_iterable(texts: Iterable[str] | Iterable[Path]) -> Source:
    digest = Digest()
    return Source("iterable", _iterated(texts, digest), digest)


def _iterated(texts: Iterable[str] | Iterable[Path], digest: Digest) -> Iterator[Document]:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise SourceError(f"item {number} of the iterable is a {type(text).__name__}, and documents are str")
        start = digest.nbytes
        digest.update(text.encode("utf-8", "surrogatepass"))
        yield Document(text, number + 1, start, digest.nbytes)


def decode_utf8(data: bytes, name: str, offset: int = 0) -> str:
    """``data`` as text. Raises ``SourceError`` with ``name`` and the byte's offset in the file when it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = offset + error.start
        raise SourceError(
            f"{name} is not UTF-8: byte 0x{data[error.start]:02x} at offset {place} ({error.reason}). Replacing it "
            "would change the text in silence. Save the file as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
