"""Which documents came before: digests, dealt to files by their first bits and sorted one file at a time.

Guarantee: of equal documents the first stays. What could not be read is like nothing. Cost: 24 bytes of disk for each
document, in files without a name that go with the process, and a quarter of ``memory``.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from windrow.arrays import Int64, Mask, grouped

__all__ = ["repeated"]

_SORTING = 96  # bytes that a document takes while its file is sorted
_MOST_FILES = 512


def repeated(tables: Iterable[Int64], folder: Path, *, num_documents: int, memory: int) -> Mask:
    """Whether each document, a row of ``tables`` (n, 8), has the digest of one before it; mapped from ``folder``."""
    num_files = min(1 + num_documents * _SORTING // (memory >> 2), _MOST_FILES)
    with ExitStack() as held:
        file = held.enter_context(TemporaryFile(dir=folder))
        again: Mask = np.memmap(file, np.bool_, "w+", shape=(max(num_documents, 1),))
        files = [held.enter_context(TemporaryFile(dir=folder)) for _ in range(num_files)]
        start = 0
        for rows in tables:
            readable = np.flatnonzero(rows[:, 7] == 0)
            found = np.column_stack([rows[readable, 5:7], start + readable])  # (n, 3): digest, number
            for number, which in grouped((found[:, 0] % num_files).astype(np.int64)):
                files[number].write(found[which].tobytes())
            start += len(rows)
        for file in files:
            file.seek(0)
            found = np.frombuffer(file.read(), np.int64).reshape(-1, 3)
            order = np.lexsort((found[:, 1], found[:, 0]))  # stable: equal ones keep their order
            equal = (found[order[1:], :2] == found[order[:-1], :2]).all(axis=1)
            again[found[order[1:], 2][equal]] = True
    return again
