"""Names for the arrays that go from room to room, and for the target that does not count; whole numbers as an array.

Shapes stand where arrays are made or taken.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from windrow.errors import LARGEST, brief

__all__ = ["IGNORE_INDEX", "Int64", "Mask", "Tokens", "UInt64", "whole_numbers"]

IGNORE_INDEX = -100  # PyTorch's ignore_index: a target that does not count
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.unsignedinteger[Any]]  # ids as a store holds them: uint16 or uint32


def whole_numbers(name: str, values: ArrayLike) -> Int64:
    """``values`` as int64, of any shape, or the ``ValueError`` that names them; nothing is rounded, nothing wraps."""
    found = np.asarray(values)
    if found.dtype == np.int64 or not found.size:
        return found.astype(np.int64, copy=False)
    if found.dtype.kind not in "iu" or int(found.max()) > LARGEST:
        raise ValueError(f"{name} are {brief(values)}, and they must be whole numbers below 2**63")
    return found.astype(np.int64)
