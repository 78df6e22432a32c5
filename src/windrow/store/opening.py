"""Opening what lies on disk.

Guarantee: what is opened is whole as its manifest says. Cost: a manifest is read; no token is.
"""

from functools import partial
from os import PathLike
from pathlib import Path

from windrow.errors import StoreError, brief
from windrow.store.line import Line
from windrow.store.manifest import MANIFEST, read_manifest
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer

__all__ = ["open_splits", "open_store"]


def open_store(path: str | Path, *, tokenizer: str | Tokenizer | None = None) -> TokenStore:
    """Open a prepared store (``corpus/train``, not ``corpus``). Raises ``StoreError`` when it is not whole.

    ``tokenizer`` is needed only for ``decode``, and only when the store's own cannot be loaded by its name (a file
    that lies elsewhere); its fingerprint must be the store's.
    """
    if not isinstance(path, str | PathLike):
        raise StoreError(f'the path of a store is {brief(path)}. Give its folder: open_store("corpus/train").')
    manifest = read_manifest(folder := Path(path))
    line = Line.mapped(folder, manifest)
    store = TokenStore(line, eos_id=manifest.eos_id, tokenizer=tokenizer, fingerprint=manifest.fingerprint)
    store.path, store.manifest, store.reopen = folder, manifest, partial(open_store, path, tokenizer=tokenizer)
    return store


def open_splits(path: Path) -> dict[str, TokenStore]:
    """The store at ``path`` by the name of its folder, or the stores in it: train first."""
    names = [] if (path / MANIFEST).is_file() else sorted(found.parent.name for found in path.glob(f"*/{MANIFEST}"))
    return {name: open_store(path / name) for name in names} or {path.name: open_store(path)}
