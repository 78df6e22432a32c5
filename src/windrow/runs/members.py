"""What a run file says of a store -> the store: its path, a side of a split, documents of it.

Guarantee: a store whose fingerprint is not the one in the file is an error; a condition on columns is read by a grammar
of its own, and nothing of it is run. Cost: opening reads manifests, and the columns that a condition names.
"""

import io
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Mask
from windrow.errors import ResumeError, WindrowError, brief
from windrow.far.objects import is_far
from windrow.loader.run_file import OF_FILES
from windrow.store.opening import open_store
from windrow.store.store import TokenStore

__all__ = ["documents_where", "open_described"]

_SIGNS = {
    "==": np.equal,
    "!=": np.not_equal,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
}
_TERM = r"""\s*([^\s<>=!"']+)\s*(==|!=|<=|>=|<|>)\s*("[^"]*"|'[^']*'|[-+.\w]+)\s*"""


def open_described(described: Mapping[str, Any], folder: Path, *, tokenizer: str | None = None) -> TokenStore:
    """The store that a table of a file in ``folder`` describes; ``tokenizer`` is that of ``open_store``.

    Raises ``ResumeError`` with both fingerprints where it is not the store of the file.
    """
    of = described["store"]
    if isinstance(of, dict):
        store = open_described(of, folder, tokenizer=tokenizer)
    else:
        given = {name: described[name] for name in OF_FILES if name in described}
        paths = [_path(folder, each) for each in of] if isinstance(of, list) else _path(folder, of)
        store = open_store(paths, **given | ({"tokenizer": tokenizer} if tokenizer else {}))
    if (fraction := described.get("split")) is not None:
        store = store.split(fraction)[described.get("side") == "valid"]
    if (condition := described.get("where")) is not None:
        if not (chosen := documents_where(store, condition)).any():
            raise WindrowError(f"where is {brief(condition)}, and none of the store's {len(chosen)} documents is so")
        store = store.select(chosen)
    if (name := described.get("select")) is not None:
        store = store.select(_numbers(folder / name, described.get("select_sha256")))
    saved = described.get("fingerprint")
    if saved is not None and saved != store.fingerprint:
        raise ResumeError(
            f"{store.path} has fingerprint {store.fingerprint}, and the run was made of {saved}: its batches would be "
            "others. Restore the store from a copy, or take the fingerprint out of the file to start a new run."
        )
    return store


def _path(folder: Path, name: str) -> str | Path:
    """Where ``name`` lies, from ``folder`` on; what leads out of it is a path from the working folder."""
    if is_far(name):
        return name
    path = folder / name
    return Path(os.path.relpath(path.resolve())) if ".." in path.parts else path


def documents_where(store: TokenStore, condition: str) -> Mask:
    """Which documents meet ``condition``, (num_documents,): ``score > 0.8 and lang == 'en'`` over the columns.

    Raises ``WindrowError`` for what is no condition, and for a value that its column cannot be compared with.
    """
    if not re.fullmatch(rf"{_TERM}(?:\band(?=\s){_TERM})*", condition):
        raise WindrowError(
            f"where is {brief(condition)}, and it is comparisons of a column with a number or a text in quotes, joined "
            "by and: where = \"score > 0.8 and lang == 'en'\"."
        )
    terms = re.findall(rf"(?:\band(?=\s))?{_TERM}", condition)
    held: Mask = np.logical_and.reduce([_compared(store, *term) for term in terms])
    return held


def _compared(store: TokenStore, name: str, comparison: str, text: str) -> Mask:
    column, is_text = store.column(name), store.columns[name] == "category"
    if is_text != (text[0] in "\"'"):
        wanted = "a text in quotes" if is_text else "a number"
        raise WindrowError(f"where compares {name} with {text}, and it is {store.columns[name]}: give {wanted}")
    return np.asarray(_SIGNS[comparison](column, text[1:-1] if is_text else _number(text)), dtype=np.bool_)


def _number(text: str) -> float:
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise WindrowError(f"where compares with {text}, which is no number; a text stands in quotes") from None


def _numbers(path: Path, digest: str | None) -> NDArray[Any]:
    """The numbers of documents in ``path``. Raises ``ResumeError`` when they are none, or not those of ``digest``."""
    try:
        content = path.read_bytes()
        numbers = np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError, MemoryError) as error:  # a header may promise any size
        raise ResumeError(f"{path} is no .npy of document numbers ({brief(error)}). Restore it.") from error
    here = sha256(content).hexdigest()
    if digest not in (None, here):
        raise ResumeError(f"{path} has sha256 {here}, and the run was made with {digest}. Restore it from a copy.")
    return numbers
