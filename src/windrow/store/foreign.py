"""Token files of other tools as one line: which files, what they say, and what they say together.

Guarantee: files lie in the order of their names, of one format and one dtype; no id is negative. Cost: that of the
formats, and a pass over ids that could be negative, once.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from windrow.arrays import Int64, Tokens, digest
from windrow.errors import StoreError
from windrow.store.formats import FORMATS, recognised
from windrow.store.given import narrow
from windrow.store.line import Line
from windrow.store.shards import map_file
from windrow.store.token_file import TokenFile

__all__ = ["Foreign", "read_foreign", "token_paths"]

_SUFFIXES = (".bin", ".ds", ".npy")
_LOOKED_AT = 256  # documents, for what stands around them


@dataclass(frozen=True)
class Foreign:
    """What is known of the files of other tools that a store lies in; ``format`` is a name of ``FORMATS``."""

    format: str
    files: Sequence[TokenFile]
    line: Line
    eos_id: int | None

    @cached_property
    def boundary(self) -> str:
        """Where eos stands, seen in some documents: "eos" ends any, "bos" begins most, "both" or "none"."""
        num = int(self.line.document_edges[-1])
        documents = np.unique(np.linspace(0, num - 1, min(num, _LOOKED_AT)).astype(np.int64))
        first, last = self.line.document_ends(documents - 1), self.line.document_ends(documents) - 1
        long = last > first
        begun, ended = (self.line.gather(places[long], 1) == self.eos_id for places in (first, last))
        most_begin = bool(begun.sum() * 2 > len(begun))
        return ("both" if most_begin else "eos") if ended.any() else "bos" if most_begin else "none"

    @property
    def bos_id(self) -> int | None:
        """The eos that begins documents, where it does."""
        return self.eos_id if self.boundary in ("bos", "both") else None

    @cached_property
    def sources(self) -> list[str]:
        """The names of the texts that documents came from, where files say so."""
        return [*dict.fromkeys(name for file in self.files for name in file.sources)]

    def origins(self, shard: int) -> Int64:
        """Source, line and two zeros of the documents of a file, (num_documents, 4); of none where it does not say."""
        file, numbers = self.files[shard], {name: number for number, name in enumerate(self.sources)}
        if file.origins is None:
            return np.empty((0, 4), np.int64)
        which = np.array([numbers[name] for name in file.sources])
        return np.column_stack([which[file.origins[:, 0]], file.origins[:, 1:]])

    def fingerprint(self) -> str:
        """sha256 (hex) of tokens, boundaries and counts; a reading of all files, once."""
        content = [file.content() for file in self.files]
        return digest(json.dumps(["tokens", self.line.dtype.str, content]), self.line.token_edges, *self.line.ends)


def token_paths(path: Any, *, asked: bool) -> list[Path]:
    """The token files that ``path`` means: a file, several, a glob or a folder; none where none fits and none is asked.

    Raises ``StoreError`` for a folder that holds both sides of a split.
    """
    if isinstance(path, list | tuple):
        return [*map(Path, path)]
    found, stem = Path(path), str(path).removesuffix(".idx")
    if Path(f"{stem}.idx").is_file():
        return [Path(f"{stem}.bin")]
    if found.is_file():
        return [found] if asked or found.suffix in _SUFFIXES else []
    inside = found.iterdir() if found.is_dir() else map(Path, glob(str(found)))
    paths = sorted(each for each in inside if each.suffix in _SUFFIXES)
    if not asked and not any(fits(each) for each in paths for fits, _ in FORMATS.values()):
        return []
    if found.is_dir() and len({side for each in paths for side in re.findall("train|val", each.name)}) > 1:
        raise StoreError(
            f"{found} holds files of train and of valid, and as one store they would be trained on together. Give "
            f'those of each by a glob: open_store("{found}/*train*").'
        )
    return paths


def read_foreign(paths: Sequence[Path], format: str | None, dtype: str | None, eos_id: int | None) -> Foreign:
    """The files at ``paths`` as one line. Raises ``StoreError`` for those that are damaged, or do not go together."""
    known = (recognised(path, format, dtype, eos_id) for path in paths)
    found = [(name, file, tokens) for name, file in known if len(tokens := file.tokens())]
    if not found:
        raise StoreError(f"{paths[0]} holds no tokens, and there would be nothing to read.")
    kinds = [(name, file.dtype.name, "with a loss" if file.counts else "without a loss") for name, file, _ in found]
    if other := next((kind for kind in kinds if kind != kinds[0]), None):
        raise StoreError(
            f"{len(paths)} files from {paths[0]} on are of two kinds: {', '.join(kinds[0])}; and {', '.join(other)}. "
            "Open those of each kind by themselves; a Mixture joins them."
        )
    files = [file for _, file, _ in found]
    line = _line(files, [narrow(tokens, files[0].eos_id) for *_, tokens in found])
    return Foreign(found[0][0], files, line, files[0].eos_id)


def _line(files: Sequence[TokenFile], tokens: Sequence[Tokens]) -> Line:
    for file in files:
        if file.dtype.kind == "i" and file.highest() >= 2**31:
            raise StoreError(
                f"{file.path} holds the id {file.highest() - 2**32}, and ids are 0 or more. Make it again."
            )
    ends = [file.ends for file in files]
    ends[0] = ends[0][ends[0] > 0]  # an eos that begins the first document ends none
    if not len(ends[-1]) or ends[-1][-1] < len(tokens[-1]):  # and none need end the last
        ends[-1] = np.append(ends[-1], len(tokens[-1]))
    counts = [np.frombuffer(map_file(file.counts), np.uint8) for file in files if file.counts]
    return Line(tokens, ends, tokens[0].dtype.newbyteorder("="), counts)
