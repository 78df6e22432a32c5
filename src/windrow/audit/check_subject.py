"""What ``windrow check`` looks at: a store, or somebody else's raw token file, and the recipe it is read with.

Guarantee: opening reads no tokens of a store; a raw file is scanned once for eos, where its documents end.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from windrow.audit.sizes import RunSizes, loader_of
from windrow.errors import StoreError
from windrow.loader.loader import Loader
from windrow.store.opening import open_splits, open_store
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer
from windrow.windows.windows import Windows

__all__ = ["Advice", "Failed", "NotApplicable", "Subject", "open_subject"]


class Failed(Exception):  # noqa: N818 - not an error: what a check finds
    """A check found a fault; the message is the evidence."""


class Advice(Exception):  # noqa: N818
    """A check found what could be better, and is no fault; the message says what, and how."""


class NotApplicable(Exception):  # noqa: N818
    """A check cannot be made here; the message says why."""


@dataclass(frozen=True)
class Subject:
    """``stores`` by name, the first the one to train on; ``raw`` is the path of a raw file, else None."""

    stores: dict[str, TokenStore]
    tokenizer: Tokenizer
    sizes: RunSizes
    raw: Path | None = None

    @property
    def train(self) -> TokenStore:
        return next(iter(self.stores.values()))

    @property
    def valid(self) -> TokenStore | None:
        return self.stores.get("valid") if len(self.stores) > 1 else None

    @property
    def whole(self) -> dict[str, TokenStore]:
        """The stores as they lie on disk, each once: a run that cuts one store in two reads the parts of it."""
        found: dict[str, TokenStore] = {}
        for name, store in self.stores.items():
            is_part = store.manifest is not None and store.num_tokens != store.manifest.num_tokens
            found |= {store.path.name: open_store(store.path)} if is_part and store.path else {name: store}
        return found

    @property
    def windows(self) -> Windows:
        sizes = self.sizes
        return Windows(self.train, sizes.max_length, sizes.resolved_stride, documents=sizes.documents)

    def loader(self, batch_size: int | None = None, **kwargs: Any) -> Loader:
        """The loader of the recipe, from its beginning."""
        one: dict[str, Any] = {"dp_rank": 0, "dp_world_size": 1, "drop_last": False}
        sizes = replace(self.sizes, batch_size=batch_size or self.sizes.batch_size)
        return loader_of(self.train, sizes, **one | kwargs)


def open_subject(path: Path, sizes: RunSizes, tokenizer: str | None, stores: dict[str, TokenStore] | None) -> Subject:
    """What lies at ``path``, a store, several or a raw file; or ``stores`` that are open. Raises ``StoreError``."""
    if stores is None and path.is_file():
        if tokenizer is None:
            raise StoreError(f"{path} is a raw file: it does not say what its ids mean. Give --tokenizer, say gpt2.")
        loaded = load_tokenizer(tokenizer)
        return Subject({path.name: _raw_store(path, loaded)}, loaded, sizes, path)
    stores = stores or open_splits(path)
    return Subject(stores, load_tokenizer(tokenizer) if tokenizer else next(iter(stores.values())).tokenizer, sizes)


def _raw_store(path: Path, tokenizer: Tokenizer) -> TokenStore:
    if path.stat().st_size < 4:
        raise StoreError(f"{path} has {path.stat().st_size} bytes, and two uint16 tokens are 4. Give a token file.")
    ids = np.memmap(path, dtype="<u2", mode="r", shape=(path.stat().st_size // 2,))
    ends = np.union1d(np.flatnonzero(ids == tokenizer.eos_id) + 1, len(ids))
    return TokenStore.from_ids(ids, tokenizer=tokenizer, document_ends=ends)
