"""What ``windrow check`` looks at: a run; or a store, or token files of other tools, and how it would be read.

Guarantee: opening reads no tokens of a store.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windrow.audit.sizes import RunSizes, loader_of
from windrow.loader.loader import Loader
from windrow.store.opening import open_splits
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["Advice", "Failed", "NotApplicable", "Subject", "open_subject", "subject_of"]


class Failed(Exception):  # noqa: N818 - not an error: what a check finds
    """A check found a fault; the message is the evidence."""


class Advice(Exception):  # noqa: N818
    """A check found what could be better, and is no fault; the message says what, and how."""


class NotApplicable(Exception):  # noqa: N818
    """A check cannot be made here; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A run's loader, the stores by name that it trains on and the others beside them."""

    run: Loader
    train: dict[str, TokenStore]
    others: dict[str, TokenStore]
    tokenizer: Tokenizer

    @property
    def valid(self) -> dict[str, TokenStore]:
        """Of the others those that the run is evaluated on."""
        return {name: store for name, store in self.others.items() if name.split(" ")[0] == "valid"}

    @property
    def whole(self) -> dict[str, TokenStore]:
        """The stores as they lie on disk, each once: a run that cuts one store in two reads the parts of it."""
        found: dict[str | Path, tuple[str, TokenStore]] = {}
        for name, store in {**self.train, **self.others}.items():
            whole = store.reopen() if store.reopen else store
            found[store.path or name] = (name, store if store.num_tokens == whole.num_tokens else whole)
        return dict(found.values())

    def loader(self, batch_size: int | None = None, **kwargs: Any) -> Loader:
        """The loader of the run's recipe from its beginning, by default one rank's and with each sample."""
        names = ("seed", "shuffle", "shuffle_block", "mask_targets")
        recipe: dict[str, Any] = {name: getattr(self.run, name) for name in names}
        one: dict[str, Any] = {"dp_rank": 0, "dp_world_size": 1, "drop_last": False}
        return Loader(self.run.data, batch_size or self.run.batch_size, **recipe, **one | kwargs)


def subject_of(run: Loader, valid: Loader | None, tokenizer: str | None) -> Subject:
    """A run that is open, and what it is evaluated on. Raises ``StoreError`` when no store names its tokenizer."""
    train = {name or "train": member.store for name, member in run.members.items()}
    held_out = {f"valid {name}".strip(): member.store for name, member in valid.members.items()} if valid else {}
    return Subject(run, train, held_out, _tokenizer_of(train, tokenizer))


def open_subject(path: Path, sizes: RunSizes, stores: dict[str, TokenStore] | None, **given: Any) -> Subject:
    """What lies at ``path``, opened as ``given``; or ``stores`` that are open. Raises ``StoreError``."""
    found = stores or open_splits(path, **given)
    (name, first), *others = found.items()
    run = loader_of(first, sizes, dp_rank=0, dp_world_size=1, drop_last=False)
    return Subject(run, {name: first}, dict(others), _tokenizer_of(found, given.get("tokenizer")))


def _tokenizer_of(stores: dict[str, TokenStore], given: str | None) -> Tokenizer:
    return load_tokenizer(given) if given else next(iter(stores.values())).tokenizer
