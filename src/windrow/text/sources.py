"""What ``inputs`` names -> the sources, in a fixed order. Reads no text.

Guarantee: sources come in the sorted order of their names, whatever order they were given in, and their names in a
store are never absolute paths. Cost: one ``stat`` for each file. What it does not do: open anything, or know how a
form is read (``streams``, ``parse``, ``columns``).
"""

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from windrow.errors import SourceError
from windrow.far.objects import is_far
from windrow.text.far_files import FarPath, about_far, find_far
from windrow.text.reading import FORM_REMEDY, Reading

__all__ = ["BOM", "Inputs", "Source", "find_sources", "form_of", "refuse_path", "require_unchanged", "told_form"]

BOM = b"\xef\xbb\xbf"  # the byte order mark of UTF-8, which is no text at the head of a file
Documents = Iterable[str] | Iterable[Mapping[str, Any]]
Inputs = str | Path | list[str] | list[Path] | tuple[str, ...] | tuple[Path, ...] | Documents
FORMS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
FORMS |= dict.fromkeys([".arrow", ".ipc", ".feather"], "arrow")
_OURS = re.compile(  # what lies in stores and in unfinished work
    r"(tokens|counts|documents|origins|column-\d{3})-\d{5}\.(bin|npy)(\.tmp)?|"
    r"[0-9a-f]{32}\.item(\..+\.tmp)?|lock(-\d+-of-\d+)?"
)
_LISTS = {f"{name}{tmp}" for name in ("sources.jsonl", "manifest.json") for tmp in ("", ".tmp")}  # a store's own
PACKED = (".gz", ".zst")
_KNOWN = f"Names that tell a form end in {', '.join(FORMS)}, each plain, .gz or .zst. {FORM_REMEDY}"


@dataclass(frozen=True)
class Source:
    """One input. ``name`` is what a store records; ``path`` is None for documents in memory, "-" for standard input."""

    name: str
    path: str | None
    form: str
    compression: str = ""
    nbytes: int = 0
    mtime_ns: int = 0
    etag: str = ""  # of one that is far away, in place of the time
    documents: Documents | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "documents": None}  # a generator stays where it is; its texts travel with their tasks

    @property
    def is_file(self) -> bool:
        """Whether it can be read again: documents in memory and standard input cannot."""
        return self.path not in (None, "-")

    @property
    def identity(self) -> list[Any]:
        """What must be equal for work done on this source to be used again."""
        return [self.name, self.form, self.compression, self.nbytes, self.etag or self.mtime_ns]


def find_sources(inputs: Inputs, reading: Reading) -> tuple[list[Source], dict[str, int]]:
    """The sources that ``inputs`` names, sorted by name; and how many files of each suffix folders hold beside them.

    A str, a Path, or a list or tuple of them names files: a file, a folder (every file below it of a known form, also
    where links lead, but for those of stores), a glob, or ``"-"`` for standard input. Any other iterable holds the
    documents themselves, str or dict.
    Raises ``SourceError`` when nothing is found, a file is not there or of no known form, or two inputs would have one
    name.
    """
    if isinstance(inputs, (str, Path)):
        inputs = [str(inputs)]
    if not isinstance(inputs, (list, tuple)):
        return [Source("iterable", None, "documents", documents=inputs)], {}
    if not inputs:
        raise SourceError("inputs is an empty list. Give files, folders, globs or '-' for standard input.")
    found = [_find(given, reading) for given in inputs]
    paths = {path for taken, _ in found for path in taken}
    sources = [_source(path, name, reading) for path, name in names_of(paths).items()]
    _require_names(sources)
    for source in sources:
        _require_fields(source, reading)
    passed_over = {path for _, passed in found for path in passed} - set(paths)
    return sources, dict(Counter(sorted("".join(_suffixes(path)) or "no suffix" for path in passed_over)).most_common())


def told_form(sources: Sequence[Source], reading: Reading) -> dict[str, str]:
    """The form that a store keeps: one that was told, where the names of the sources tell another or none."""
    usual = {"-": "text" if reading.keys == {"text_key": "text"} else "jsonl", None: "documents"}
    forms = {source.form for source in sources if source.form != (usual.get(source.path) or form_of(source.name)[0])}
    return {"form": forms.pop()} if forms else {}


def names_of(paths: Collection[str], here: Any = os.path) -> dict[str, str]:
    """What a store calls each path: with slashes, from the folder that absolute ones share, a drive or a bucket as one.

    ``here`` is how the system writes paths, ``ntpath`` or ``posixpath``. Sorted as with slashes, the same everywhere.
    """
    kind = PureWindowsPath if here.sep == "\\" else PurePosixPath
    as_paths = {path: f"/{path.partition('://')[2].lstrip('/')}" if is_far(path) else path for path in paths}
    absolute = [path for path in as_paths.values() if here.isabs(path)]
    has_drives = len({here.splitdrive(path)[0].lower() for path in absolute}) > 1
    root = here.commonpath([*map(here.dirname, absolute)]) if absolute and not has_drives else ""

    def name(path: str) -> str:
        if here.isabs(path):
            drive, rest = here.splitdrive(path)
            path = drive.replace(":", "") + rest if has_drives else here.relpath(path, root)
        return kind(path).as_posix().lstrip("/")

    return {path: name(as_paths[path]) for path in sorted(paths, key=lambda path: path.replace(here.sep, "/"))}


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


