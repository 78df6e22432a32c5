"""Documents -> tokens and a table of documents, batch by batch: the inner loop of ``prepare``.

Guarantee: exactly one eos after each document, written here and never by the tokenizer; every id below
``vocab_size``; a document that comes in pieces has the ids of the whole. The first document of an item and the seam
before each piece are compared with the reference tokenizer. Cost: one batch of about a million characters.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from struct import unpack

import numpy as np

from windrow.arrays import Int64, Tokens
from windrow.errors import PrepareError, TokenizerError
from windrow.tokens.cuts import PIECE, cut_long, cuts_of
from windrow.tokens.protocol import EOT, Tokenizer, encode_documents

__all__ = ["COLUMNS", "Encoder", "digest_of_pieces"]

_BATCH = 1 << 20  # characters
_CHECKED = 2000  # characters of each item, and at each side of a seam, that are compared
_NONE = -1  # after a piece that is not the last
Place = tuple[int, int, int, int]  # source (within the item), line, start, stop


def _digest(text: str) -> bytes:
    return sha256(b"windrow document 1\n" + text.encode()).digest()[:16]


def digest_of_pieces(digests: list[bytes]) -> bytes:
    """The digest of a document, 16 bytes, from those of its pieces."""
    return digests[0] if len(digests) == 1 else sha256(b"windrow pieces 1\n" + b"".join(digests)).digest()[:16]


class Encoder:
    """Takes documents in order; ``write`` gets the tokens, ``table`` is (num_documents, 8), see ``COLUMNS``."""

    def __init__(
        self, tokenizer: Tokenizer, write: Callable[[Tokens], None], *, literal_eos: str, cuttable: bool, hashed: bool
    ) -> None:
        self._tokenizer, self._write, self._cuttable, self._hashed = tokenizer, write, cuttable, hashed
        self._special = dict(getattr(tokenizer, "specials", {})).get(EOT) if literal_eos == "special" else None
        self._texts: list[str] = []
        self._after: list[int] = []  # the id after each text
        self._closing: list[int] = []  # numbers of the texts that end a document
        self._rows: list[tuple[int, ...]] = []  # of each document that ended, all of ``COLUMNS`` but the end
        self._num_chars = 0
        self._tables = [np.empty((0, len(COLUMNS)), np.int64)]
        self._tail = ""
        self.digests: list[bytes] = []  # of the pieces of the document that is open
        self.num_tokens, self.max_token_id, self.seconds = 0, -1, 0.0

    def document(self, text: str, place: Place) -> None:
        """One document. Raises ``ValueError`` when it has no place to be cut and is too long to be done whole."""
        if len(text) > PIECE >> 2 and len(data := text.encode()) > PIECE:
            pieces = cut_long(data, self._cuttable)
            if pieces is None:
                raise ValueError("too long, with no place to cut it")
            for number, piece in enumerate(pieces):
                self.piece(piece.decode(), place, number == 0, number == len(pieces) - 1)
            return
        self._rows.append((*place, *unpack("<2q", _digest(text) if self._hashed else bytes(16)), False))
        self._text(text, self._tokenizer.eos_id)

    def piece(
        self, text: str, place: Place, is_first: bool, is_last: bool, before: str = "", bad: bool = False
    ) -> None:
        """A piece of a document. ``before``: the end of the piece before it, when that was not given here."""
        if is_first:
            self.digests, self._tail = [], ""
        self._check_seam(before or self._tail, text)
        self._tail = text[-_CHECKED:]
        self.digests.append(_digest(text))
        if is_last:
            self._rows.append((*place, *unpack("<2q", digest_of_pieces(self.digests)), bad))
        self._text(text, self._tokenizer.eos_id if is_last else _NONE)

    def table(self) -> Int64:
        """The rows of all documents that ended, once everything is encoded."""
        self._flush()
        return np.concatenate(self._tables)

    def _text(self, text: str, after: int) -> None:
        if self._special is not None and EOT in text:
            *parts, text = text.split(EOT)
            self._texts += parts
            self._after += [self._special] * len(parts)
        if after != _NONE:
            self._closing.append(len(self._texts))
        self._texts.append(text)
        self._after.append(after)
        self._num_chars += len(text) + 1
        if self._num_chars >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._texts:
            return
        started = time.perf_counter()
        ids, ends = self._encode(self._texts)
        if self.max_token_id < 0:  # these are the first of the item
            self._check_sample(self._texts[0])
        self.max_token_id = max(self.max_token_id, self._highest(ids), *self._after)
        tokens, ends = self._with_after(ids, ends)
        if self._rows:
            self._tables.append(np.column_stack([self.num_tokens + ends[self._closing], self._rows]))
        self.num_tokens += len(tokens)
        self._texts, self._after, self._closing, self._rows, self._num_chars = [], [], [], [], 0
        self.seconds += time.perf_counter() - started
        self._write(tokens)

    def _encode(self, texts: list[str]) -> tuple[Tokens, Int64]:
        """The ids of all texts in a row, and where each ends."""
        flat = getattr(self._tokenizer, "encode_flat", None)
        if flat:
            ids, ends = flat(texts)
            return ids, ends
        rows = encode_documents(self._tokenizer, texts)
        return np.concatenate(rows), np.cumsum([len(row) for row in rows], dtype=np.int64)

    def _with_after(self, ids: Tokens, ends: Int64) -> tuple[Tokens, Int64]:
        after = np.array(self._after, np.int64)
        has = after != _NONE
        tokens = np.insert(ids, ends[has], after[has].astype(ids.dtype)) if has.any() else ids
        return tokens, ends + np.cumsum(has)

    def _highest(self, ids: Tokens) -> int:
        """The highest id of text. Raises when one is no id, or the eos."""
        vocab_size, eos_id = self._tokenizer.vocab_size, self._tokenizer.eos_id
        if (highest := int(ids.max(initial=0))) >= vocab_size:
            raise TokenizerError(f"id {highest} is not below vocab_size = {vocab_size}. Correct the tokenizer.")
        if num := int(np.count_nonzero(ids == eos_id)):
            raise PrepareError(
                f"the tokenizer itself made {num} eos tokens (id {eos_id}) out of text, and prepare writes exactly one "
                "after each document: they would end documents that do not end. Turn off what adds special tokens."
            )
        return highest

    # -- checks against the reference --------------------------------------------------------------------------------

    def _check_sample(self, text: str) -> None:
        """The beginning of the first text of an item, up to a place where it may be cut."""
        cuts = cuts_of(text[:_CHECKED])
        self._compare([text if len(text) <= _CHECKED else text[: cuts[-1]] if cuts else ""], "the start of an item")

    def _check_seam(self, before: str, text: str) -> None:
        """Around a seam the ids of both sides must be those of the text as a whole."""
        left, right = cuts_of(before[-_CHECKED:]), cuts_of(text[:_CHECKED])
        if left and right:
            self._compare([before[-_CHECKED:][left[0] :], text[: right[-1]]], "a seam")

    def _compare(self, texts: list[str], where: str) -> None:
        reference = getattr(self._tokenizer, "encode_reference", self._tokenizer.encode)
        expected = list(reference("".join(texts)))
        ids = self._encode(texts)[0].tolist()
        if ids != expected:
            raise TokenizerError(
                f"at {where} the ids {ids[:10]}... ({len(ids)}) differ from the reference, {expected[:10]}... "
                f"({len(expected)}), on the text {''.join(texts)[:80]!r}. The store would be wrong in places nobody "
                "looks at. Please report the text; uninstall gigatoken to do without it."
            )


COLUMNS = ("end", "source", "line", "start", "stop", "digest0", "digest1", "bad")  # of an item's documents, all int64
