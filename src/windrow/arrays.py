"""Names for the arrays that go from room to room, and for the target that does not count.

Shapes stand where arrays are made or taken.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORE_INDEX", "Int64", "Mask", "Tokens", "UInt64"]

IGNORE_INDEX = -100  # PyTorch's ignore_index: a target that does not count
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.unsignedinteger[Any]]  # ids as a store holds them: uint16 or uint32
