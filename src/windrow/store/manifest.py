"""The manifest of a store: what it says, read and checked.

Guarantee: a folder is a store exactly when its ``manifest.json`` is there and true of the sizes of the files that it
names; the manifest is written last, in one rename. Names in it cannot leave the folder. Nothing here knows tokens.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from windrow.errors import StoreError
from windrow.tokens.protocol import Tokenizer

__all__ = ["FORMAT", "FORMAT_VERSION", "MANIFEST", "Manifest", "Shard", "describe", "read_manifest"]

FORMAT = "windrow-store"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
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

    def to_json(self) -> str:
        fields = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


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
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    _check_files(folder, manifest)
    return manifest


def _load(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(_no_manifest(folder)) from None
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(fields, dict):
        raise _damaged(folder, f"a {type(fields).__name__} where an object belongs")
    return fields


def _no_manifest(folder: Path) -> str:
    if not folder.is_dir():
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
    shards = tuple(Shard(**shard) for shard in fields["shards"])
    values = {name: fields[name] for name in Manifest.__dataclass_fields__ if name != "shards"}
    manifest = Manifest(shards=shards, **values)
    if manifest.dtype not in ("uint16", "uint32"):
        raise ValueError(f"dtype {manifest.dtype!r} is neither 'uint16' nor 'uint32'")
    for shard in shards:
        _check_shard(shard)
    for what in ("num_tokens", "num_documents"):
        total = sum(getattr(shard, what) for shard in shards)
        if total != getattr(manifest, what):
            raise ValueError(f"{what} is {getattr(manifest, what)}, and the shards' own add up to {total}")
    if not isinstance(manifest.tokenizer["name"], str) or not isinstance(manifest.eos_id, int):
        raise ValueError("tokenizer.name is no string or eos_id no integer")
    return manifest


def _check_shard(shard: Shard) -> None:
    for name in (shard.file, shard.documents, shard.origins):
        if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name):
            raise ValueError(f"the file name {name!r} could lead out of the folder")
    for count in (shard.num_tokens, shard.num_documents):
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"a count of {count!r} in shard {shard.file}")


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Sizes before any mmap: a shard cut short would read as zeros or crash."""
    itemsize = 2 if manifest.dtype == "uint16" else 4
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


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a manifest says of the tokenizer."""
    name = getattr(tokenizer, "name", type(tokenizer).__name__)
    return {"name": name, "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
