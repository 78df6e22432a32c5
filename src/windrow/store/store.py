"""An immutable sequence of tokens with document boundaries, in memory or memory-mapped from disk.

Guarantee: ``gather`` returns exactly the tokens at the places asked for, across shard edges, in the store's own
dtype; nothing here writes. Cost: opening reads the manifest only; a gather copies the bytes it returns. Knows no
windows, no order and no shuffling.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from windrow.arrays import Int64, Mask, Tokens, digest, whole_numbers
from windrow.errors import StoreError, whole_number
from windrow.store.chosen import ChosenLine, document_numbers
from windrow.store.foreign import Foreign
from windrow.store.given import checked_counts, checked_ends, cut_of, narrow
from windrow.store.line import Line
from windrow.store.manifest import Manifest, read_sources
from windrow.store.shards import map_column, map_origins, of_documents
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["TokenStore"]


class TokenStore:
    """Tokens, document boundaries and what made them. Make one with ``prepare``, ``open_store`` or ``from_ids``.

    Attributes: ``num_tokens``, ``num_documents``, ``dtype`` (uint16 or uint32), ``eos_id`` (int or None),
    ``fingerprint`` (sha256 hex of the content), ``path``, ``manifest``, ``foreign`` (what files of other tools say),
    ``reopen`` (opens the whole store again; None in memory), ``parent`` (the store that a view is of), and for a side
    of a split ``cut``: ``(valid_fraction, "train" or "valid")``.
    """

    def __init__(
        self,
        line: Line,
        *,
        eos_id: int | None,
        tokenizer: str | Tokenizer | None = None,
        fingerprint: str | Callable[[], str] | None = None,
        span: tuple[int, int] | None = None,
    ) -> None:
        self._line = line
        self._start, self._stop = span or (0, line.num_tokens)  # a split sees a part of the same line
        self._fingerprint, self._tokenizer = fingerprint, tokenizer
        self.dtype: np.dtype[Any] = line.dtype
        self.eos_id = eos_id
        self.num_tokens: int = self._stop - self._start
        self.path: Path | None = None
        self.manifest: Manifest | None = None
        self.foreign: Foreign | None = None
        self.reopen: partial[TokenStore] | None = None
        self.parent: TokenStore | None = None
        self.cut: tuple[float, str] | None = None

    @classmethod
    def from_ids(
        cls,
        ids: ArrayLike,
        *,
        tokenizer: str | Tokenizer | None = None,
        eos_id: int | None = None,
        document_ends: ArrayLike | None = None,
        counts: ArrayLike | None = None,
    ) -> "TokenStore":
        """A store in memory over ``ids`` (n,), any integers in 0 .. 2**32 - 1; uint16 when they and eos fit.

        An array that already is uint16 or uint32 is not copied. ``document_ends`` are rising end offsets, the last
        one n; without them the ids are one document. ``eos_id`` defaults to the tokenizer's. ``counts`` (n,), bool or
        0 and 1, says which tokens count as targets; without it all do.
        """
        if tokenizer is not None and eos_id is None:
            eos_id = load_tokenizer(tokenizer).eos_id
        tokens = narrow(np.asarray(ids), eos_id)
        one = [len(tokens)] if len(tokens) else []
        ends = checked_ends(np.asarray(one if document_ends is None else document_ends), len(tokens))
        counting = [] if counts is None else [checked_counts(np.asarray(counts), len(tokens))]
        return cls(Line([tokens], [ends], tokens.dtype, counts=counting), eos_id=eos_id, tokenizer=tokenizer)

    def __len__(self) -> int:
        return self.num_tokens

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        if self.reopen is None or isinstance(self._line, ChosenLine):  # a view pickles what it is of
            return super().__reduce_ex__(protocol)
        fingerprint = self.__dict__.get("fingerprint", self._fingerprint)
        where = (self.reopen, (self._start, self._stop), fingerprint)  # not the tokens
        return _reopened, where, {"parent": self.parent, "cut": self.cut}

    def __repr__(self) -> str:
        where = f"{self.path}, " if self.path else ""
        return f"TokenStore({where}num_tokens={self.num_tokens}, num_documents={self.num_documents}, {self.dtype})"

    # -- tokens ----------------------------------------------------------------------------------------------------

    def gather(self, starts: Int64, length: int) -> Tokens:
        """The spans of ``length`` tokens at ``starts`` (B,): (B, length) in the store's dtype, a fresh array."""
        starts = whole_numbers("starts", starts)
        # A negative start is huge without its sign.
        if len(starts) and int(starts.view(np.uint64).max()) + length > self.num_tokens:
            raise IndexError(f"spans of {length} from {starts.min()} to {starts.max()} leave the store, {self!r}")
        return self._line.gather(starts + self._start if self._start else starts, length)

    def stretches(self, starts: Int64, lengths: Int64, fill: int = 0) -> Tokens:
        """``lengths[i]`` tokens, 1 or more, from ``starts[i]`` on, one after another: (lengths.sum(),).

        A start of -1 stands for as many of ``fill``.
        """
        return self._line.stretches(self._in_line(starts, lengths), lengths, fill)

    def will_need(self, starts: Int64, lengths: Int64) -> None:
        """Start reading the tokens of ``stretches`` from disk, all at once, without waiting for them."""
        self._line.will_need(self._in_line(starts, lengths), lengths)

    def blocks(self, starts: Int64, lengths: Int64) -> tuple[Any, Int64] | None:
        """For a store that is far away: its cache, and which blocks ``stretches`` need, in the order of need."""
        return self._line.blocks(self._in_line(starts, lengths), lengths)

    def _in_line(self, starts: Int64, lengths: Int64) -> Int64:
        """``starts`` of stretches counted from the line's beginning; of what is to be filled, the line's end."""
        stops = np.where(starts < 0, 0, starts + lengths)
        if len(starts) and not (starts.min() >= -1 and stops.max() <= self.num_tokens):
            raise IndexError(f"stretches from {starts.min()} to {stops.max()} leave the store, {self!r}")
        return np.where(starts < 0, self._line.num_tokens, starts + self._start)

    @property
    def has_counts(self) -> bool:
        """Whether the data chooses which tokens count as targets."""
        return self._line.has_counts

    def counts_at(self, starts: Int64, lengths: Int64) -> Mask:
        """Which of the tokens of ``stretches`` count as targets, (lengths.sum(),); all where the store has no counts.

        Raises ``StoreError`` for a file that holds anything but 0 and 1.
        """
        counts = self._line.counts_at(self._in_line(starts, lengths), lengths)
        if counts is None:
            return np.ones(int(lengths.sum()), dtype=np.bool_)
        if counts.max(initial=0) > 1:
            raise StoreError(
                f"the counts of {self!r} hold {counts.max()}, and they are 0 and 1: they are damaged. Restore them "
                "from a copy, or prepare the store again."
            )
        return counts.view(np.bool_)

    def tokens(self, start: int = 0, stop: int | None = None) -> Tokens:
        """Tokens ``[start, stop)``: (stop - start,) in the store's dtype, clipped to the store like a slice."""
        start, stop, _ = slice(start, stop).indices(self.num_tokens)
        if stop <= start:
            return np.empty(0, dtype=self.dtype)
        return self.stretches(np.array([start]), np.array([stop - start]))

    # -- documents -------------------------------------------------------------------------------------------------

    @cached_property
    def _first_document(self) -> int:
        return int(self._line.document_at(np.array([self._start]))[0]) if self.num_tokens else 0

    @cached_property
    def num_documents(self) -> int:
        """Documents with at least one token here; one that a split cuts counts on both sides."""
        if not self.num_tokens:
            return 0
        return int(self._line.document_at(np.array([self._stop - 1]))[0]) - self._first_document + 1

    def document_at(self, places: Int64) -> Int64:
        """The number of the document that holds each token of ``places`` (any shape): int64, same shape."""
        return self._line.document_at(np.asarray(places, dtype=np.int64) + self._start) - self._first_document

    def document_ends(self, documents: Int64) -> Int64:
        """Where each of ``documents`` (any shape) ends: offsets one past the last token, int64, same shape.

        Document -1 ends where the first begins, at 0: ``document_ends(d - 1)`` is the start of d.
        """
        out = self._line.document_ends(np.asarray(documents, dtype=np.int64) + self._first_document)
        return np.clip(out, self._start, self._stop) - self._start

    def document_span(self, number: int) -> tuple[int, int]:
        """``(start, stop)`` of document ``number``; negative numbers count from the end."""
        count = self.num_documents
        if not -count <= whole_number("document", number, at_least=None) < count:
            raise IndexError(f"document {number} of {count}: numbers run from 0 to {count - 1}")
        number %= count
        start, stop = self.document_ends(np.array([number - 1, number]))
        return int(start), int(stop)

    @property
    def document_lengths(self) -> Int64:
        """The number of tokens in each document, (num_documents,), including those of the boundary."""
        return np.diff(self.document_ends(np.arange(-1, self.num_documents)))

    def document(self, number: int) -> Tokens:
        """The tokens of document ``number`` (n,), including its eos; negative numbers count from the end."""
        return self.tokens(*self.document_span(number))

    def places_in_shards(self, documents: Int64) -> tuple[Int64, Int64]:
        """``(shard, row)`` of ``documents`` (any shape): where they stand in a shard's own files."""
        return self._line.places_in_shards(np.asarray(documents, dtype=np.int64) + self._first_document)

    def documents_in_shard(self, shard: int, rows: Int64) -> Int64:
        """The numbers of those documents at ``rows`` (n,) of a shard's own files that are here: (k,), rising."""
        numbers = self._line.documents_in_shard(shard, rows) - self._first_document
        return numbers[(numbers >= 0) & (numbers < self.num_documents)]

    @property
    def num_ended(self) -> int:
        """The number of documents whose last token is eos; looks at each of them."""
        last_tokens = self.gather(self.document_ends(np.arange(self.num_documents)) - 1, 1)
        return int(np.count_nonzero(last_tokens == self.eos_id))

    @property
    def boundary(self) -> str:
        """The tokens around documents: "eos", "bos", "both" or "none"; a store in memory says "eos"."""
        return said.boundary if (said := self.manifest or self.foreign) else "eos"

    @property
    def bos_id(self) -> int | None:
        """The id that begins documents, if the ``boundary`` has one."""
        return said.bos_id if (said := self.manifest or self.foreign) else None

    # -- what prepare kept of documents ----------------------------------------------------------------------------

    @property
    def columns(self) -> dict[str, str]:
        """The fields of rows that ``prepare(keep=...)`` kept, and their types: int64, float64, bool or category."""
        return {column.name: column.type for column in self.manifest.columns} if self.manifest else {}

    def column(self, name: str) -> NDArray[Any]:
        """What each document's row had under ``name``, (num_documents,): int64, float64, bool, or str as objects.

        What is missing is -1, NaN or "missing". Raises ``StoreError`` when the store kept no such field.
        """
        return self._of_documents(map_column(*self._prepared, name))

    @property
    def document_sources(self) -> Int64:
        """Which of ``sources`` each document came from, (num_documents,). Raises ``StoreError`` in memory."""
        folder, manifest = self._prepared
        return self._of_documents([map_origins(folder, shard)[:, 0] for shard in manifest.shards])

    @cached_property
    def sources(self) -> list[str]:
        """The names of the inputs that the store was made from; none for a store in memory."""
        known = self.foreign.sources if self.foreign else []
        return [line["path"] for line in read_sources(*self._prepared).values()] if self.manifest else known

    @property
    def _prepared(self) -> tuple[Path, Manifest]:
        if self.path is None or self.manifest is None:
            raise StoreError("this store was made from ids, without sources and columns: only prepare makes those.")
        return self.path, self.manifest

    def _of_documents(self, of_shards: list[NDArray[Any]]) -> NDArray[Any]:
        return of_documents(of_shards, *self.places_in_shards(np.arange(self.num_documents)))

    # -- meaning ---------------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of tokens, boundaries and counts; where no manifest says it, it is computed at its first use."""
        if self._fingerprint is not None:
            return self._fingerprint if isinstance(self._fingerprint, str) else self._fingerprint()
        counts = self._line.counts.tokens if self._line.counts else []
        return digest(self.dtype.str + "counts" * len(counts), *self._line.tokens, *self._line.ends, *counts)

    @cached_property
    def boundaries(self) -> str:
        """sha256 (hex) of where documents end, as it was read and not as a manifest says."""
        edges = [self._start, self._stop, *self._line.token_edges.tolist(), *self._line.document_edges.tolist()]
        return digest(str(edges), *self._line.ends)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the store. Raises ``StoreError`` when it is unknown or not the same."""
        recorded = self.manifest.tokenizer if self.manifest else None
        spec = self._tokenizer or (recorded and recorded["name"])
        if spec is None:
            raise StoreError('nothing says what these ids mean. Give tokenizer="gpt2", or what made them.')
        tokenizer = load_tokenizer(spec)
        if recorded and tokenizer.fingerprint != recorded["fingerprint"]:
            raise StoreError(
                f"{self.path} was made with tokenizer {recorded['name']!r} (fingerprint "
                f"{recorded['fingerprint'][:16]}), and {spec!r} is another ({tokenizer.fingerprint[:16]}): its ids "
                f"would mean other text. Use the one that made it: tokenizer={recorded['name']!r}."
            )
        return tokenizer

    def decode(self, start: int = 0, stop: int | None = None) -> str:
        """The text of tokens ``[start, stop)``; a character cut at an edge becomes U+FFFD."""
        return self.tokenizer.decode(self.tokens(start, stop).tolist())

    def split(self, valid_fraction: float) -> "tuple[TokenStore, TokenStore]":
        """``(train, valid)``: one cut at ``floor(n * (1 - valid_fraction))``, so that no window straddles it.

        Both are views of this store. Raises ``NotEnoughTokensError`` when a side would have no token.
        """
        cut = cut_of(self.num_tokens, valid_fraction)
        train, valid = (
            self._view((self._start + start, self._start + stop), partial(_of_part, self, f"[{start}, {stop})"))
            for start, stop in ((0, cut), (cut, self.num_tokens))
        )
        train.cut, valid.cut = (float(valid_fraction), "train"), (float(valid_fraction), "valid")
        return train, valid

    def select(self, documents: ArrayLike) -> "TokenStore":
        """A view of some documents, by number, each once and in any order, or by a mask (num_documents,) of bool.

        It is a store like any other: its documents lie end to end as given and have numbers of its own; ``chosen``
        has those in this store. Nothing is copied. Raises ``ValueError`` for what names no documents.
        """
        numbers = document_numbers(documents, self.num_documents)
        return self._view(None, partial(_of_part, self, "select", numbers), ChosenLine(self, numbers))

    @property
    def chosen(self) -> Int64 | None:
        """For a view by ``select``: the number of each document in the original store, (num_documents,)."""
        if not isinstance(self._line, ChosenLine):
            return None
        return self._line.documents[self._first_document : self._first_document + self.num_documents]

    def _view(
        self, span: tuple[int, int] | None, fingerprint: str | Callable[[], str] | None, line: Line | None = None
    ) -> "TokenStore":
        options: dict[str, Any] = {"eos_id": self.eos_id, "tokenizer": self._tokenizer, "fingerprint": fingerprint}
        part = TokenStore(line or self._line, span=span, **options)
        part.path, part.manifest, part.foreign, part.reopen = self.path, self.manifest, self.foreign, self.reopen
        part.parent = self
        return part


def _reopened(
    reopen: "Callable[[], TokenStore]", span: tuple[int, int], fingerprint: str | Callable[[], str] | None
) -> TokenStore:
    """Unpickle: in another process the same files are mapped again."""
    return reopen()._view(span, fingerprint)


def _of_part(store: TokenStore, part: str, *arrays: NDArray[Any]) -> str:
    """The fingerprint of a part of ``store``."""
    return digest(f"{store.fingerprint} {part}", *arrays)
