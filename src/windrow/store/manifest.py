"""The manifest of a store: what it says, read and checked.

Guarantee: a folder is a store exactly when its ``manifest.json`` is there and true of the sizes of the files that it
names; the manifest is written last, in one rename. Names in it cannot leave the folder. Nothing here knows tokens.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, get_origin

from windrow.errors import StoreError, read_json, require_shape
from windrow.tokens.protocol import Tokenizer

__all__ = [
    "BOUNDARIES",
    "COLUMN_TYPES",
    "FORMAT",
    "MANIFEST",
    "MOST_CATEGORIES",
    "SAFE_NAME",
    "Column",
    "ColumnFile",
    "Manifest",
    "Shard",
    "describe",
    "files_of",
    "parse_manifest",
    "read_manifest",
    "read_sources",
]

FORMAT = "windrow-store"
MANIFEST = "manifest.json"
BOUNDARIES: dict[str, list[str]] = {"eos": ["eos_id"], "bos": ["bos_id"], "both": ["eos_id", "bos_id"], "none": []}
COLUMN_TYPES = ("int64", "float64", "bool", "category")
MOST_CATEGORIES = 1 << 16
_ITEMSIZE = {"uint16": 2, "uint32": 4}  # bytes, by dtype
SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ColumnFile:
    """A shard's values of one column."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Column:
    """A field of the rows, kept for each document; the codes of a category number its ``categories``."""

    name: str
    type: str
    missing: int
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Shard:
    """One shard: its files, each with its sha256; counts and columns where the store has them."""

    file: str
    num_tokens: int
    num_documents: int
    sha256: str
    documents: str
    documents_sha256: str
    origins: str
    origins_sha256: str
    counts: str | None = None
    counts_sha256: str | None = None
    columns: tuple[ColumnFile, ...] = ()


def files_of(shard: Shard) -> dict[str, str]:
    """The sha256 of each file of a shard, by its name: tokens first."""
    named = {shard.file: shard.sha256, shard.documents: shard.documents_sha256, shard.origins: shard.origins_sha256}
    named |= {shard.counts: str(shard.counts_sha256)} if shard.counts is not None else {}
    return named | {column.file: column.sha256 for column in shard.columns}


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself; see docs/store.md for each field."""

    dtype: str
    num_tokens: int
    num_documents: int
    max_token_id: int
    eos_id: int | None
    tokenizer: Mapping[str, Any]
    policy: Mapping[str, Any]
    shards: tuple[Shard, ...]
    sources: Mapping[str, Any]
    ledger: Mapping[str, int]
    boundary: str = "eos"
    bos_id: int | None = None
    columns: tuple[Column, ...] = ()

    @property
    def version(self) -> int:
        """Of the format: 2 for what version 1 has no words for."""
        return 2 if self.has_counts or self.columns or self.boundary != "eos" else 1

    @property
    def has_counts(self) -> bool:
        """Whether each token has a byte that says if it counts as a target."""
        return any(shard.counts is not None for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over the sha256s of tokens, boundaries and counts: equal stores have equal fingerprints."""
        hashed = [
            [s.num_tokens, s.sha256, s.num_documents, s.documents_sha256, *filter(None, [s.counts_sha256])]
            for s in self.shards
        ]
        return sha256(json.dumps([FORMAT, self.dtype, hashed]).encode()).hexdigest()

    @property
    def sums(self) -> dict[str, str]:
        """The sha256 of each file of the store, by its name."""
        named = {self.sources["file"]: self.sources["sha256"]}
        for shard in self.shards:
            named |= files_of(shard)
        return named

    def to_json(self) -> str:
        """What is not there has no field; version 1 has none for the boundary either."""
        fields = {"format": FORMAT, "version": self.version, **asdict(self, dict_factory=_there)}
        for name in ("boundary", "bos_id") if self.version == 1 else ():
            fields.pop(name, None)
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def _there(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value is not None and value != ()}


_COLUMN = {"name": str, "type": str, "missing": int, "categories?": [str]}
_OPTIONAL = {"eos_id?": int, "boundary?": str, "bos_id?": int, "columns?": [_COLUMN]}
_OF_SHARD = {"counts?": str, "counts_sha256?": str, "columns?": [ColumnFile.__annotations__]}


