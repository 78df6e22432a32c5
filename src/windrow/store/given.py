"""What a ``TokenStore`` is given, checked: ids, where documents end, which ids count, where it is cut.

Guarantee: what is returned is what was given, in the store's own dtypes. Raises ``ValueError``, or ``StoreError`` for
ids that eos does not fit and ends that do not rise.
"""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Tokens
from windrow.errors import NotEnoughTokensError, StoreError, whole_number
from windrow.store.shards import require_rising
from windrow.tokens.protocol import token_dtype

__all__ = ["checked_counts", "checked_ends", "cut_of", "narrow"]


def narrow(ids: NDArray[Any], eos_id: int | None) -> Tokens:
    """``ids`` (n,) as a store holds them: uint16 when they and eos fit, else uint32."""
    if ids.ndim != 1 or not (ids.dtype.kind in "iu" or not len(ids)):
        raise ValueError(f"ids must be one row of integers, and these are {ids.shape} {ids.dtype}")
    eos_id = 0 if eos_id is None else whole_number("eos_id", eos_id, at_least=0)
    if ids.dtype in (np.uint16, np.uint32):
        if eos_id > (most := np.iinfo(ids.dtype).max):
            raise StoreError(f"eos_id is {eos_id}, and ids of {ids.dtype} end at {most}. Give ids.astype(np.uint32).")
        return ids
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
    if low < 0 or max(high, eos_id) >= 2**32:
        raise ValueError(f"ids run from {low} to {high}, eos_id is {eos_id}, and a store holds 0 to 2**32 - 1")
    return ids.astype(token_dtype(max(high, eos_id) + 1))


def checked_ends(given: NDArray[Any], num_tokens: int) -> Int64:
    """Where documents end, (num_documents,)."""
    if given.ndim != 1 or (len(given) and given.dtype.kind not in "iu"):
        raise ValueError(f"document_ends must be one row of whole numbers, and these are {given.shape} {given.dtype}")
    ends = given.astype(np.int64)
    require_rising("document_ends", ends, num_tokens)
    return ends


def checked_counts(given: NDArray[Any], num_tokens: int) -> Tokens:
    """Which ids count as targets, (n,) of 0 and 1."""
    if given.shape != (num_tokens,) or given.dtype.kind not in "biu" or not np.isin(given, (0, 1)).all():
        held = f" from {given.min()} to {given.max()}" if given.size and given.dtype.kind in "biu" else ""
        raise ValueError(
            f"counts must be {num_tokens} times 0 or 1, one an id, and these are {given.shape} {given.dtype}{held}"
        )
    return given.astype(np.uint8)


def cut_of(num_tokens: int, valid_fraction: float) -> int:
    """Where ``valid_fraction`` cuts ``num_tokens``. Raises ``NotEnoughTokensError`` when a side would have none."""
    if not isinstance(valid_fraction, Real) or not 0 < valid_fraction < 1:
        raise ValueError(f"valid_fraction is {valid_fraction!r}, and it is a number that lies between 0 and 1")
    cut = int(np.floor(num_tokens * (1 - valid_fraction)))
    if not 0 < cut < num_tokens:
        raise NotEnoughTokensError(
            f"a cut of {num_tokens} tokens at valid_fraction={valid_fraction} leaves {cut} for train and "
            f"{num_tokens - cut} for valid. Give more text, or a valid_fraction nearer 0.5."
        )
    return cut
