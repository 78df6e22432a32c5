"""A file of tokens that another tool wrote: where its tokens lie, and what a look at each of them tells.

Guarantee: tokens are mapped where they lie, and nothing is written beside them. What a pass over a file found is kept
in the user's cache by path, size, time of change, inode and 64 sampled blocks: where these are the same it is not made
again. Cost: a pass is one reading of the file, which says in the log ``windrow`` how far it is.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Tokens
from windrow.store.cache import Arrays, kept
from windrow.store.shards import map_file

__all__ = ["DocumentRows", "TokenFile", "identity"]

_BLOCKS, _BLOCK = 64, 4096  # sampled of a file; bytes of each
_AT_A_TIME, _NEWS = 1 << 24, 1 << 33  # bytes of a reading; from one line in the log to the next
_log = logging.getLogger("windrow")


@dataclass(frozen=True)
class DocumentRows:
    """Where documents came from: ``rows`` (n, 4) are source, line and two zeros; ``sources`` the names."""

    rows: Int64
    sources: Sequence[str]


@dataclass(frozen=True)
class TokenFile:
    """Tokens of ``dtype`` from byte ``offset`` of ``path`` on, and what their format says of them.

    ``ends`` (num_documents,) are where documents end; None where only eos tells, ``begins`` saying that it begins them.
    """

    path: Path
    dtype: np.dtype[Any]
    offset: int = 0
    ends: Int64 | None = None
    counts: Path | None = None
    eos_id: int | None = None
    begins: bool = False
    tokenizer: str | None = None
    origins: DocumentRows | None = None

    @property
    def num_tokens(self) -> int:
        """Those of the file."""
        return (self.path.stat().st_size - self.offset) // self.dtype.itemsize

    def tokens(self) -> Tokens:
        """The tokens, mapped, (num_tokens,) uint16 or uint32."""
        held = map_file(self.path, at_random=True)
        return np.frombuffer(held, f"<u{self.dtype.itemsize}", self.num_tokens, self.offset if held else 0)

    @cached_property
    def highest(self) -> int:
        """The highest id, -1 of no token; a negative one reads as an id from 2**31 on."""
        return int(self._looked_at(-1)["highest"][0])

    def document_ends(self, eos_id: int | None, *, is_last: bool) -> Int64:
        """Where documents end, (n,), by ``eos_id`` if need be: then what is behind the last ends where ``is_last``."""
        if self.ends is not None:
            return self.ends
        places = self._looked_at(-1 if eos_id is None else eos_id)["places"]
        ends: Int64 = places + (not self.begins)
        is_open = is_last and int(ends[-1] if len(ends) else 0) < self.num_tokens
        return np.append(ends, [self.num_tokens] * is_open).astype(np.int64)

    def content_sum(self, *, anew: bool = False) -> str:
        """sha256 (hex) of tokens and counts, as it was when this file was first read whole, or as it is now."""
        made: dict[str, Any] = {"make": self._content, "anew": anew}
        return bytes(kept(f"content-v1-{self._identity}", **made)["sha256"]).hex()

    @cached_property
    def _identity(self) -> str:
        about = [identity(path) for path in (self.path, self.counts) if path]
        return sha256(json.dumps([about, self.dtype.str, self.offset]).encode()).hexdigest()

    def _looked_at(self, eos_id: int) -> Arrays:
        """The highest id, and where ``eos_id`` stands."""

        def look() -> Arrays:
            highest, places, first = -1, [np.empty(0, np.int64)], 0
            for data in _read(self.path, self.offset):
                tokens: NDArray[Any] = np.frombuffer(data, f"<u{self.dtype.itemsize}")
                highest = max(highest, int(tokens.max()))
                places.append(np.flatnonzero(tokens == eos_id) + first if eos_id >= 0 else places[0])
                first += len(tokens)
            return {"highest": np.array([highest]), "places": np.concatenate(places)}

        return kept(f"tokens-v1-{eos_id}-{self._identity}", look)

    def _content(self) -> Arrays:
        content = sha256()
        for path, offset in ((self.path, self.offset), (self.counts, 0)):
            for data in _read(path, offset) if path else ():
                content.update(data)
        return {"sha256": np.frombuffer(content.digest(), np.uint8)}


def identity(path: Path) -> str:
    """What changes when the file at ``path`` does, without reading all of it: sha256 (hex)."""
    about, found = path.stat(), sha256(str(path.absolute()).encode())
    found.update(json.dumps([about.st_size, about.st_mtime_ns, about.st_ino]).encode())
    with open(path, "rb") as file:
        for place in np.linspace(0, max(about.st_size - _BLOCK, 0), _BLOCKS).astype(np.int64).tolist():
            file.seek(place)
            found.update(file.read(_BLOCK))
    return found.hexdigest()


def _read(path: Path, offset: int) -> Iterator[bytes]:
    """All of a file from byte ``offset`` on, some MB at a time."""
    done, news, total = offset, _NEWS, path.stat().st_size
    with open(path, "rb") as file:
        file.seek(offset)
        while data := file.read(_AT_A_TIME):
            yield data
            done += len(data)
            if done >= news:
                _log.info("%s: %.1f of %.1f GB read", path, done / 1e9, total / 1e9)
                news += _NEWS
