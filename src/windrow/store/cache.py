"""Arrays that can be made again, kept in the user's cache folder between runs.

Guarantee: what is read back is what was written, or it is made again: a damaged, cut or foreign file is never used
(the zip format's own checksums tell), and nothing is unpickled. A file appears whole or not at all, also when several
ranks write it. A cache that cannot be written is no error. Nothing is ever written into a store.
"""

import os
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.store.whole import write_whole

__all__ = ["cache_folder", "kept"]

Arrays = dict[str, NDArray[Any]]


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/windrow``, or ``~/.cache/windrow``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "windrow"


def kept(name: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays kept as ``name``, or those that ``make`` returns, which are then kept."""
    try:
        path = cache_folder() / f"{name}.npz"
    except RuntimeError:  # there is no home
        return make()
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        made = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: np.savez(file, allow_pickle=False, **made), durable=False)
    return made