def _shape(kind: type, optional: dict[str, Any]) -> dict[str, Any]:
    fields = {name: get_origin(of) or of for name, of in kind.__annotations__.items() if f"{name}?" not in optional}
    return fields | optional


_SHAPE = _shape(Manifest, _OPTIONAL) | {
    "tokenizer": {"name": str, "vocab_size": int, "fingerprint": str},
    "shards": [_shape(Shard, _OF_SHARD)],
    "sources": {"file": str, "sha256": str},
}


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/manifest.json``. Raises ``StoreError`` when it is missing, damaged or untrue."""
    manifest = parse_manifest(_load(folder), folder)
    _check_files(folder, manifest)
    return manifest


def parse_manifest(raw: bytes, folder: object) -> Manifest:
    """The manifest that ``folder`` holds, of its bytes; what it says of files is not looked at."""
    try:
        fields = read_json(raw, dict)
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    if fields.get("format") != FORMAT or fields.get("version") not in (1, 2):
        raise StoreError(
            f"{folder}/{MANIFEST} is of format {fields.get('format')!r} version {fields.get('version')!r}, and this "
            f"windrow reads {FORMAT!r} versions 1 and 2. Prepare the store again, or use the windrow that "
            "wrote it."
        )
    try:
        return _parse(fields)
    except (TypeError, ValueError) as error:
        raise _damaged(folder, str(error)) from error


def _load(folder: Path) -> bytes:
    path = folder / MANIFEST
    _require_plain(path)
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(_no_manifest(folder)) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error


def _require_plain(path: Path) -> None:
    """Before it is opened: who opens a pipe waits for ever."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise StoreError(
            f"{path} is no plain file, and nothing else is opened. Restore it from a copy, or prepare the store again."
        )


def _no_manifest(folder: Path) -> str:
    if not folder.is_dir():
        if folder.exists():
            made = f"Make one with: windrow prepare {folder} corpus, or train on it: windrow train --text {folder}"
            return f"there is no store at {folder}: a file. {made}"
        return f"there is no store at {folder}: no such folder. Make one with: windrow prepare TEXT {folder}"
    if parts := sorted(found.parent.name for found in folder.glob(f"*/{MANIFEST}")):
        return (
            f"{folder} is no store itself; it holds {len(parts)}: {', '.join(parts)}. Open {folder / parts[0]} instead."
        )
    return (
        f"{folder} has no {MANIFEST}, so it is no store, or one that was never finished: the manifest is written "
        "last. Run the same windrow prepare command again."
    )


def _damaged(folder: object, what: str) -> StoreError:
    return StoreError(
        f"{folder}/{MANIFEST} is damaged ({what}), so nothing in this folder can be trusted. Restore the file from a "
        "copy, or prepare the store again."
    )


def _parse(fields: Mapping[str, Any]) -> Manifest:
    require_shape(fields, _SHAPE)
    known = {name: fields[name] for name in Manifest.__annotations__ if fields.get(name) is not None}
    shards, columns = tuple(map(_shard, fields["shards"])), tuple(map(_column, known.get("columns", ())))
    manifest = Manifest(**{"eos_id": None} | known | {"shards": shards, "columns": columns})
    if manifest.dtype not in _ITEMSIZE:
        raise ValueError(f"dtype {manifest.dtype!r} is neither 'uint16' nor 'uint32'")
    if not shards:
        raise ValueError("it names no shards")
    _check_optional(manifest, fields["version"])
    if unsafe := [name for name in manifest.sums if not SAFE_NAME.fullmatch(name)]:
        raise ValueError(f"the file name {unsafe[0]!r} could lead out of the folder")
    _check_ids(manifest)
    for what in ("num_tokens", "num_documents"):
        total, counts = getattr(manifest, what), [getattr(shard, what) for shard in shards]
        if min(counts) < 0 or sum(counts) != total:
            raise ValueError(f"{what} is {total}, and the shards' own, from {min(counts)} on, add up to {sum(counts)}")
    return manifest


def _shard(fields: Mapping[str, Any]) -> Shard:
    return Shard(**{**fields, "columns": tuple(ColumnFile(**each) for each in fields.get("columns") or ())})


