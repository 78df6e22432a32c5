"""A file of tokens that another tool wrote, and what a pass over all of it finds.

Guarantee: tokens are mapped where they lie, and nothing is written beside them. What a pass found is kept in the user's
cache by path, size, time of change, inode and 64 sampled blocks: while these are the same it is not made again. Cost: a
pass is one reading of the file; the log ``windrow`` says how far it is.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from windrow.arrays import Int64, Tokens
from windrow.store.cache import Arrays, kept
from windrow.store.shards import map_file

__all__ = ["TokenFile", "kept_of", "look"]

_BLOCKS, _BLOCK = 64, 4096  # sampled of a file; bytes of each
_AT_A_TIME, _NEWS = 1 << 24, 1 << 33  # bytes of a reading; from one line of the log to the next


@dataclass(frozen=True)
class TokenFile:
    """Tokens of ``dtype`` from byte ``offset`` of ``path`` on; ``ends`` (num_documents,) are where documents end.

    ``origins`` (num_documents, 4), where the file says so, are the number of its source, its line and two zeros.
    """

    path: Path
    dtype: np.dtype[Any]
    ends: Int64
    offset: int = 0
    counts: Path | None = None
    eos_id: int | None = None
    tokenizer: str | None = None
    origins: Int64 | None = None
    sources: Sequence[str] = ()

    def tokens(self) -> Tokens:
        """The tokens, mapped, (num_tokens,) uint16 or uint32."""
        return np.frombuffer(map_file(self.path, at_random=True), f"<u{self.dtype.itemsize}", -1, self.offset)

    def highest(self) -> int:
        """The highest id; a negative one reads as one from 2**31 on."""
        return int(look(self.path, self.dtype, self.offset)["highest"][0])

    def content(self, *, anew: bool = False) -> str:
        """sha256 (hex) of tokens and counts, as they were when they were first read whole, or as they are now."""
        parts: list[Any] = [(self.path, self.dtype, self.offset), (self.counts, np.dtype(np.uint8), 0)]
        return "".join(bytes(look(path, *how, anew=anew)["sum"]).hex() for path, *how in parts if path)


def look(path: Path, dtype: np.dtype[Any], offset: int, eos_id: int | None = None, *, anew: bool = False) -> Arrays:
    """One pass: ``places``, where ``eos_id`` stands (n,); without one ``highest``, an id, and ``sum``, the sha256."""

    def make() -> Arrays:
        highest, places, first, content = 0, [np.empty(0, np.int64)], 0, sha256()
        for data in _read(path, offset):
            tokens: Tokens = np.frombuffer(data, f"<u{dtype.itemsize}")
            if eos_id is None:
                content.update(data)
                highest = max(highest, int(tokens.max()))
            else:
                places.append(np.flatnonzero(tokens == eos_id) + first)
            first += len(tokens)
        found = {"highest": np.array([highest]), "sum": np.frombuffer(content.digest(), np.uint8)}
        return found if eos_id is None else {"places": np.concatenate(places)}

    return kept_of(f"tokens-v1-{dtype.str[1:]}-{offset}-{eos_id}", path, make, anew=anew)


def kept_of(what: str, path: Path, make: Callable[[], Arrays], *, anew: bool = False) -> Arrays:
    """What ``make`` makes of the file ``path``, kept while it is the same."""
    about = path.stat()
    name = sha256(json.dumps([str(path.absolute()), about.st_size, about.st_mtime_ns, about.st_ino]).encode())
    with open(path, "rb") as file:
        for place in range(0, about.st_size, -(-about.st_size // _BLOCKS) or 1):
            file.seek(place)
            name.update(file.read(_BLOCK))
    return kept(f"{what}-{name.hexdigest()}", make, anew=anew)


def _read(path: Path, offset: int) -> Iterator[bytes]:
    """All of a file from byte ``offset`` on, some MB at a time."""
    news, total = _NEWS, path.stat().st_size
    with open(path, "rb") as file:
        file.seek(offset)
        while data := file.read(_AT_A_TIME):
            yield data
            if file.tell() >= news:
                logging.getLogger("windrow").info("%s: %.0f of %.0f GB read", path, news / 1e9, total / 1e9)
                news += _NEWS
