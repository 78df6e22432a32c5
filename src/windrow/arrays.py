"""Names for the arrays that go from room to room; shapes stand where they are made or taken."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Int64", "Mask", "Tokens", "UInt64"]

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.unsignedinteger[Any]]  # ids as a store holds them: uint16 or uint32
