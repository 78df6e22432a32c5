"""Arrays that can be made again, kept in the user's cache folder between runs, and mapped.

Guarantee: what is read back is what was written, or it is made again: a damaged, cut or foreign file is never used (a
checksum tells), and nothing is unpickled. A file appears whole or not at all, also when several ranks write it, and all
ranks of a machine share its pages. A cache that cannot be written is no error. Nothing is ever written into a store.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from windrow.errors import read_json
from windrow.store.whole import write_whole

__all__ = ["Arrays", "cache_folder", "kept"]

Arrays = dict[str, NDArray[Any]]
_HEAD, _ALIGNED = 4096, 8  # bytes


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/windrow``, or ``~/.cache/windrow``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "windrow"


def kept(name: str, make: Callable[[], Arrays], *, anew: bool = False) -> Arrays:
    """The flat arrays kept as ``name``, read-only, or those that ``make`` returns, which are then kept.

    ``anew`` makes them in any case.
    """
    try:
        path = cache_folder() / name
    except RuntimeError:  # there is no home
        return make()
    with suppress(OSError, ValueError, TypeError):
        if not anew:
            return _mapped(path)
    made = make()
    with suppress(OSError, ValueError, TypeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: _write(file, made), durable=False)
        return _mapped(path)
    return made


def _write(file: BinaryIO, arrays: Arrays) -> None:
    """A line of JSON that fills ``_HEAD`` bytes (names, dtypes, lengths and a checksum), then the arrays."""
    about = [[name, array.dtype.str, len(array)] for name, array in arrays.items()]
    parts = [np.ascontiguousarray(array).view(np.uint8).data for array in arrays.values()]
    parts = [each for part in parts for each in (part, memoryview(bytes(-len(part) % _ALIGNED)))]
    checksum = reduce(lambda checksum, part: crc32(part, checksum), parts, crc32(json.dumps(about).encode()))
    file.write(json.dumps({"arrays": about, "crc32": checksum}).encode().ljust(_HEAD - 1) + b"\n")
    file.writelines(parts)


def _mapped(path: Path) -> Arrays:
    """What ``_write`` wrote. Raises ``OSError``, ``ValueError`` or ``TypeError`` for anything else."""
    held = np.memmap(path, np.uint8, mode="r")
    about = read_json(held[:_HEAD].tobytes(), {"arrays": [list], "crc32": int})
    data, arrays, begin = np.asarray(held[_HEAD:]), {}, 0
    if crc32(data.data, crc32(json.dumps(about["arrays"]).encode())) != about["crc32"]:
        raise ValueError("it is damaged")
    for name, dtype, length in about["arrays"]:
        end = begin + length * np.dtype(dtype).itemsize
        arrays[name], begin = data[begin:end].view(dtype), end + -end % _ALIGNED
    return arrays
