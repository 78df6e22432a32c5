"""A run file, read: ``run.json`` as ``Loader.write_run`` writes it, or the same by hand as TOML.

Guarantee: a key that is none, or a value of another type, is an error that names it, before a store is opened. Version
1, which ``windrow train`` wrote once, says the same in other words. Cost: a small file; a loader opens its stores. It
does not do: writing (``loader/run_file.py``).
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from os.path import isdir
from pathlib import Path
from typing import Any

from windrow.errors import ResumeError, brief, read_json, require_shape
from windrow.loader.loader import Loader
from windrow.loader.ranks import world_in_sight
from windrow.loader.run_file import OF_FILES, RUN_FORMAT, RUN_VERSION
from windrow.runs.members import open_described
from windrow.runs.past import read_past
from windrow.store.store import TokenStore
from windrow.windows.mixture import Mixture
from windrow.windows.windows import Windows

__all__ = ["RUN", "RunFile", "open_run", "read_run", "require_known", "require_store"]

RUN = "run.json"

# The keys of the schema, as shapes of ``require_shape``: docs/runs.md says what they mean.
_STORE = {"split?": float, "side?": str, "where?": str, "select?": str, "select_sha256?": str, "fingerprint?": str}
_WINDOWS = {"max_length": int, "stride?": int, "tail?": str, "policy?": str, "documents?": str}
_MIXTURE = {"stages?": dict, "epoch_samples?": int, "max_repeats?": int, "block?": int, "weights?": str}
_LOADER: dict[str, Any] = {"batch_size": int, "seed?": int, "shuffle_block?": int, "dtype?": str, "mask_targets?": str}
_LOADER |= {"shuffle?": bool, "drop_last?": bool, "resident?": bool, "outputs?": [str]}
_FILE = {"format?": str, "version?": int, "dp_world_size?": int, "recipe?": dict, "training?": dict}


def _names(shape: Mapping[str, Any]) -> list[str]:
    return [key.removesuffix("?") for key in shape]


_SIDES = ("train", "valid")
OF_STORE = ["store", *_names(_STORE)]
OF_WINDOWS = [*_names(_WINDOWS), "phase"]
OF_MEMBER = [*OF_STORE, *OF_WINDOWS, "weight"]
OF_MIXTURE, OF_LOADER = _names(_MIXTURE), [*_names(_LOADER), "epochs"]


@dataclass(frozen=True)
class RunFile:
    """What a run file says: the table of each member by name, what is given to ``Mixture`` (None: there is one member,
    named ``""``) and to ``Loader``, of how many ranks, and what is kept ``training`` it.
    """

    path: Path
    members: Mapping[str, Mapping[str, Any]]
    mixture: Mapping[str, Any] | None
    arguments: Mapping[str, Any]
    dp_world_size: int = 1
    training: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, given: Mapping[str, Any]) -> "RunFile":
        """The same with the arguments of windows and loader that are ``given``, for every member."""
        windows = {name: value for name, value in given.items() if name in OF_WINDOWS}
        members = {name: {**member, **windows} for name, member in self.members.items()}
        loader = {name: value for name, value in given.items() if name in OF_LOADER}
        return replace(self, members=members, arguments={**self.arguments, **loader})

    def stores(self, tokenizer: str | None = None) -> dict[str, TokenStore]:
        """The store of each member, opened; ``tokenizer`` is that of ``open_store``."""
        folder = self.path.parent
        there = {name: table for name, table in self.members.items() if "gone" not in table}
        return {name: open_described(table, folder, tokenizer=tokenizer) for name, table in there.items()}

    def loader(self, *, tokenizer: str | None = None, **machine: Any) -> Loader:
        """The loader at its beginning; ``machine`` are those of its arguments that no file says: device, ranks.

        Its rank is 0 unless given, but where a distributed run is in sight.
        """
        stores, mixture, data = self.stores(tokenizer), self.mixture, dict[str, Any]()
        for name, table in self.members.items():
            windows = Windows(stores[name], **_picked(table, OF_WINDOWS)) if name in stores else None
            data[name] = (windows, table.get("weight", 1.0))
        options = {"dp_rank": None if world_in_sight() else 0, "dp_world_size": self.dp_world_size, **machine}
        if options.get("device") is None:
            options["resident"] = False  # there is no device where the tokens could be
        return Loader(data[""][0] if mixture is None else Mixture(data, **mixture), **{**self.arguments, **options})


def _picked(table: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: table[name] for name in names if table.get(name) is not None}


def open_run(path: str | Path, state: str | Path | None = None, **machine: Any) -> Loader:
    """The loader of the run at ``path``: a run's folder, the JSON of ``Loader.write_run``, or the same as TOML.

    ``state`` is a file that holds the run's past, what ``state_dict`` returned: JSON, or a torch checkpoint with it
    under any key (``FILE:key`` if it has several). The loader then stands there. ``machine`` is what no file says:
    ``device``, ``dp_rank`` (0 by default), ``dp_world_size`` (by default the file's) and ``prefetch`` of ``Loader``.
    Raises ``ResumeError`` for a file that is not a run, a store that is another, and a state of another run.
    """
    run = read_run(path)
    loader = run.loader(**machine)
    past = run.training.get("state") if state is None else read_past(state)
    if past is not None:
        loader.load_state_dict(past)
    return loader


# -- reading -------------------------------------------------------------------------------------------------------


def read_run(path: str | Path) -> RunFile:
    """The run file at ``path``, or in the folder ``path`` as ``run.json``. Raises ``ResumeError`` when it is none."""
    file = Path(path, RUN) if isdir(path) else Path(path)
    try:
        text = file.read_bytes()
        content = tomllib.loads(text.decode()) if file.suffix == ".toml" else read_json(text, dict)
        return _run_file(file, _of_version_1(content) if content.get("version") == 1 else content)
    except OSError as error:
        raise ResumeError(
            f"there is no run at {path}: {file} cannot be read ({error.strerror}). Give "
            "the folder that train or demo made, or a run file."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResumeError(f"{file} is no run of this windrow ({type(error).__name__}: {error}).") from error


def _run_file(file: Path, content: Mapping[str, Any]) -> RunFile:
    about = (content.get("format", RUN_FORMAT), content.get("version", RUN_VERSION))
    if about != (RUN_FORMAT, RUN_VERSION):
        raise ValueError(f"format {brief(about[0])} version {brief(about[1])}, not {RUN_FORMAT} 1 or {RUN_VERSION}")
    require_shape(content, {**_LOADER, **_FILE, **_MIXTURE, "members?": {}})
    usual, members = _picked(content, OF_MEMBER), content.get("members")
    require_known(content, [*_names(_FILE), *OF_LOADER, "members", *OF_MIXTURE, *OF_MEMBER], "it")
    tables = {"": {}} if members is None else members
    found = {name: _member(name, usual, table) for name, table in tables.items()}
    if all("gone" in member for member in found.values()):
        raise ValueError("its members are none, and there is nothing to draw from")
    mixture, arguments = _picked(content, OF_MIXTURE), _picked(content, OF_LOADER)
    if mixture and members is None:
        raise ValueError(f"it has {', '.join(mixture)}, which is a mixture's, and no members: give [members.NAME]")
    if "stages" in mixture:
        mixture["stages"] = {int(position): weights for position, weights in mixture["stages"].items()}
    if arguments.get("epochs") == "endless":
        arguments["epochs"] = None
    ranks, training = content.get("dp_world_size"), content.get("training") or {}
    of = None if members is None else mixture
    return RunFile(file, found, of, arguments, 1 if ranks is None else ranks, training)


def _member(name: str, usual: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """The table of a member; what it does not say is as ``usual``, at the top of the file."""
    what = f"members.{name}" if name else "it"
    require_shape(table, {"gone?": bool}, what)
    if table.get("gone"):
        return {"gone": True, "weight": table.get("weight", 0.0)}
    member = {key: value for key, value in {**usual, **table}.items() if key != "gone"}
    require_shape(member, {**_WINDOWS, "weight?": float}, what)
    if name:
        require_known(member, OF_MEMBER, what)
    require_store(_picked(member, OF_STORE), what)
    return member


def require_store(table: Any, what: str) -> None:
    """Raise ``ValueError`` unless ``table`` describes a store."""
    require_shape(table, _STORE, what)
    require_known(table, [*OF_STORE, *OF_FILES], what)
    if "store" not in table:
        raise ValueError(f"{what} has no store")
    inner = "its store" if what == "it" else f"{what}.store"
    if isinstance(table["store"], list):
        require_shape(table["store"], [str], inner)
    elif not isinstance(table["store"], str):
        require_store(table["store"], inner)
    if (table.get("split") is None) != (table.get("side") is None) or table.get("side", "train") not in _SIDES:
        raise ValueError(
            f"{what} has split {table.get('split')!r} and side {table.get('side')!r}, and they belong together: the "
            'share of the tokens that goes to valid, and which side is read, "train" or "valid"'
        )
    if table.get("where") is not None and table.get("select") is not None:
        raise ValueError(f"{what} has where and select, and one of them chooses documents")


def require_known(table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    for key in table:
        if key not in known:
            (near,) = get_close_matches(key, known, 1, cutoff=0)
            raise ValueError(f"{what} has {brief(key)}, which is none of its keys: did you mean {near!r}?")


def _of_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """A file of version 1 in the words of this one."""
    sizes = {"sizes": {"dp_world_size": int}, "settings": dict, "state": dict}
    require_shape(content, {"stores": {"train": dict, "valid?": dict}, **sizes})
    settings = {"documents": "store", **content["settings"]}  # older files do not say
    data = {name: settings.pop(name) for name in ("max_length", "stride", "documents", "batch_size", "seed")}
    train, valid = (_store_of_version_1(content["stores"].get(side)) for side in _SIDES)
    training = {**settings, "valid": valid, "state": content["state"]}
    ranks = content["sizes"]["dp_world_size"]
    named = {"format": content["format"], "epochs": "endless", "dp_world_size": ranks, "training": training}
    return {**named, **data, **(train or {})}


def _store_of_version_1(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if part is None:
        return None
    cut = {"split": part["valid_fraction"], "side": part["side"]} if part["valid_fraction"] else {}
    return {"store": part["path"], "fingerprint": part.get("fingerprint"), **cut}
