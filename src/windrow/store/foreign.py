"""Token files of other tools as one line: which files, what they say, and what they say together.

Guarantee: files lie in the order of their names, and all have one dtype; no id is negative. Cost: that of the formats,
and one pass over tokens, once, where only eos says where documents end, or where ids could be negative.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from windrow.arrays import Int64, digest
from windrow.errors import StoreError, whole_number
from windrow.store.formats import FORMATS, Asked, recognised, require_file
from windrow.store.given import narrow
from windrow.store.line import Line
from windrow.store.shards import map_file
from windrow.store.token_file import TokenFile

__all__ = ["Foreign", "read_foreign", "token_paths"]

_SUFFIXES = (".bin", ".ds", ".npy")
_SIDES = {"val": "valid", "valid": "valid", "validation": "valid", "test": "valid", "train": "train"}
_LOOKED_AT = 256  # documents, for what stands around them


@dataclass(frozen=True)
class Foreign:
    """What is known of the files of other tools that a store lies in; ``format`` is a name of ``FORMATS``."""

    format: str
    files: tuple[TokenFile, ...]
    line: Line
    eos_id: int | None

    @property
    def tokenizer(self) -> str | None:
        """The name that the format or a file gives it."""
        return self.files[0].tokenizer

    @cached_property
    def sources(self) -> list[str]:
        """The names of the texts that the documents came from, where a file says so."""
        return [*dict.fromkeys(name for file in self.files if file.origins for name in file.origins.sources)]

    def origins(self, shard: int) -> Int64:
        """Source, line and two zeros of the documents of a file, (n, 4); of none where it does not say."""
        found = self.files[shard].origins
        if found is None:
            return np.empty((0, 4), np.int64)
        rows, numbers = found.rows.copy(), {name: number for number, name in enumerate(self.sources)}
        rows[:, 0] = np.array([numbers[name] for name in found.sources])[rows[:, 0]]
        return rows

    @cached_property
    def highest(self) -> int:
        """The highest id; one pass over the tokens, once."""
        return max(file.highest for file in self.files)

    @cached_property
    def boundary(self) -> str:
        """Where eos stands, seen in some documents: "eos" ends any, "bos" begins most, "both" or "none"."""
        num = int(self.line.document_edges[-1])
        documents = np.unique(np.linspace(0, num - 1, min(num, _LOOKED_AT)).astype(np.int64))
        first, last = self.line.document_ends(documents - 1), self.line.document_ends(documents) - 1
        long = last > first
        begun, ended = (self.line.gather(places[long], 1) == self.eos_id for places in (first, last))
        found = bool(begun.sum() * 2 > len(begun)), bool(ended.any())
        return {(False, True): "eos", (True, False): "bos", (True, True): "both"}.get(found, "none")

    @property
    def bos_id(self) -> int | None:
        """The eos that begins documents, where it does."""
        return self.eos_id if self.boundary in ("bos", "both") else None

    def fingerprint(self) -> str:
        """sha256 (hex) of tokens, boundaries and counts; a reading of all files, once."""
        sums = [[file.num_tokens, file.content_sum()] for file in self.files]
        return digest(json.dumps(["tokens", self.line.dtype.str, sums]), *self.line.ends)


def token_paths(path: Any, asked: Asked) -> list[Path] | None:
    """The token files that ``path`` means: a file, several, a glob or a folder; None where there are none.

    Raises ``StoreError`` for a folder whose files are of both sides of a split.
    """
    if not isinstance(path, str | PathLike):
        return [require_file(Path(each)) for each in path]
    found, name = Path(path), str(path)
    if found.is_dir():
        paths = sorted(each for each in found.iterdir() if each.suffix in _SUFFIXES and each.is_file())
        is_known = any(asked) or any(each.fits(one) for one in paths for each in FORMATS.values())
        return _of_one_side(found, paths) if paths and is_known else None
    if found.is_file():
        is_known = any(asked) or found.suffix in (*_SUFFIXES, ".idx")
        return [found] if is_known or any(each.fits(found) for each in FORMATS.values()) else None
    if Path(f"{name}.idx").is_file():
        return [Path(f"{name}.bin")]
    paths = sorted(Path(each) for each in glob(name) if each.endswith(_SUFFIXES) or any(asked))
    return [require_file(each) for each in paths] or None


def _of_one_side(folder: Path, paths: list[Path]) -> list[Path]:
    sides = {_SIDES[word] for path in paths for word in re.split(r"[^a-z]+", path.name.lower()) if word in _SIDES}
    if len(sides) > 1:
        raise StoreError(
            f"{folder} holds files of train and of valid, and as one store they would be trained on together. Give "
            f'the files of each by a glob: open_store("{folder}/*train*").'
        )
    return paths


def read_foreign(paths: Sequence[Path], asked: Asked) -> Foreign:
    """The files at ``paths`` as one line. Raises ``StoreError`` for those that are damaged, or do not go together."""
    found = [recognised(require_file(path), asked) for path in paths]
    files = tuple(file for _, file in found if file.num_tokens)
    if not files:
        raise StoreError(f"{paths[0]} holds no tokens, and there would be nothing to read.")
    _require_one("formats", [name for name, _ in found], paths)
    _require_one("dtypes", [file.dtype.name for file in files], paths)
    _require_one("losses (a .loss beside some)", [file.counts is not None for file in files], paths)
    eos_id = files[0].eos_id if asked.eos_id is None else whole_number("eos_id", asked.eos_id, at_least=0)
    return Foreign(found[0][0], files, _line(files, eos_id), eos_id)


def _require_one(what: str, values: Sequence[Any], paths: Sequence[Path]) -> None:
    other = next((number for number, value in enumerate(values) if value != values[0]), None)
    if other is not None:
        raise StoreError(
            f"{len(paths)} files from {paths[0]} on are of several {what}: {values[0]} and {values[other]}, and a "
            "store has one. Open those of each by themselves; a Mixture joins them."
        )


def _line(files: Sequence[TokenFile], eos_id: int | None) -> Line:
    for file in files:
        if file.dtype.kind == "i" and file.highest >= 2**31:
            raise StoreError(f"{file.path} holds the id {file.highest - 2**32}, and ids are 0 or more. Make it again.")
    tokens = [narrow(file.tokens(), eos_id) for file in files]
    ends = [file.document_ends(eos_id, is_last=file is files[-1]) for file in files]
    ends[0] = ends[0][ends[0] > 0]  # an eos that begins the first document ends none
    counts = [np.frombuffer(map_file(file.counts), np.uint8) for file in files if file.counts]
    return Line(tokens, ends, tokens[0].dtype.newbyteorder("="), counts)
