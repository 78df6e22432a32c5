"""The manifest of a store: what it says, read and checked.

Guarantee: a folder is a store exactly when its ``manifest.json`` is there and true of the sizes of the files that it
names; the manifest is written last, in one rename. Names in it cannot leave the folder. Nothing here knows tokens.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_origin

from windrow.errors import StoreError, read_json, require_shape
from windrow.tokens.protocol import Tokenizer

__all__ = ["FORMAT", "FORMAT_VERSION", "MANIFEST", "Manifest", "Shard", "describe", "read_manifest", "read_sources"]

FORMAT = "windrow-store"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_ITEMSIZE = {"uint16": 2, "uint32": 4}  # bytes, by dtype
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Shard:
    """One shard: its token file, its boundary file and its origins file, each with its sha256."""

    file: str
    num_tokens: int
    num_documents: int
    sha256: str
    documents: str
    documents_sha256: str
    origins: str
    origins_sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself; see docs/store.md for each field."""

    dtype: str
    num_tokens: int
    num_documents: int
    max_token_id: int
    eos_id: int
    tokenizer: Mapping[str, Any]
    policy: Mapping[str, Any]
    shards: tuple[Shard, ...]
    sources: Mapping[str, Any]
    ledger: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over the tokens' and boundaries' own sha256s: equal stores have equal fingerprints."""
        shards = [[s.num_tokens, s.sha256, s.num_documents, s.documents_sha256] for s in self.shards]
        return sha256(json.dumps([FORMAT, self.dtype, shards]).encode()).hexdigest()

    @property
    def sums(self) -> dict[str, str]:
        """The sha256 of each file of the store, by its name."""
        named = {self.sources["file"]: self.sources["sha256"]}
        for s in self.shards:
            named |= {s.file: s.sha256, s.documents: s.documents_sha256, s.origins: s.origins_sha256}
        return named

    def to_json(self) -> str:
        fields = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


_SHAPE: dict[str, Any] = {name: get_origin(kind) or kind for name, kind in Manifest.__annotations__.items()} | {
    "tokenizer": {"name": str, "vocab_size": int, "fingerprint": str},
    "shards": [Shard.__annotations__],
    "sources": {"file": str, "sha256": str},
}


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/manifest.json``. Raises ``StoreError`` when it is missing, damaged or untrue."""
    fields = _load(folder)
    if fields.get("format") != FORMAT or fields.get("version") != FORMAT_VERSION:
        raise StoreError(
            f"{folder / MANIFEST} is of format {fields.get('format')!r} version {fields.get('version')!r}, and this "
            f"windrow reads {FORMAT!r} version {FORMAT_VERSION}. Prepare the store again, or use the windrow that "
            "wrote it."
        )
    try:
        manifest = _parse(fields)
    except (TypeError, ValueError) as error:
        raise _damaged(folder, str(error)) from error
    _check_files(folder, manifest)
    return manifest


def _load(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    _require_plain(path)
    try:
        return dict(read_json(path.read_bytes(), dict))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(_no_manifest(folder)) from None
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
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


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"{folder / MANIFEST} is damaged ({what}), so nothing in this folder can be trusted. Restore the file from a "
        "copy, or prepare the store again."
    )


def _parse(fields: Mapping[str, Any]) -> Manifest:
    require_shape(fields, _SHAPE)
    shards = tuple(Shard(**shard) for shard in fields["shards"])
    manifest = Manifest(**{name: fields[name] for name in _SHAPE} | {"shards": shards})
    if manifest.dtype not in _ITEMSIZE:
        raise ValueError(f"dtype {manifest.dtype!r} is neither 'uint16' nor 'uint32'")
    if not shards:
        raise ValueError("it names no shards")
    if unsafe := [name for name in manifest.sums if not _SAFE_NAME.fullmatch(name)]:
        raise ValueError(f"the file name {unsafe[0]!r} could lead out of the folder")
    _check_eos(manifest)
    for what in ("num_tokens", "num_documents"):
        total, counts = getattr(manifest, what), [getattr(shard, what) for shard in shards]
        if min(counts) < 0 or sum(counts) != total:
            raise ValueError(f"{what} is {total}, and the shards' own, from {min(counts)} on, add up to {sum(counts)}")
    return manifest


def _check_eos(manifest: Manifest) -> None:
    eos_id, vocab_size, dtype = manifest.eos_id, manifest.tokenizer["vocab_size"], manifest.dtype
    if not 0 <= eos_id < min(vocab_size, 2 ** (8 * _ITEMSIZE[dtype])):
        raise ValueError(f"eos_id is {eos_id}, and it must be below vocab_size {vocab_size} and fit {dtype}")


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Sizes before any mmap: a shard cut short would read as zeros or crash."""
    for name in manifest.sums:
        _require_plain(folder / name)
    itemsize = _ITEMSIZE[manifest.dtype]
    for shard in manifest.shards:
        path = folder / shard.file
        try:
            nbytes = path.stat().st_size
        except OSError as error:
            raise StoreError(f"shard {path} cannot be read: {error.strerror}. Restore it from a copy.") from error
        if nbytes != shard.num_tokens * itemsize:
            raise StoreError(
                f"shard {path} has {nbytes} bytes, and the manifest says {shard.num_tokens} tokens of {itemsize} "
                f"bytes = {shard.num_tokens * itemsize}: it was cut short or written over. Restore it from a copy, "
                "or prepare the store again."
            )


def read_sources(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """``path`` and ``sha256`` of each input of the store in ``folder``. Raises ``StoreError`` for a damaged list."""
    path, lines = folder / manifest.sources["file"], list[dict[str, Any]]()
    try:
        for line in path.read_bytes().splitlines():
            lines.append(read_json(line, {"path": str, "sha256": str}))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} is no list of sources (line {len(lines) + 1}: {error}). Restore it from a copy, or prepare the "
            "store again."
        ) from error
    return lines


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a manifest says of the tokenizer."""
    name = getattr(tokenizer, "name", type(tokenizer).__name__)
    return {"name": name, "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
