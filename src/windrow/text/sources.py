"""What ``inputs`` names -> the sources, in a fixed order. Reads no text.

Guarantee: sources come in the sorted order of their names, whatever order they were given in, and their names in a
store are never absolute paths. Cost: one ``stat`` for each file. What it does not do: open anything, or know how a
form is read (``streams``, ``parse``, ``columns``).
"""

import glob
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windrow.errors import SourceError

__all__ = ["Inputs", "Reading", "Source", "find_sources", "refuse_path", "require_unchanged"]

Documents = Iterable[str] | Iterable[Mapping[str, Any]]
Inputs = str | Path | list[str] | list[Path] | tuple[str, ...] | tuple[Path, ...] | Documents
FORMS = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
_STORE = ("tokens-00000.bin", "sources.jsonl")  # a folder with the first is a store, maybe unfinished; its own list
_CHOICES = {"literal_eos": ("text", "split", "special", "error"), "on_error": ("raise", "skip")}
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}


@dataclass(frozen=True)
class Reading:
    """How documents are found in sources: the part of the recipe that concerns reading.

    ``literal_eos`` is what a literal ``<|endoftext|>`` in text means: text | split | special | error.
    """

    text_key: str = "text"
    separator: str | None = None
    literal_eos: str = "text"
    on_error: str = "raise"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {value!r}, and it is one of {', '.join(map(repr, allowed))}")
        if self.separator is not None and (not self.separator or "\n" in self.separator):
            raise ValueError(f"separator is {self.separator!r}, and it is one line of text, without its line break")
        for name, text in (("separator", self.separator or ""), ("text_key", self.text_key)):
            if text.encode("utf-8", "replace") != text.encode("utf-8", "surrogateescape"):
                raise ValueError(f"{name} is {text!r}, which is not UTF-8, and texts are. Give it as UTF-8")


@dataclass(frozen=True)
class Source:
    """One input. ``name`` is what a store records; ``path`` is None for documents in memory, "-" for standard input."""

    name: str
    path: str | None
    form: str
    compression: str = ""
    nbytes: int = 0
    mtime_ns: int = 0
    documents: Documents | None = None

    @property
    def is_file(self) -> bool:
        """Whether it can be read again: documents in memory and standard input cannot."""
        return self.path not in (None, "-")

    @property
    def identity(self) -> list[Any]:
        """What must be equal for work done on this source to be used again."""
        return [self.name, self.form, self.compression, self.nbytes, self.mtime_ns]


def find_sources(inputs: Inputs, *, stdin_form: str = "text") -> list[Source]:
    """The sources that ``inputs`` names, sorted by name.

    A str, a Path, or a list or tuple of them names files: a file, a folder (every file below it of a known form, also
    where links lead, but for those of stores), a glob, or ``"-"`` for standard input. Any other iterable holds the
    documents themselves, str or dict.
    Raises ``SourceError`` when nothing is found, a file is not there, or two inputs would have one name.
    """
    if isinstance(inputs, (str, Path)):
        inputs = [str(inputs)]
    if not isinstance(inputs, (list, tuple)):
        return [Source("iterable", None, "documents", documents=inputs)]
    if not inputs:
        raise SourceError("inputs is an empty list. Give files, folders, globs or '-' for standard input.")
    paths = sorted({path for given in inputs for path in _find(given)})
    absolute = [path for path in paths if os.path.isabs(path)]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute]) if absolute else ""
    sources = [_source(path, root, stdin_form) for path in paths]
    _require_names(sources)
    return sources


def _require_names(sources: list[Source]) -> None:
    """Two inputs of one name could be taken for one another: in unfinished work, and in what a store says of them."""
    paths = dict[str, str | None]()
    for source in sources:
        if source.name in paths:
            raise SourceError(
                f"the inputs {paths[source.name]} and {source.path} would both be named {source.name!r} in the store, "
                "so that nobody could tell which of them a text came from. If they are one file, give it once; else "
                "give all inputs as absolute paths, or all as relative ones."
            )
        paths[source.name] = source.path


