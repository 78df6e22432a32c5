"""What windrow asks of a tokenizer, and its ids checked.

Guarantee: ids that a narrow dtype would wrap are an error, never another token. Cost: one pass over the ids. Imports no
engine.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from windrow.errors import TokenizerError

__all__ = ["EOT", "PROTOCOL", "Tokenizer", "bos_id_of", "bytes_per_token", "encode_documents", "token_dtype"]

PROTOCOL = ("encode", "decode", "vocab_size", "eos_id", "fingerprint")


class Tokenizer(Protocol):
    """What windrow asks of a tokenizer. Any object of this shape will do."""

    @property
    def vocab_size(self) -> int:
        """Every id is below it."""

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""

    @property
    def fingerprint(self) -> str:
        """Two tokenizers with the same fingerprint give the same ids."""

    def encode(self, text: str) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def encode_documents(tokenizer: Tokenizer, texts: list[str]) -> list[npt.NDArray[Any]]:
    """Ids of each text, ``(num_tokens,)`` of ``token_dtype(vocab_size)``; by ``encode_batch`` if there is one.

    Raises TokenizerError where an id is not in ``[0, vocab_size)``: stored narrow, it would wrap silently.
    """
    batch = getattr(tokenizer, "encode_batch", None)
    rows = batch(texts) if batch else [tokenizer.encode(text) for text in texts]
    if len(rows) != len(texts):
        raise TokenizerError(f"encode_batch made {len(rows)} rows of {len(texts)} texts. It must make one each.")
    return [_checked(row, number, tokenizer.vocab_size) for number, row in enumerate(rows)]


def bos_id_of(tokenizer: Tokenizer) -> int:
    """The id that begins a document, of those tokenizers that have a ``bos_id``. Raises TokenizerError for others."""
    bos_id: int | None = getattr(tokenizer, "bos_id", None)
    if bos_id is None:
        raise TokenizerError(
            f"the tokenizer {getattr(tokenizer, 'name', type(tokenizer).__name__)!r} has no bos_id for a document "
            'to begin with. Use boundary="eos", or a tokenizer that has one.'
        )
    if not 0 <= bos_id < tokenizer.vocab_size:
        raise TokenizerError(
            f"bos_id is {bos_id}, and it must be in [0, {tokenizer.vocab_size}). Correct the tokenizer."
        )
    return bos_id


def bytes_per_token(tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
    """The bytes of text that each id stands for, (vocab_size,); 0 for a special token, and for an id that is none.

    Raises TokenizerError for a tokenizer without ``token_bytes``, a mapping of each id to its bytes.
    """
    known = getattr(tokenizer, "token_bytes", None)
    if known is None:
        raise TokenizerError(
            f"the tokenizer {getattr(tokenizer, 'name', type(tokenizer).__name__)!r} does not say which bytes an id "
            "stands for, and decoded text hides parts of characters. Give it token_bytes, a mapping of ids to bytes."
        )
    specials = {tokenizer.eos_id, getattr(tokenizer, "bos_id", None), *getattr(tokenizer, "specials", {}).values()}
    out = np.zeros(tokenizer.vocab_size, dtype=np.int32)
    for token, held in known.items():
        if token not in specials and 0 <= token < len(out):
            out[token] = len(held)
    return out


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrow dtype that holds every id: uint16 up to a ``vocab_size`` of 65 536, else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 65536 else np.uint32)


def _checked(row: Any, number: int, vocab_size: int) -> npt.NDArray[Any]:
    ids = np.asarray(row)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise TokenizerError(
            f"encode made {ids.dtype} of shape {ids.shape} from text {number}. It must return a flat list of int."
        )
    bad = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if bad.size:
        raise TokenizerError(
            f"id {ids[bad[0]]} at position {bad[0]} of text {number} is not in [0, vocab_size = {vocab_size}), and "
            "would be stored as another token. Correct the tokenizer's vocab_size; it must exceed every id."
        )
    return ids.astype(token_dtype(vocab_size), copy=False)


EOT = "<|endoftext|>"
