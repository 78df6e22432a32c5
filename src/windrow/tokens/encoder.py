"""Documents -> tokens and a table of documents, batch by batch: the inner loop of ``prepare``.

Guarantee: around each document stands what the boundary says, one eos after it unless it says otherwise, written here
and never by the tokenizer; every id is below ``vocab_size``; a document that comes in pieces has the ids of the whole.
The first document of an item and the seam before each piece are compared with the reference tokenizer. Cost: one batch
of about a million characters.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import pairwise
from struct import unpack
from typing import Any

import numpy as np

from windrow.arrays import Int64, Mask, Tokens
from windrow.errors import PrepareError, TokenizerError
from windrow.tokens.cuts import PIECE, Rule, cut_long
from windrow.tokens.given import counts_given, ids_given
from windrow.tokens.protocol import EOT, Tokenizer, bos_id_of, encode_documents, token_dtype

__all__ = ["COLUMNS", "EMPTY", "Encoder", "digest_of_pieces"]

_BATCH = 1 << 20  # characters
_BESIDE = 64  # of them that a text counts as, for what is held beside it
_CHECKED = 2000  # characters of each item, and at each side of a seam, that are compared
_UNHASHED = bytes(16)
_NONE = -1  # where no id is written: after a piece that is not the last
EMPTY = 'it has no token, and with boundary="none" no place in a store'
Place = tuple[int, int, int, int]  # source (within the item), line, start, stop


def digest_of_pieces(digests: list[bytes]) -> bytes:
    """The digest of a document, 16 bytes, from those of its pieces."""
    return digests[0] if len(digests) == 1 else _digest(b"pieces", b"".join(digests))


class Encoder:
    """Takes documents in order; ``write`` gets the tokens, ``tables`` are (num_documents, 8), see ``COLUMNS``.

    ``counts`` is (num_tokens,) uint8 once there is a table: 1 where a token counts, of documents that say so.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        write: Callable[[Tokens], None],
        *,
        literal_eos: str,
        cuttable: Rule,
        hashed: bool,
        boundary: str = "eos",
    ) -> None:
        self._tokenizer, self._write, self._cuttable, self._hashed = tokenizer, write, cuttable, hashed
        self._bos = bos_id_of(tokenizer) if boundary in ("bos", "both") else _NONE
        self._eos = tokenizer.eos_id if boundary in ("eos", "both") else _NONE
        self._special = dict(getattr(tokenizer, "specials", {})).get(EOT) if literal_eos == "special" else None
        self._closed = 0  # where the last document ended
        self._begin()
        self._tables, self._counts = [np.empty((0, len(COLUMNS)), np.int64)], [np.empty(0, np.uint8)]
        self._has_rows, self._tail = False, ""
        self.digests: list[bytes] = []  # of the pieces of the document that is open
        self.num_tokens: int = 0
        self.max_token_id: int = -1
        self.seconds: float = 0.0

    def _begin(self) -> None:
        """An empty batch."""
        self._content, self._num_chars = list[Any](), 0  # texts, or rows of ids
        self._after, self._flags = list[int](), list[Any]()  # the id after each; whether it counts, of ids which do
        self._closing = list[int]()  # numbers of the texts that end a document
        self._rows = list[int]()  # of each document that ended, all of ``COLUMNS`` but the end

    def document(self, text: str, place: Place) -> None:
        """One document. Raises ``ValueError`` when it has no place to be cut and is too long to be done whole."""
        self._require_some(text)
        pieces = self._cut(text)
        for number, piece in enumerate(pieces, 1):
            self.piece(piece, place, number == 1, number == len(pieces))

    def parts(self, parts: Sequence[tuple[str, int]], place: Place) -> None:
        """A document of texts that count (1) or not (0), each tokenized by itself. Raises ``ValueError`` likewise."""
        self._require_some("".join(text for text, _ in parts))
        cut = [(self._cut(text), flag) for text, flag in parts]
        if self._bos != _NONE:
            self._add("", self._bos)
        for pieces, flag in cut:
            for before, piece in zip(["", *pieces], pieces, strict=False):
                self._check_seam(before, piece)
                self._add(piece, _NONE, flag)
        self._end_row("", self._eos, place)

    def ids(self, ids: object, mask: object, place: Place) -> None:
        """A document of tokens; ``mask`` says which count, None for none. Raises ``ValueError`` for what is neither."""
        taken = ids_given(ids, self._tokenizer.vocab_size)
        counts = np.zeros(len(taken), np.bool_) if mask is None else counts_given(mask, taken)
        if self._bos not in (_NONE, *taken[:1].tolist()):
            taken, counts = np.append(taken.dtype.type(self._bos), taken), np.append(False, counts)
        if self._eos not in (_NONE, *taken[-1:].tolist()):
            taken, counts = np.append(taken, taken.dtype.type(self._eos)), np.append(counts, counts[-1:].any())
        self._require_some(taken)
        self._end_row(taken, _NONE, place, counts)

    def piece(
        self, text: str, place: Place, is_first: bool, is_last: bool, before: str = "", bad: bool = False
    ) -> None:
        """A piece of a document. ``before``: the end of the piece before it, when that was not given here."""
        if is_first:
            self.digests, self._tail = [], ""
            if self._bos != _NONE:
                self._add("", self._bos)
        if before or self._tail:
            self._check_seam(before or self._tail, text)
        self._tail = "" if is_last else text[-_CHECKED:]
        self.digests.append(_digest(b"document", text.encode()) if self._hashed else _UNHASHED)
        if self._special is not None:
            *parts, text = text.split(EOT)
            for part in parts:
                self._add(part, self._special)
        self._add(text, self._eos if is_last else _NONE)
        digest = unpack("<2q", digest_of_pieces(self.digests)) if self._hashed else (0, 0)
        self._end((*place, *digest, bad) if is_last else ())

    def tables(self) -> list[Int64]:
        """The rows of all documents that ended, once everything is encoded, some at a time."""
        self._flush()
        return self._tables

    @property
    def counts(self) -> Tokens:
        """1 for each token that counts and 0 for others, (num_tokens,) uint8; nothing where documents do not say."""
        return np.concatenate(self._counts)

    def _require_some(self, content: str | Tokens) -> None:
        if not len(content) and self._bos == self._eos == _NONE:
            raise ValueError(EMPTY)

    def _cut(self, text: str) -> list[str]:
        """A text, or the pieces of a long one. Raises ``ValueError`` where it has no place to be cut."""
        if len(text) <= PIECE >> 2 or len(data := text.encode()) <= PIECE:
            return [text]
        pieces = cut_long(data, self._cuttable)
        if pieces is None:
            raise ValueError("too long, with no place to cut it")
        return [piece.decode() for piece in pieces]

    def _add(self, content: str | Tokens, after: int, flag: int | Mask = 0) -> None:
        self._content.append(content)
        self._after.append(after)
        self._flags.append(flag)
        self._num_chars += len(content) + _BESIDE

    def _end_row(self, content: str | Tokens, after: int, place: Place, flag: int | Mask = 0) -> None:
        """The end of a document that came as a row; its digest comes when all its tokens are there."""
        self._add(content, after, flag)
        self._has_rows = True
        self._end((*place, 0, 0, False))

    def _end(self, row: tuple[int, ...]) -> None:
        """The end of a piece, and of the document if there is a ``row`` of it."""
        if row:
            self._closing.append(len(self._content) - 1)
            self._rows += row
        if self._num_chars >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._content:
            return
        started, rows = time.perf_counter(), self._content
        if are_texts := isinstance(rows[0], str):
            if self.max_token_id < 0:  # these are the first of the item
                self._compare([next(filter(None, rows), "")[:_CHECKED]], "the start of an item")
            rows = self._encode(rows)
        tokens, ends = self._joined(rows)
        self.max_token_id = max(self.max_token_id, int(tokens.max(initial=0)))
        if are_texts:
            self._require_ids_of_text(tokens)
        if self._rows:
            self._tables.append(self._table_of(tokens, ends))
        self.num_tokens += len(tokens)
        self._begin()
        self.seconds += time.perf_counter() - started
        self._write(tokens)

    def _table_of(self, tokens: Tokens, ends: Int64) -> Int64:
        """The rows of the documents that end among ``tokens``; what counts of parts and ids is found, too."""
        closed = ends[self._closing]
        rows = np.array(self._rows, np.int64).reshape(len(closed), -1)
        table: Int64 = np.column_stack([self.num_tokens + closed, rows])
        lengths = np.diff(table[:, 0], prepend=self._closed)
        if not (lengths | table[:, 7]).all():
            line = table[np.argmin(lengths | table[:, 7]), 2]
            raise TokenizerError(f"the tokenizer makes no token of the document at line {line} of its block: {EMPTY}.")
        self._closed = int(table[-1, 0])
        if self._has_rows:
            counts = self._counted(ends, closed)
            self._counts.append(counts)
            if self._hashed:
                edges = pairwise([0, *closed.tolist()])
                found = [_digest(b"tokens", tokens[a:b].tobytes() + counts[a:b].tobytes()) for a, b in edges]
                table[:, 5:7] = np.frombuffer(b"".join(found), "<i8").reshape(-1, 2)
        return table

    def _counted(self, ends: Int64, closed: Int64) -> Tokens:
        """What counts, (num_tokens,): an eos that is written here does as the token before it in its document does."""
        if isinstance(self._flags[0], np.ndarray):
            return np.concatenate(self._flags).view(np.uint8)
        counts = np.repeat(np.array(self._flags, np.uint8), np.diff(ends, prepend=0))
        if self._eos != _NONE:
            counts[closed - 1] = counts[closed - 2]  # 0 where that is another's eos: all of them still are
        return counts

    def _encode(self, texts: list[str]) -> list[Tokens]:
        """The ids of each text."""
        rows = getattr(self._tokenizer, "encode_rows", None)
        return rows(texts) if rows else encode_documents(self._tokenizer, texts)

    def _joined(self, rows: list[Tokens]) -> tuple[Tokens, Int64]:
        """All ids, each row's followed by the id after it, and where that ends, ``(num_rows,)``."""
        after = {token: np.full(int(token != _NONE), token) for token in {*self._after}}
        parts = [part for row, token in zip(rows, self._after, strict=True) for part in (row, after[token])]
        tokens = np.concatenate(parts, dtype=token_dtype(self._tokenizer.vocab_size), casting="unsafe")
        return tokens, np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))[1::2]

    def _require_ids_of_text(self, tokens: Tokens) -> None:
        """Raises where one is no id, or where text made one that is written around documents."""
        vocab_size = self._tokenizer.vocab_size
        if self.max_token_id >= vocab_size:
            raise TokenizerError(
                f"id {self.max_token_id} is not below vocab_size = {vocab_size}. Correct the tokenizer."
            )
        for name, edge in (("eos", self._tokenizer.eos_id), ("bos", self._bos)):
            if num := int(np.count_nonzero(tokens == edge)) - self._after.count(edge) if edge != _NONE else 0:
                raise PrepareError(
                    f"the tokenizer itself made {num} {name} tokens (id {edge}) out of text, and prepare alone writes "
                    "what stands around documents: they would divide one. Turn off what adds special tokens."
                )

    def _check_seam(self, before: str, text: str) -> None:
        """Around a seam the ids of both sides must be those of the text as a whole."""
        if before and text:
            self._compare([before[-_CHECKED:], text[:_CHECKED]], "a seam")

    def _compare(self, texts: list[str], where: str) -> None:
        """``texts``, parts of one, with the reference."""
        reference = getattr(self._tokenizer, "encode_reference", self._tokenizer.encode)
        expected = list(reference("".join(texts)))
        ids = np.concatenate(self._encode(texts)).tolist()
        if ids != expected:
            raise TokenizerError(
                f"at {where} the ids {ids[:10]}... ({len(ids)}) differ from the reference, {expected[:10]}... "
                f"({len(expected)}), on the text {''.join(texts)[:80]!r}. The store would be wrong in places nobody "
                "looks at. Please report the text; uninstall gigatoken to do without it."
            )


def _digest(kind: bytes, data: bytes) -> bytes:
    return sha256(b"windrow " + kind + b" 1\n" + data).digest()[:16]


COLUMNS = ("end", "source", "line", "start", "stop", "digest0", "digest1", "bad")  # of an item's documents, all int64
