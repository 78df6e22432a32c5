"""The shards of a store laid end to end: tokens and document boundaries by their place in that line.

Guarantee: what is returned is exactly what lies at the places asked for, across the edges of shards. Cost: a copy of
what is returned and, in several shards, one sort of the places. Nothing here writes or checks a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from windrow.arrays import Int64, Mask, Tokens, cut_at, grouped, runs
from windrow.store.manifest import Manifest, Shard
from windrow.store.shards import advise, map_documents, map_file

__all__ = ["Line", "unread_ends"]

_LONG = 1 << 16  # tokens: who reads so many at a time goes through the store
_SHORT = 12  # tokens: a stretch of fewer costs less as so many places than as a slice


class Line:
    """``tokens``, ``ends`` and ``counts`` hold an array a shard; the ends of a shard count from its own first token."""

    def __init__(
        self,
        tokens: Sequence[Tokens],
        ends: "Sequence[Int64 | _Unread]",
        dtype: np.dtype[Any],
        counts: Sequence[Tokens] = (),
    ) -> None:
        self.tokens: list[Tokens] = [*map(np.asarray, tokens)]
        self._ends = [*ends]
        self.dtype = dtype
        self.counts: Line | None = Line(counts, (), np.dtype(np.uint8)) if counts else None  # a byte a token, 0 or 1
        self.has_counts: bool = bool(counts)
        self.token_edges: Int64 = np.cumsum([0, *map(len, tokens)])  # (num_shards + 1,) first token of each shard
        self.document_edges: Int64 = np.cumsum([0, *map(len, ends)])  # likewise for documents
        self._views: dict[int, Tokens] = {}  # of every span of a length: made once, costs nothing to keep

    @classmethod
    def mapped(cls, folder: Path, manifest: Manifest) -> Self:
        """The line of the store in ``folder``, its files mapped. Raises ``StoreError`` when they cannot be."""
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
        files = [shard.file for shard in manifest.shards]
        files += [shard.counts for shard in manifest.shards if shard.counts]
        held = [map_file(folder / file, len(files) - n, at_random=True) for n, file in enumerate(files)]
        tokens = [np.frombuffer(mapped, dtype) for mapped in held[: len(manifest.shards)]]
        counts = [np.frombuffer(mapped, np.uint8) for mapped in held[len(manifest.shards) :]]
        return cls(tokens, unread_ends(folder, manifest), np.dtype(manifest.dtype), counts)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "_buffers"}
        return {**kept, "_views": {}}  # pickled, overlapping views would be written out whole

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards."""
        return int(self.token_edges[-1])

    def gather(self, starts: Int64, length: int) -> Tokens:
        """The ``length`` tokens from each of ``starts`` (B,) on: (B, length), a fresh array."""
        if len(self.tokens) > 1 or not 0 < length <= self.num_tokens:
            return self.stretches(starts, np.full(len(starts), length)).reshape(len(starts), length)
        view = self._views.get(length)
        if view is None:
            view = self._views[length] = sliding_window_view(self.tokens[0], length)
        spans: Tokens = view[starts]
        return spans

    def stretches(self, starts: Int64, lengths: Int64, fill: int = 0) -> Tokens:
        """``lengths[i]`` tokens from ``starts[i]`` on, one stretch after the other: (lengths.sum(),), a fresh array.

        From ``num_tokens`` on lies, without end, ``fill``.
        """
        stops, buffers = starts + lengths, self._buffers
        if len(starts) and stops.max() > self.num_tokens:
            most = lengths[starts == self.num_tokens].max()
            buffers = [*buffers, np.full(most, fill, dtype=self.dtype).data]  # as if it were a last shard
        shards, reads_on = np.zeros_like(starts), lengths.max(initial=0) >= _LONG
        if len(buffers) > 1:
            _, shards, starts, stops = cut_at(self.token_edges, starts, stops)
        if not reads_on and lengths.sum() < _SHORT * len(lengths):
            return self._picked(buffers, shards, starts, stops - starts)
        if reads_on:
            self._advise(shards, starts, stops, "MADV_NORMAL")
        parts = zip(shards.tolist(), starts.tolist(), stops.tolist(), strict=True)
        joined = bytearray().join([buffers[shard][start:stop] for shard, start, stop in parts])
        if reads_on:
            self._advise(shards, starts, stops, "MADV_RANDOM")
        return np.frombuffer(joined, dtype=self.dtype)

    def _picked(self, buffers: Sequence[memoryview], shards: Int64, starts: Int64, lengths: Int64) -> Tokens:
        """What ``stretches`` joins, of a few tokens each: a place for each token, and no slice for each stretch."""
        out, begins = np.empty(int(lengths.sum()), dtype=self.dtype), np.cumsum(lengths) - lengths
        for shard, here in grouped(shards):
            tokens, num = np.frombuffer(buffers[shard], self.dtype), lengths[here]
            out[runs(begins[here], num)] = tokens[runs(starts[here], num)]
        return out

    def will_need(self, starts: Int64, lengths: Int64) -> None:
        """Have stretches read from disk, and their counts, all at once; nothing waits for it."""
        parts = cut_at(self.token_edges, starts, starts + lengths)[1:]
        for line in filter(None, (self, self.counts)):
            line._advise(*parts, "MADV_WILLNEED")

    def blocks(self, starts: Int64, lengths: Int64) -> tuple[Any, Int64] | None:
        """Of what is far away the cache, and the blocks of ``stretches`` in it; None for what lies here."""
        return None

    def _advise(self, shards: Int64, starts: Int64, stops: Int64, advice: str) -> None:
        for shard, here in grouped(shards):
            if shard < len(self.tokens):  # and not what lies behind the end
                advise(self.tokens[shard], starts[here], stops[here], advice)

    def counts_at(self, starts: Int64, lengths: Int64) -> Tokens | Mask | None:
        """A byte for each token of ``stretches``, 1 where it counts as a target, or None where there are no counts."""
        return self.counts.stretches(starts, lengths) if self.counts else None

    @cached_property
    def _buffers(self) -> list[memoryview]:
        """The tokens as Python's own slices, which are joined in a third of the time that arrays take."""
        return [np.ascontiguousarray(tokens).data for tokens in self.tokens]

    @property
    def ends(self) -> list[Int64]:
        """Where the documents of each shard end, counted from its start."""
        return [*map(self._ends_of, range(len(self._ends)))]

    def _ends_of(self, shard: int) -> Int64:
        ends = self._ends[shard]
        if isinstance(ends, _Unread):
            ends = self._ends[shard] = map_documents(ends.folder, ends.shard, is_last=ends.is_last)
        return ends

    def document_at(self, places: Int64) -> Int64:
        """The document that holds each token of ``places`` (any shape): same shape."""
        flat = places.reshape(-1)
        out = np.empty(flat.shape, dtype=np.int64)
        for shard, here in grouped(np.searchsorted(self.token_edges, flat, side="right") - 1):
            local = flat[here] - self.token_edges[shard]
            # One past the shard's last document is the first that ends in a later shard: right as it stands.
            out[here] = self.document_edges[shard] + np.searchsorted(self._ends_of(shard), local, side="right")
        return out.reshape(places.shape)

    def document_ends(self, documents: Int64) -> Int64:
        """Where each of ``documents`` (any shape) ends, same shape; document -1 ends at 0."""
        shards, rows = (found.reshape(-1) for found in self.places_in_shards(documents))
        out = np.zeros(shards.shape, dtype=np.int64)
        for shard, here in grouped(shards):
            if shard >= 0:
                out[here] = self._ends_of(shard)[rows[here]] + self.token_edges[shard]
        return out.reshape(documents.shape)

    def places_in_shards(self, documents: Int64) -> tuple[Int64, Int64]:
        """``(shard, row)`` of ``documents`` (any shape): where they stand in a shard's own files."""
        shards = np.searchsorted(self.document_edges, documents, side="right") - 1
        return shards, documents - self.document_edges[shards]

    def documents_in_shard(self, shard: int, rows: Int64) -> Int64:
        """The documents at ``rows`` (n,) of a shard's own files: (n,)."""
        numbers: Int64 = rows + self.document_edges[shard]
        return numbers


def unread_ends(folder: Path, manifest: Manifest) -> "list[_Unread]":
    """The boundaries of each shard of the store in ``folder``, to be read when they are needed."""
    done = accumulate(shard.num_tokens for shard in manifest.shards)
    return [_Unread(folder, s, stop == manifest.num_tokens) for s, stop in zip(manifest.shards, done, strict=True)]


@dataclass(frozen=True)
class _Unread:
    """The boundaries of a shard in ``folder``, which are mapped and looked at when they are first asked for."""

    folder: Path
    shard: Shard
    is_last: bool  # whether the store ends with it

    def __len__(self) -> int:
        return self.shard.num_documents