def _find(given: object, reading: Reading) -> tuple[list[str], list[str]]:
    """The files that an input names, and those that it passes over."""
    if not isinstance(given, (str, os.PathLike)):
        raise SourceError(
            f"a list of inputs names files, and this one holds a {type(given).__name__}. To pass documents "
            "themselves, give an iterator: iter([...])."
        )
    name = str(os.fspath(given))
    is_folder = os.path.isdir(name)
    if is_far(name):
        far, is_folder = find_far(name)
        found: list[str] = [*far]
        if not is_folder:
            return _some(found, name, "matches nothing"), []
    if is_folder:
        below = _of_others(found) if is_far(name) else _below(name)
        known = [path for path in below if form_of(path)[0]]
        data = [path for path in known if not path.lower().endswith(".json")]  # beside others, it holds notes on them
        taken = below if reading.form else data or known
        return _some(taken, name, "holds no file of a known form"), sorted({*below} - {*taken})
    if name == "-" or os.path.exists(name):
        return [name], []
    return _some([path for path in glob.glob(name, recursive=True) if os.path.isfile(path)], name, "is not there"), []


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
            found += _of_others([os.path.join(folder, file) for file in files])
    return found


def _of_others(paths: list[str]) -> list[str]:
    """Those of ``paths`` that are no store's own."""
    stores = {folder for folder, name in map(os.path.split, paths) if name == "tokens-00000.bin"}
    named = [(path, *os.path.split(path)) for path in paths]
    return [
        path for path, folder, name in named if not (_OURS.fullmatch(name) or (folder in stores and name in _LISTS))
    ]


def _raise(error: OSError) -> None:
    raise SourceError(f"the folder {error.filename} cannot be read: {error.strerror}.") from error


def _some(found: list[str], name: str, problem: str) -> list[str]:
    if found:
        return found
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    raise SourceError(
        f"input {shown!r} {problem}. Give files, folders, globs or '-' for standard input (the current folder is "
        f"{os.getcwd()}). {_KNOWN} To pass texts themselves, give an "
        "iterator: iter([text, ...])."
    )


def form_of(path: str) -> tuple[str, str]:
    """``(form, compression)`` by the name of a file, each "" when unknown or none."""
    suffix, packed = _suffixes(path)
    return FORMS.get(suffix, ""), packed.removeprefix(".")


def _suffixes(path: str) -> tuple[str, str]:
    """What the name ends in, and what that of a packed file ends in."""
    stem, suffix = os.path.splitext(path.lower())
    return (os.path.splitext(stem)[1], suffix) if suffix in PACKED else (suffix, "")


def _source(path: str, name: str, reading: Reading) -> Source:
    if path == "-":
        is_text = reading.text_key is None and not reading.has_rows
        return Source("-", "-", reading.form or ("text" if is_text else "jsonl"))
    form, compression = form_of(path)
    form = reading.form or form
    if isinstance(path, FarPath):
        _require_form(path, form)
        return Source(name, str(path), form, compression, path.about.nbytes, etag=path.about.etag)
    try:
        status = os.stat(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(
            f"{path} is a pipe or a device, whose length and content cannot be known before it is read. Pipe it into "
            "standard input and give '-', or write it to a file first."
        )
    _require_form(path, form)
    return Source(name, path, form, compression, status.st_size, status.st_mtime_ns)


def _require_form(path: str, form: str) -> None:
    if not form:
        raise SourceError(f"{path} has a name that does not tell its form, and none is guessed. {_KNOWN}")


def _require_fields(source: Source, reading: Reading) -> None:
    """Raise ``SourceError`` for a form that cannot hold what the ``reading`` looks for."""
    is_text, (first, key), *_ = source.form == "text", *reading.keys.items()
    if reading.has_rows and (is_text or (first == "parts_key" and source.form in ("parquet", "arrow"))):
        others = "JSON" if first == "parts_key" else "JSON or a table"
        raise SourceError(
            f"{source.path} is read as {source.form}, which has no rows with {first}={key!r}. Give rows of {others}, "
            f"or leave {first} out."
        )
    if is_text and reading.keep:
        raise SourceError(
            f"{source.path} is plain text, which has no fields to keep. Give JSON lines or tables, or leave keep out."
        )


def require_unchanged(sources: Iterable[Source]) -> None:
    """Raise ``SourceError`` when a file is no longer what ``find_sources`` saw."""
    for source in sources:
        if not source.is_file:
            continue
        nbytes, version = _now(source)
        if (nbytes, version) != (source.nbytes, source.etag or source.mtime_ns):
            raise SourceError(
                f"{source.path} changed while it was read: it had {source.nbytes} bytes at the start and has "
                f"{nbytes} now (or was written over), so the tokens would be of no one version. Nothing was "
                "published. Run the command again when nothing writes to the inputs."
            )


def _now(source: Source) -> tuple[int, str | int]:
    """The size of a source, and what tells its version: the time of its last change, or a tag."""
    if source.etag:
        return about_far(str(source.path))[1:]
    try:
        status = os.stat(str(source.path))
    except OSError as error:
        raise SourceError(f"{source.path} went away while it was read: {error.strerror}.") from error
    return status.st_size, status.st_mtime_ns


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