def _find(given: object) -> list[str]:
    if not isinstance(given, (str, os.PathLike)):
        raise SourceError(
            f"a list of inputs names files, and this one holds a {type(given).__name__}. To pass documents "
            "themselves, give an iterator: iter([...])."
        )
    name = str(os.fspath(given))
    if name == "-":
        return [name]
    if os.path.isdir(name):
        return _some([path for path in _below(name) if form_of(path)[0]], name, "holds no file of a known form")
    if os.path.exists(name):
        return [name]
    return _some([path for path in glob.glob(name, recursive=True) if os.path.isfile(path)], name, "is not there")


def _below(top: str) -> list[str]:
    """The files below a folder, but for what is a store's own; folders that links lead to come last, each once."""
    found, seen, tops = list[str](), set[str](), [top]
    for start in tops:
        for folder, folders, files in os.walk(start, onerror=_raise):
            folders.sort()
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            tops += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]
            is_store = _STORE[0] in files
            found += [os.path.join(folder, file) for file in files if not (is_store and file == _STORE[1])]
    return found


def _raise(error: OSError) -> None:
    raise SourceError(f"the folder {error.filename} cannot be read: {error.strerror}.") from error


def _some(found: list[str], name: str, problem: str) -> list[str]:
    if found:
        return found
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    raise SourceError(
        f"input {shown!r} {problem}. Give files, folders, globs or '-' for standard input (the current folder is "
        f"{os.getcwd()}); known forms are {', '.join(FORMS)}, each plain, .gz or .zst. To pass texts themselves, "
        "give an iterator: iter([text, ...])."
    )


def form_of(path: str) -> tuple[str, str]:
    """``(form, compression)`` by the name of a file, each "" when unknown or none."""
    stem, suffix = os.path.splitext(path.lower())
    compression = COMPRESSIONS.get(suffix, "")
    return FORMS.get(os.path.splitext(stem)[1] if compression else suffix, ""), compression


def _source(path: str, root: str, stdin_form: str) -> Source:
    if path == "-":
        return Source("-", "-", stdin_form)
    form, compression = form_of(path)
    name = Path(os.path.relpath(path, root) if os.path.isabs(path) else path).as_posix()
    try:
        status = os.stat(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(
            f"{path} is a pipe or a device, whose length and content cannot be known before it is read. Pipe it into "
            "standard input and give '-', or write it to a file first."
        )
    return Source(name, path, form or "text", compression, status.st_size, status.st_mtime_ns)


def require_unchanged(sources: Iterable[Source]) -> None:
    """Raise ``SourceError`` when a file is no longer what ``find_sources`` saw."""
    for source in sources:
        if not source.is_file:
            continue
        try:
            now = os.stat(str(source.path))
        except OSError as error:
            raise SourceError(f"{source.path} went away while it was read: {error.strerror}.") from error
        if (now.st_size, now.st_mtime_ns) != (source.nbytes, source.mtime_ns):
            raise SourceError(
                f"{source.path} changed while it was read: it had {source.nbytes} bytes at the start and has "
                f"{now.st_size} now (or was written over), so the tokens would be of no one version. Nothing was "
                "published. Run the command again when nothing writes to the inputs."
            )


def refuse_path(text: object, name: str = "text") -> None:
    """Raise ``ValueError`` when ``text`` is no text, or the path of a file: its name is not what to train on."""
    if isinstance(text, os.PathLike) or (isinstance(text, str) and len(text) <= 4096 and os.path.isfile(text)):
        path = os.fspath(text)
        raise ValueError(
            f"{name} is the path of a file, {path!r}, and the text itself is wanted, not these {len(path)} characters. "
            f"Read it first: {name} = Path({path!r}).read_text(encoding='utf-8'), or use windrow.prepare, which takes "
            "paths."
        )
    if not isinstance(text, str):
        raise ValueError(
            f"{name} is a {type(text).__name__}, and it must be a str. Decode bytes with .decode('utf-8')."
        )
