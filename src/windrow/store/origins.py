"""Where the documents of a store came from: source, line, first and last byte.

Guarantee: what ``prepare`` wrote beside the tokens, read as it is needed; files that are damaged or missing raise
``StoreError``, never a wrong answer. Cost: a look-up maps a shard's file and reads the lines of ``sources.jsonl`` up to
the one it needs; a search is binary. It does not do: opening the sources themselves.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.errors import StoreError, WindrowError
from windrow.store.manifest import Manifest
from windrow.store.store import TokenStore

__all__ = ["Origin", "Origins"]

Int64 = NDArray[np.int64]
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
        self._store, self._rows = store, dict[int, Int64]()

    def of(self, documents: list[int]) -> dict[int, Origin]:
        """The origin of each of ``documents`` that has one."""
        manifest = self._store.manifest
        if manifest is None or not documents or not all(shard.origins for shard in manifest.shards):
            return {}
        found, shards = {}, self._store.places_in_shards(np.array(documents))
        for document, shard, row in zip(documents, *map(np.ndarray.tolist, shards), strict=True):
            rows = self._shard(manifest, shard) if shard < len(manifest.shards) else ()
            if row < len(rows):  # a split's last document ends in the other side
                source, line, first, stop = (int(number) for number in rows[row])
                found[document] = Origin(self._source(source), line, first, stop)
        return found

    def documents_at(self, source: str, line: int) -> list[int]:
        """The documents that lie at ``line`` of the source named ``source``: its path as given, or the end of it.

        Of a file with a document a line, that line; of other files the document that the line is in. Raises
        ``WindrowError`` when there is no such source, or no such document here.
        """
        number, name = self._numbered(source)
        manifest = self._store.manifest
        assert manifest is not None
        found: list[int] = []
        for shard in range(len(manifest.shards)):
            rows, numbers = self._shard(manifest, shard), self._store.documents_of_shard(shard)
            found += [numbers[row] for row in _at(rows, number, line, exact=_is_line_by_line(name))]
        found = [document for document in found if 0 <= document < self._store.num_documents]
        if not found:
            raise WindrowError(
                f"no document of this store comes from line {line} of {name}: it may be empty, left out as a "
                "duplicate, or on the other side of the split (train, valid)."
            )
        return found

    # -- files -----------------------------------------------------------------------------------------------------

    def _shard(self, manifest: Manifest, number: int) -> Int64:
        if number not in self._rows:
            shard = manifest.shards[number]
            assert self._store.path is not None
            path = self._store.path / shard.origins
            try:
                rows: Int64 = np.load(path, mmap_mode="r" if shard.num_documents else None, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise StoreError(f"{path} is no origins file ({error}). Prepare the store again.") from error
            if rows.shape != (shard.num_documents, 4) or rows.dtype != np.int64:
                raise StoreError(f"{path} holds {rows.shape} {rows.dtype}, not ({shard.num_documents}, 4) int64.")
            self._rows[number] = rows
        return self._rows[number]

    def _source(self, number: int) -> str:
        names = self.__dict__.setdefault("_names", {})
        if number not in names:
            names[number] = next(islice(self._listing(), number, None), f"source {number}")
        return str(names[number])

    def _listing(self) -> Iterator[str]:
        assert self._store.path is not None
        assert self._store.manifest is not None
        path = self._store.path / str(self._store.manifest.sources["file"])
        try:
            with open(path, encoding="utf-8") as file:
                for text in file:
                    yield str(json.loads(text)["path"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is no list of sources ({error}). Prepare the store again.") from error

    @cached_property
    def _all(self) -> list[str]:
        return list(self._listing()) if self._store.manifest else []

    def _numbered(self, wanted: str) -> tuple[int, str]:
        named = [(n, name) for n, name in enumerate(self._all) if name == wanted]
        named = named or [(n, name) for n, name in enumerate(self._all) if name.endswith(f"/{wanted}")]
        if len(named) == 1:
            return named[0]
        if not named:
            raise WindrowError(f"no source of this store is named {wanted}. It has {len(self._all)}: {self._all[:3]}.")
        raise WindrowError(f"{len(named)} sources end in {wanted}, {named[0][1]} and {named[1][1]}: give more of it.")


def _is_line_by_line(name: str) -> bool:
    return any(suffix in name.lower() for suffix in _LINE_BY_LINE)


def _at(rows: Any, source: int, line: int, *, exact: bool) -> range:
    """The rows of the document at ``line``: rows are sorted by source and line."""

    def key(row: int) -> tuple[int, int]:
        return int(rows[row, 0]), int(rows[row, 1])

    every = range(len(rows))
    after = bisect_right(every, (source, line), key=key)
    if not after or key(after - 1)[0] != source or (exact and key(after - 1)[1] != line):
        return range(0)
    return range(bisect_left(every, key(after - 1), key=key), after)
