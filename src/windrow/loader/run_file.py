"""A run as a file: what a loader is made of, as JSON that ``windrow.open_run`` makes the same loader of.

Guarantee: all that fixes the batches is in it, but the tokens: paths of stores, their fingerprints, every argument but
device, rank and prefetch. The file is there whole or not at all. Cost: arithmetic; the numbers of chosen documents lie
in a ``.npy`` beside it. It does not do: reading (``runs/run_file.py``), or where a run stands (``state.py``).
"""

import io
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from windrow.errors import WindrowError
from windrow.far.objects import is_far
from windrow.loader.recipe import Recipe
from windrow.order.steps import StepSizes
from windrow.store.store import TokenStore
from windrow.store.whole import write_whole
from windrow.windows.mixture import Mixture
from windrow.windows.windows import Windows

__all__ = ["OF_FILES", "RUN_FORMAT", "RUN_VERSION", "described", "write_run"]

RUN_FORMAT, RUN_VERSION = "windrow-run", 2
OF_FILES = ("tokenizer", "format", "dtype", "eos_id", "cache", "cache_bytes")  # what ``open_store`` is told


def write_run(path: Path, recipe: Recipe, sizes: StepSizes, about: Mapping[str, Any]) -> None:
    """Write the run of ``recipe`` in steps of ``sizes``; ``about`` are further keys of it, as JSON values or None."""
    once = {"epochs": "endless"} if sizes.tail == "straddle" else {"epochs": 1, "drop_last": sizes.tail == "drop"}
    fixed = {"shuffle_block": recipe.shuffle_block, "mask_targets": recipe.mask_targets}
    content = {
        "format": RUN_FORMAT,
        "version": RUN_VERSION,
        **_drawn_from(recipe, path.parent),
        "batch_size": sizes.batch_size,
        "dp_world_size": sizes.dp_world_size,
        "seed": recipe.seed,
        "shuffle": recipe.shuffle,
        **once,
        **{name: value for name, value in {**fixed, **about}.items() if value is not None},
        "recipe": json.loads(recipe.to_json()),
    }
    text = json.dumps(content, indent=1) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _drawn_from(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The members, each a table; a plain loader's only one is the file itself."""
    mixture, rows = recipe.data, {name: _member(name, one, folder) for name, one in recipe.members.items()}
    if not isinstance(mixture, Mixture):
        if list(rows) != [""]:
            raise WindrowError("an evaluation of a mixture is no run. Write that of the mixture, and evaluate it anew.")
        return rows[""]
    (_, weights), *later = mixture.weights_given.items()
    given = {
        "stages": {str(position): dict(weights) for position, weights in later} or None,
        "epoch_samples": mixture.epoch_samples_given,
        "max_repeats": mixture.max_repeats,
        "block": mixture.block,
        "weights": mixture.weights,
    }
    members = {name: {**rows.get(name, {"gone": True}), "weight": weight} for name, weight in weights.items()}
    return {"members": members, **{name: value for name, value in given.items() if value is not None}}


def _member(name: str, windows: Windows, folder: Path) -> dict[str, Any]:
    if type(windows) is not Windows:
        raise WindrowError(
            f"member {name!r} is a {type(windows).__name__}, of which a file cannot say how it is made. Write a run of "
            "Windows, or keep the code that makes this one beside its states."
        )
    fixed = {key: value for key, value in windows.recipe().items() if key != "index"}
    return {**described(windows.store, folder, f"member {name!r}"), **fixed}


# -- stores --------------------------------------------------------------------------------------------------------


def described(store: TokenStore, folder: Path, name: str) -> dict[str, Any]:
    """How to open ``store`` from a file in ``folder``, and its fingerprint.

    Raises ``WindrowError`` that says ``name`` for a store that no file can say.
    """
    return {**_opened_by(store, folder, name), "fingerprint": store.fingerprint}


def _opened_by(store: TokenStore, folder: Path, name: str) -> dict[str, Any]:
    if store.parent is not None:
        held = _opened_by(store.parent, folder, name)
        of = held if len(held) > 1 else held["store"]
        if store.cut is not None:
            return {"store": of, "split": store.cut[0], "side": store.cut[1]}
        return {"store": of, **_numbers_in(folder, store)}
    if store.reopen is None:
        raise WindrowError(
            f"the store of {name} is in memory, and a file cannot say what it holds. Make it with prepare, and give "
            "open_store(path)."
        )
    (path,), given, stays = store.reopen.args, store.reopen.keywords, os.path.isabs(str(store.path))
    paths = [_from(folder, each, stays=stays) for each in (path if isinstance(path, list) else [path])]
    told = {key: given.get(key) for key in OF_FILES}
    options = {k: str(v) if isinstance(v, Path) else v for k, v in told.items() if isinstance(v, str | int | Path)}
    files: dict[str, Any] = {"store": paths if isinstance(path, list) else paths[0]}
    return {"store": files | options} if options else files


def _from(folder: Path, path: Any, *, stays: bool) -> str:
    """``path`` as it is, if it is far or ``stays`` absolute, and leads not into ``folder``; else from there on."""
    if is_far(path) or (stays and not path.is_relative_to(folder.resolve())):
        return str(path)
    return Path(os.path.relpath(path, folder.resolve())).as_posix()


def _numbers_in(folder: Path, store: TokenStore) -> dict[str, str]:
    """Write which documents a view holds beside the file, under a name that tells its content."""
    np.save(file := io.BytesIO(), np.asarray(store.chosen), allow_pickle=False)
    content = file.getvalue()
    digest = sha256(content).hexdigest()
    write_whole(folder / (name := f"documents-{digest[:16]}.npy"), lambda out: out.write(content))
    return {"select": name, "select_sha256": digest}
