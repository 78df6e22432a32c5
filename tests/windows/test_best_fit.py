"""Best-fit-decreasing packing: the same rows for ever, in memory that the pieces alone decide."""

import tracemalloc
from hashlib import sha256

import numpy as np

from windrow.windows.best_fit import best_fit_decreasing


def test_many_lengths_beside_many_open_rows_take_a_hundred_bytes_a_piece() -> None:
    """Each length takes one row of a class of very many: what is left must not be copied, nor kept for it."""
    capacity = 2049
    lengths = np.concatenate([np.full(40_000, capacity // 2 + 1), np.arange(2, capacity // 2)]).astype(np.int32)
    tracemalloc.start()
    rows = best_fit_decreasing(lengths, capacity)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * len(lengths)
    assert (np.bincount(rows, lengths) <= capacity).all()


def test_the_rows_of_a_hundred_thousand_pieces_are_those_of_every_release() -> None:
    """The order of a pack run hangs on them: were they others, a saved state would continue with other rows."""
    lengths = (np.arange(100_000, dtype=np.int64) * 7919 % 2003 + 2).astype(np.int32)
    rows = best_fit_decreasing(lengths, 2049).astype("<i8")
    assert sha256(rows.tobytes()).hexdigest()[:16] == "1b596719d6a35010"