def _column(fields: Mapping[str, Any]) -> Column:
    held = fields.get("categories")
    return Column(**{**fields, "categories": held if held is None else tuple(held)})


def _check_optional(manifest: Manifest, version: int) -> None:
    """What version 2 has: in every shard or in none, and never in version 1."""
    if manifest.version != version:
        raise ValueError(f"it says version {version}, and what it holds is of version {manifest.version}")
    if len({(s.counts is None, s.counts_sha256 is None, len(s.columns)) for s in manifest.shards}) > 1:
        raise ValueError("some shards have counts or columns that others have not")
    shard, columns, names = manifest.shards[0], manifest.columns, {column.name for column in manifest.columns}
    if (shard.counts is None) != (shard.counts_sha256 is None) or len(shard.columns) != len(columns):
        raise ValueError(f"its {len(columns)} columns and its counts are not those of its shards")
    if len(names) < len(columns) or not all(map(_is_column, columns)):
        raise ValueError(f"its columns must have names of their own, types of {COLUMN_TYPES} and sorted categories")


def _is_column(column: Column) -> bool:
    if column.type != "category":
        return column.type in COLUMN_TYPES and column.categories is None
    texts = column.categories or ()
    return len(texts) <= MOST_CATEGORIES and list(texts) == sorted({*texts})


def _check_ids(manifest: Manifest) -> None:
    """Each id fits, and those that the boundary is made of are there."""
    if manifest.boundary not in BOUNDARIES:
        raise ValueError(f"boundary is {manifest.boundary!r}, and it is one of {', '.join(BOUNDARIES)}")
    vocab_size, dtype = manifest.tokenizer["vocab_size"], manifest.dtype
    for name in ("eos_id", "bos_id"):
        value = getattr(manifest, name)
        if value is None and name not in BOUNDARIES[manifest.boundary]:
            continue
        if value is None or not 0 <= value < min(vocab_size, 2 ** (8 * _ITEMSIZE[dtype])):
            raise ValueError(f"{name} is {value}, and it must be below vocab_size {vocab_size} and fit {dtype}")


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Sizes before any mmap: a shard cut short would read as zeros or crash."""
    for name in manifest.sums:
        _require_plain(folder / name)
    itemsize = _ITEMSIZE[manifest.dtype]
    for shard in manifest.shards:
        _check_size(folder / shard.file, shard.num_tokens, itemsize)
        if shard.counts:
            _check_size(folder / shard.counts, shard.num_tokens, 1)


def _check_size(path: Path, num_tokens: int, itemsize: int) -> None:
    try:
        nbytes = path.stat().st_size
    except OSError as error:
        raise StoreError(f"shard {path} cannot be read: {error.strerror}. Restore it from a copy.") from error
    if nbytes != num_tokens * itemsize:
        raise StoreError(
            f"shard {path} has {nbytes} bytes, and the manifest says {num_tokens} tokens of {itemsize} "
            f"bytes = {num_tokens * itemsize}: it was cut short or written over. Restore it from a copy, "
            "or prepare the store again."
        )


def read_sources(folder: Path, manifest: Manifest, only: Iterable[int] | None = None) -> dict[int, dict[str, Any]]:
    """``path`` and ``sha256`` of the inputs of the store in ``folder``, by their numbers, or of those ``only``.

    Raises ``StoreError`` for a damaged list. Of very many, few cost no more than of few.
    """
    path, found, number = folder / manifest.sources["file"], dict[int, dict[str, Any]](), 0
    try:
        about = path.stat()
        lines = _lines(path, about.st_mtime_ns, about.st_size)
        for number in range(len(lines)) if only is None else sorted({*only}):
            if 0 <= number < len(lines):
                found[number] = read_json(lines[number], {"path": str, "sha256": str})
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} is no list of sources (line {number + 1}: {error}). Restore it from a copy, or prepare the store "
            "again."
        ) from error
    return found


@lru_cache(maxsize=4)
def _lines(path: Path, *_written: int) -> list[bytes]:
    return path.read_bytes().splitlines()


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a manifest says of the tokenizer."""
    name = getattr(tokenizer, "name", type(tokenizer).__name__)
    return {"name": name, "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
