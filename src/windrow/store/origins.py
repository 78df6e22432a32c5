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
    """``source`` as it was given, the ``line`` (or row) its document begins at, from 1, and its bytes there."""

    source: str
    line: int
    first_byte: int
    stop_byte: int

    def __str__(self) -> str:
        where = f":{self.line}" if self.line else ""
        return f"{self.source}{where} (bytes {self.first_byte:,} to {self.stop_byte:,})"


class Origins:
    """The origins of the documents of ``store``; a store in memory, or one of other tools, has none."""

    def __init__(self, store: TokenStore) -> None:
        self._store, self._folder = store, store.path or Path()
        self._shards = store.manifest.shards if store.manifest else ()
        self._mapped: dict[int, Int64] = {}

    def of(self, documents: list[int]) -> dict[int, Origin]:
        """The origin of each of ``documents`` that has one."""
        if (manifest := self._store.manifest) is None:
            return {}
        found, places = {}, self._store.places_in_shards(np.array(documents))
        for document, shard, row in zip(documents, *map(np.ndarray.tolist, places), strict=True):
            rows = self._rows(shard) if shard < len(self._shards) else ()
            if row < len(rows):  # a split's last document ends in the other side
                found[document] = rows[row].tolist()
        sources = read_sources(self._folder, manifest, (source for source, *_ in found.values()))
        names = {number: line["path"] for number, line in sources.items()}
        return {d: Origin(names.get(source, f"source {source}"), *place) for d, (source, *place) in found.items()}

    def documents_at(self, source: str, line: int) -> list[int]:
        """The documents that lie at ``line`` of the source named ``source``: its path as given, or the end of it.

        Of a file with a document a line, that line; of other files the document that the line is in. Raises
        ``WindrowError`` when there is no such source, or no such document here.
        """
        number, name = self._numbered(source)
        exact = any(suffix in name.lower() for suffix in _LINE_BY_LINE)
        found: list[int] = []
        for shard in range(len(self._shards)):
            rows = np.array(_at(self._rows(shard), number, line, exact=exact), dtype=np.int64)
            found += self._store.documents_in_shard(shard, rows).tolist()
        if not found:
            raise WindrowError(
                f"no document of this store comes from line {line} of {name}: it may be empty, left out as a "
                "duplicate, on the other side of the split (train, valid), or not chosen."
            )
        return found

    # -- files -----------------------------------------------------------------------------------------------------

    def _rows(self, shard: int) -> Int64:
        if shard not in self._mapped:
            self._mapped[shard] = map_origins(self._folder, self._shards[shard])
        return self._mapped[shard]

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
