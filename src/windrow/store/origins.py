"""Where the documents of a store came from: source, line, first and last byte.

Guarantee: what ``prepare`` wrote beside the tokens, read as it is needed; files that are damaged or missing raise
``StoreError``, never a wrong answer. Cost: a look-up maps a shard's file, and the first reads ``sources.jsonl``, of
which the lines that are named are parsed; a search is binary. It does not do: opening the sources themselves.
"""

from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple

import numpy as np

from windrow.arrays import Int64
from windrow.errors import WindrowError
from windrow.store.manifest import read_sources
from windrow.store.shards import map_origins
from windrow.store.store import TokenStore

__all__ = ["Origin", "Origins"]

_LINE_BY_LINE = (".jsonl", ".ndjson", ".parquet", ".arrow", ".csv", ".tsv")


class Origin(NamedTuple):
    """``source`` as it was given, the ``line`` (or row) its document begins at, from 1, and its bytes, if known."""

    source: str
    line: int
    first_byte: int
    stop_byte: int

    def __str__(self) -> str:
        where = f":{self.line}" if self.line else ""
        held = f" (bytes {self.first_byte:,} to {self.stop_byte:,})" if self.stop_byte else ""
        return f"{self.source}{where}{held}"


class Origins:
    """The origins of the documents of ``store``; a store in memory, or one of other tools, has none."""

    def __init__(self, store: TokenStore) -> None:
        self._store, self._folder = store, store.path or Path()
        self._shards = store.manifest.shards if store.manifest else ()
        self._num_shards = len(store.foreign.files if store.foreign else self._shards)
        self._mapped: dict[int, Int64] = {}

    def of(self, documents: list[int]) -> dict[int, Origin]:
        """The origin of each of ``documents`` that has one."""
        found, places = {}, self._store.places_in_shards(np.array(documents))
        for document, shard, row in zip(documents, *map(np.ndarray.tolist, places), strict=True):
            rows = self._rows(shard) if shard < self._num_shards else ()
            if row < len(rows):  # a split's last document ends in the other side
                found[document] = rows[row].tolist()
        names = self._names({source for source, *_ in found.values()})
        return {d: Origin(names.get(source, f"source {source}"), *place) for d, (source, *place) in found.items()}

    def documents_at(self, source: str, line: int) -> list[int]:
        """The documents that lie at ``line`` of the source named ``source``: its path as given, or the end of it.

        Of a file with a document a line, that line; of other files the document that the line is in. Raises
        ``WindrowError`` when there is no such source, or no such document here.
        """
        number, name = self._numbered(source)
        exact = any(suffix in name.lower() for suffix in _LINE_BY_LINE)
        found: list[int] = []
        for shard in range(self._num_shards):
            rows = self._rows(shard)
            if self._store.foreign:  # in any order
                here = np.flatnonzero((rows[:, :2] == (number, line)).all(axis=1))
            else:
                here = np.array(_at(rows, number, line, exact=exact), dtype=np.int64)
            found += self._store.documents_in_shard(shard, here).tolist()
        if not found:
            raise WindrowError(
                f"no document of this store comes from line {line} of {name}: it may be empty, left out as a "
                "duplicate, on the other side of the split (train, valid), or not chosen."
            )
        return found

    # -- files -----------------------------------------------------------------------------------------------------

    def _rows(self, shard: int) -> Int64:
        if shard not in self._mapped:
            foreign = self._store.foreign
            rows = foreign.origins(shard) if foreign else map_origins(self._folder, self._shards[shard])
            self._mapped[shard] = rows
        return self._mapped[shard]

    def _names(self, numbers: set[int]) -> dict[int, str]:
        if (manifest := self._store.manifest) is None:
            return dict(enumerate(self._store.sources))
        return {number: line["path"] for number, line in read_sources(self._folder, manifest, numbers).items()}

    def _numbered(self, wanted: str) -> tuple[int, str]:
        names = self._store.sources
        named = [(n, name) for n, name in enumerate(names) if name == wanted]
        named = named or [(n, name) for n, name in enumerate(names) if name.endswith(f"/{wanted}")]
        if len(named) == 1:
            return named[0]
        if not named:
            known = ", ".join([*names[:3], *["..."] * (len(names) > 3)])
            raise WindrowError(f"no source of this store is named {wanted}. It has {len(names)}: {known}.")
        raise WindrowError(f"{len(named)} sources end in {wanted}, {named[0][1]} and {named[1][1]}: give more of it.")


def _at(rows: Int64, source: int, line: int, *, exact: bool) -> range:
    """The rows of the document at ``line``: rows are sorted by source and line."""

    def key(row: int) -> tuple[int, int]:
        return int(rows[row, 0]), int(rows[row, 1])

    every = range(len(rows))
    after = bisect_right(every, (source, line), key=key)
    if not after or key(after - 1)[0] != source or (exact and key(after - 1)[1] != line):
        return range(0)
    return range(bisect_left(every, key(after - 1), key=key), after)
