"""Opening what lies on disk: a prepared store, or token files of other tools, mapped where they lie.

Guarantee: what is opened is whole as its manifest, or its format, says. Cost: a manifest or an index is read; tokens
only where nothing else says where documents end, once.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from windrow.errors import StoreError, brief, whole_number
from windrow.far.objects import far_url
from windrow.store.far_store import FarIndex, far_index, far_line
from windrow.store.foreign import read_foreign, token_paths
from windrow.store.line import Line
from windrow.store.manifest import MANIFEST, read_manifest
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["open_splits", "open_store"]


def open_store(
    path: str | Path | Sequence[str | Path],
    *,
    tokenizer: str | Tokenizer | None = None,
    format: str | None = None,
    dtype: str | None = None,
    eos_id: int | None = None,
    cache: str | Path | None = None,
    cache_bytes: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> TokenStore:
    """Open a prepared store (``corpus/train``, not ``corpus``), or token files of other tools: docs/formats.md.

    Args:
        path: A folder; or files, a glob or a folder of files, which make one store in the order of their names, mapped
            as uint16 or uint32. Or the URL of a prepared store (s3://, gs://, az://, file://).
        tokenizer: Needed only for ``decode``. A prepared store knows its own; give one only if it cannot be loaded by
            its name (its file is elsewhere). Its fingerprint must be the store's.
        format: For files that fit several formats: "megatron", "llmc", "datatrove", "olmo" or "nanogpt" (no header).
        dtype: For files that do not say it: "uint16", "uint32" or "int32".
        eos_id: For files that do not say it, the id that ends (in llm.c's files: begins) documents; by default the
            tokenizer's.
        cache: For a URL, the folder on this machine through which blocks of the store are read: docs/far.md.
        cache_bytes: Limit for this store's part of the folder: at least four blocks of 16 MiB and the boundaries.
        options: For a URL, what its client is told beside the environment (endpoint, access_key_id), and "patience",
            the seconds that a server may be away for, 60. A pickle or run file has none: it needs the environment.

    Raises ``StoreError`` for a store that is incomplete or not what it says, ``FarError`` if it cannot be reached.
    """
    if not isinstance(path, str | PathLike | list | tuple) or path in ([], ()):
        raise StoreError(f'the path of a store is {brief(path)}. Give its folder: open_store("corpus/train").')
    if url := far_url(path):
        if cache is None or cache_bytes is None:
            raise StoreError(
                f"{url} is far away, and is read through a cache. Give a folder for it and the most it may take, in "
                'bytes: cache="cache" and cache_bytes=64000000000.'
            )
        return _far(url, tokenizer=tokenizer, cache=cache, cache_bytes=cache_bytes, index=far_index(url, options))
    place, asked = Path(path[0] if isinstance(path, list | tuple) else path), (format, dtype, eos_id)
    if (is_prepared := (place / MANIFEST).is_file()) and isinstance(path, list | tuple) and len(path) > 1:
        raise StoreError(f"{place} is a prepared store, and those are opened one at a time. Make a Mixture of them.")
    if is_prepared and any(each is not None for each in asked):
        raise StoreError(f"{place} is a prepared store, which says it all. Leave format, dtype and eos_id out.")
    paths = [] if is_prepared else token_paths(path, asked=any(each is not None for each in asked))
    given: dict[str, Any] = {"tokenizer": tokenizer, "format": format, "dtype": dtype, "eos_id": eos_id}
    store = _of_files(paths, **given) if paths else _prepared(place, tokenizer)
    whole = [Path(each).absolute() for each in path] if isinstance(path, list | tuple) else Path(path).absolute()
    store.path, store.reopen = place, partial(open_store, whole, **given)
    return store


def _prepared(folder: Path, tokenizer: str | Tokenizer | None) -> TokenStore:
    manifest = read_manifest(folder)
    line = Line.mapped(folder, manifest)
    store = TokenStore(line, eos_id=manifest.eos_id, tokenizer=tokenizer, fingerprint=manifest.fingerprint)
    store.manifest = manifest
    return store


def _far(url: str, *, tokenizer: str | Tokenizer | None, index: FarIndex, **room: Any) -> TokenStore:
    """The store of ``index``, read through a cache with ``room``."""
    line, place = far_line(index, **room)
    manifest = index.manifest
    store = TokenStore(line, eos_id=manifest.eos_id, tokenizer=tokenizer, fingerprint=manifest.fingerprint)
    store.manifest, store.path = manifest, place
    store.reopen = partial(_far, url, tokenizer=tokenizer, index=index, **room)
    return store


def _of_files(paths: Sequence[Path], *, tokenizer: Any, eos_id: int | None, **kind: Any) -> TokenStore:
    if eos_id is None and tokenizer is not None:
        eos_id = load_tokenizer(tokenizer).eos_id
    eos_id = eos_id if eos_id is None else whole_number("eos_id", eos_id, at_least=0)
    foreign = read_foreign(paths, eos_id=eos_id, **kind)
    known = tokenizer or ("gpt2" if foreign.files[0].tokenizer == "gpt2" else None)
    store = TokenStore(foreign.line, eos_id=foreign.eos_id, tokenizer=known, fingerprint=foreign.fingerprint)
    store.foreign = foreign
    return store


def open_splits(path: Path, **given: Any) -> dict[str, TokenStore]:
    """The store at ``path`` by the name of its folder, or the stores in it: train first. ``given`` is as above."""
    names = [] if (path / MANIFEST).is_file() else sorted(found.parent.name for found in path.glob(f"*/{MANIFEST}"))
    return {name: open_store(path / name, **given) for name in names} or {path.name: open_store(path, **given)}
