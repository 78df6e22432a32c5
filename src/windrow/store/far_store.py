"""A store that is far away: its tokens by blocks through a cache, its small files here when they are first asked for.

Guarantee: the same tokens, boundaries and origins as of the store on disk; each byte's sum was checked before it is
used. Cost: opening reads the manifest and the sums of blocks; then see ``far.cache``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64, Tokens, cut_at
from windrow.errors import StoreError, whole_number
from windrow.far.cache import Cache, FarBlock
from windrow.far.objects import FarError, Objects
from windrow.store.copying import BLOCK, Sums, fetch_file, parse_sums, sums_name
from windrow.store.line import Line, unread_ends
from windrow.store.manifest import MANIFEST, Manifest, files_of, parse_manifest

__all__ = ["FarFolder", "FarIndex", "FarLine", "far_index", "far_line"]

_LEAST = 4  # blocks
_AT_ONCE = 8  # lists of sums on their way


class FarFolder:
    """The place of a far store: ``folder / name`` is where a file of it lies here, brought when first asked for."""

    def __init__(self, far: Objects, here: Path, sums: dict[str, str]) -> None:
        self._far, self._here, self._sums, self._brought = far, here, sums, set[str]()
        self.name: str = PurePosixPath(far.url).name
        self.parts: tuple[str, ...] = PurePosixPath(far.url).parts

    def __str__(self) -> str:
        return self._far.url

    def __truediv__(self, name: str) -> Path:
        if name not in self._brought:
            fetch_file(self._far, name, self._here / name, self._sums[name], durable=False)
            self._brought.add(name)
        return self._here / name


class FarLine(Line):
    """Tokens of ``dtype`` in the blocks of ``cache`` from number ``first`` on; ``edges`` are where each begins."""

    def __init__(
        self, cache: Cache, first: int, shards: Sequence[int], ends: Sequence[Any], dtype: np.dtype[Any]
    ) -> None:
        super().__init__([], ends, dtype)
        self._cache, self._first, per_block = cache, first, BLOCK // dtype.itemsize
        self.token_edges: Int64 = np.cumsum([0, *shards])
        begins = [np.arange(0, num, per_block) + edge for num, edge in zip(shards, self.token_edges, strict=False)]
        self._edges: Int64 = np.concatenate([*begins, self.token_edges[-1:]])

    def gather(self, starts: Int64, length: int) -> Tokens:
        """The ``length`` tokens from each of ``starts`` (B,) on: (B, length), a fresh array."""
        return self.stretches(starts, np.full(len(starts), length)).reshape(len(starts), length)

    def stretches(self, starts: Int64, lengths: Int64, fill: int = 0) -> Tokens:
        """``lengths[i]`` tokens from ``starts[i]`` on, one stretch after the other; ``fill`` from ``num_tokens`` on."""
        _, blocks, begins, stops = cut_at(self._edges, starts, starts + lengths)
        there = blocks < len(self._edges) - 1
        item, blocks = self.dtype.itemsize, blocks + self._first
        held = self._cache.read(blocks[there], begins[there] * item, stops[there] * item)
        tokens: Tokens = np.frombuffer(held, self.dtype)
        if there.all():
            return tokens
        out = np.full(int(lengths.sum()), fill, dtype=self.dtype)
        out[np.repeat(there, stops - begins)] = tokens
        return out

    def will_need(self, starts: Int64, lengths: Int64) -> None:
        """Nothing: what comes is fetched by who knows the order."""

    def blocks(self, starts: Int64, lengths: Int64) -> tuple[Cache, Int64] | None:
        """The cache, and the blocks of stretches and of their counts, in the order in which they are first needed."""
        found = cut_at(self._edges, starts, starts + lengths)[1]
        found = found[found < len(self._edges) - 1] + self._first
        if isinstance(self.counts, FarLine) and (counts := self.counts.blocks(starts, lengths)):
            found = np.append(found, counts[1])
        return self._cache, found[np.sort(np.unique(found, return_index=True)[1])]


class FarIndex(NamedTuple):
    """What opening a far store reads: with it, and a cache that holds what is needed, nothing far away is asked."""

    far: Objects
    manifest: Manifest
    folder: str  # the name of its part of the cache
    sums: list[dict[str, Sums]]  # of the files of each shard
    sources_nbytes: int


def far_index(url: str, options: Mapping[str, Any] | None = None) -> FarIndex:
    """What is at ``url``; ``options`` are those of ``Objects``. Raises ``StoreError`` and ``FarError``."""
    far = Objects(url.rstrip("/"), **(options or {}))
    raw = far.read(MANIFEST)
    manifest = parse_manifest(raw, far.url)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sums = [*pool.map(partial(_sums_of, far, manifest), range(len(manifest.shards)))]
    folder = sha256(far.url.encode() + raw).hexdigest()[:32]
    return FarIndex(far, manifest, folder, sums, far.head(manifest.sources["file"]).nbytes)


def far_line(index: FarIndex, cache: str | Path, cache_bytes: int) -> tuple[FarLine, Any]:
    """The line of a store, and its place. Raises ``StoreError`` for a cache that is too small."""
    far, manifest, name, sums, sources_nbytes = index
    tokens = [one[shard.file] for one, shard in zip(sums, manifest.shards, strict=True)]
    counts = [one[shard.counts] for one, shard in zip(sums, manifest.shards, strict=True) if shard.counts]
    nbytes = sources_nbytes + sum(file.nbytes for one in sums for file in one.values())
    small = nbytes - sum(file.nbytes for file in tokens + counts)
    blocks = [block for file in tokens + counts for block in _blocks_of(file)]
    num_slots = min((whole_number("cache_bytes", cache_bytes) - small) // BLOCK, max(len(blocks), _LEAST))
    if num_slots < _LEAST:
        raise StoreError(
            f"cache_bytes is {cache_bytes:,}, and this store needs {small + _LEAST * BLOCK:,} at least: {small:,} for "
            f"boundaries and origins, and {_LEAST} blocks of {BLOCK:,}."
        )
    folder = Path(cache) / name
    folder.mkdir(parents=True, exist_ok=True)
    place: Any = FarFolder(far, folder, manifest.sums)
    held, sizes = Cache(far, folder, blocks, num_slots, BLOCK), [shard.num_tokens for shard in manifest.shards]
    line = FarLine(held, 0, sizes, unread_ends(place, manifest), np.dtype(manifest.dtype))
    if counts:
        line.counts = FarLine(held, sum(len(file.blocks) for file in tokens), sizes, (), np.dtype(np.uint8))
        line.has_counts = True
    return line, place


def _sums_of(far: Objects, manifest: Manifest, number: int) -> dict[str, Sums]:
    """The sums of the files of a shard, which must be the files that the manifest names."""
    shard, name = manifest.shards[number], sums_name(number)
    try:
        found = {one.file: one for one in parse_sums(far.read(name), f"{far.url}/{name}")}
    except FarError as error:
        raise FarError(f"{error} A store is read from far away with the sums that windrow copy writes.") from None
    sizes = {shard.file: shard.num_tokens * np.dtype(manifest.dtype).itemsize}
    sizes |= {shard.counts: shard.num_tokens} if shard.counts else {}
    wrong = {one.file: one.sha256 for one in found.values()} != files_of(shard)
    if wrong or any(found[file].nbytes != nbytes for file, nbytes in sizes.items()):
        raise StoreError(
            f"{far.url}/{name} speaks of other files than the manifest. Copy the store there again, after removing it."
        )
    return found


def _blocks_of(file: Sums) -> list[FarBlock]:
    starts = range(0, file.nbytes, BLOCK)
    return [
        FarBlock(file.file, at, min(at + BLOCK, file.nbytes), one) for at, one in zip(starts, file.blocks, strict=True)
    ]
