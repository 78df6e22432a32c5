"""Tokens that a row brings: its ids, and its mask or labels, looked at.

Guarantee: ids that are no ids of the vocabulary, and masks that do not say of each token whether it counts, raise
``ValueError`` with the place. Nothing is shifted, cut or filled up. Cost: a pass over both.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import IGNORE_INDEX, Mask, Tokens
from windrow.tokens.protocol import token_dtype

__all__ = ["counts_given", "ids_given"]


def ids_given(found: Any, vocab_size: int) -> Tokens:
    """The ids (n,) of a row, of ``token_dtype(vocab_size)``."""
    ids = _whole_numbers(found, "its ids")
    if len(wrong := np.flatnonzero((ids < 0) | (ids >= vocab_size))):
        place = int(wrong[0])
        raise ValueError(f"id {ids[place]} at place {place} is not in [0, vocab_size = {vocab_size})")
    return ids.astype(token_dtype(vocab_size))


def counts_given(found: Any, ids: Tokens) -> Mask:
    """Which of ``ids`` (n,) count: a mask of 0 and 1; or labels, each -100 or the id at its own place."""
    mask = _whole_numbers(found, "its mask")
    if mask.shape != ids.shape:
        raise ValueError(f"its mask has {len(mask)} values, and it has {len(ids)} ids")
    if np.isin(mask, (0, 1)).all():
        return mask.astype(np.bool_)
    counts: Mask = mask != IGNORE_INDEX
    if len(wrong := np.flatnonzero(counts & (mask != ids))):
        place = int(max(wrong, key=lambda place: mask[place] not in (0, 1)))
        raise ValueError(
            f"its mask has {mask[place]} at place {place}, where the id is {ids[place]}. A mask is 0 or 1 everywhere, "
            f"and labels are {IGNORE_INDEX} or the id at their own place, not shifted"
        )
    return counts


def _whole_numbers(found: Any, what: str) -> NDArray[Any]:
    """One row of whole numbers; bool as 0 and 1 only where all of them are."""
    try:
        array = np.asarray(found)
    except ValueError:  # rows within it, of many lengths
        array = np.empty((0, 0))
    is_mixed = isinstance(found, list) and array.dtype != np.bool_ and bool in map(type, found)
    if array.ndim != 1 or is_mixed or (array.size and array.dtype.kind not in ("iu" if what == "its ids" else "iub")):
        kind = "null" if found is None else f"a {type(found).__name__}, {array.shape} {array.dtype}"
        raise ValueError(f"{what} must be a flat list of whole numbers, and this is {kind}{' with bool' * is_mixed}")
    return array if array.size else array.astype(np.int64)
