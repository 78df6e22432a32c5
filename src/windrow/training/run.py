"""What a training run is on disk: a folder whose ``run.json`` says which batches it trains on.

Guarantee: from ``run.json`` alone the loader of a run can be built again, and it refuses stores that are not the ones
the run was started with. The folder appears whole or not at all, and none is written over. Cost: opening reads two
manifests; torch is not imported. It does not do: training (``trainer.py``), or anything about a model but its sizes.

    run/run.json         settings, recipe, stores (path, num_tokens, fingerprint), sizes, loader state at the last start
    run/data/            the store made of ``--text`` (a run over a prepared store has none)
    run/checkpoint.pt    model, optimizer, random state, loader state, losses
    run/log.jsonl        a line a step        run/loss.svg   the curve        run/train.html   a page that is live
"""

import json
import math
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from windrow.arrays import Int64
from windrow.audit.sizes import RunSizes, loader_of
from windrow.errors import (
    LARGEST,
    NotEnoughTokensError,
    PrepareError,
    ResumeError,
    read_json,
    require_shape,
    whole_number,
)
from windrow.loader.loader import Loader
from windrow.preparing.prepare import prepare
from windrow.preparing.tally import Report
from windrow.store.manifest import MANIFEST, read_manifest, read_sources
from windrow.store.opening import open_store
from windrow.store.store import TokenStore
from windrow.store.whole import write_whole
from windrow.text.sources import form_of
from windrow.windows.windows import Windows

__all__ = [
    "RUN",
    "Run",
    "Settings",
    "StorePart",
    "check_text",
    "held_ids",
    "how_to_go_on",
    "open_run",
    "run_of_store",
    "run_of_text",
    "start_run",
]

RUN = "run.json"
_BLOCK = 2**22  # tokens
_FORMAT, _VERSION = "windrow-run", 1


@dataclass(frozen=True)
class Settings(RunSizes):
    """What a run is made with; each field is the flag of ``windrow train`` of that name, with its default.

    ``stride`` None is half of ``max_length``; ``steps`` None is as many as ``epochs`` need. Lengths and
    strides are tokens, ``batch_size`` is samples, ``eval_every`` and ``checkpoint_every`` are steps. The model knows
    all ids of the tokenizer or, with ``vocabulary`` "text", those that the text holds: a small text's model is small.
    """

    steps: int | None = None
    epochs: float = 1.0
    lr: float = 1e-3
    width: int = 128
    num_layers: int = 2
    num_heads: int = 4
    vocabulary: Literal["tokenizer", "text"] = "tokenizer"
    eval_every: int = 50
    eval_batches: int = 16
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name in ("eval_every", "eval_batches", "checkpoint_every", "steps"):
            if (value := getattr(self, name)) is not None:
                whole_number(name, value)
        for name, example in (("epochs", "1"), ("lr", "1e-3")):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise ValueError(f"{name} is {value}, and it must be above 0, for example {example}")


@dataclass(frozen=True)
class StorePart:
    """A store, or one side of a cut through it: ``valid_fraction`` 0 is the whole store."""

    path: Path
    valid_fraction: float = 0.0
    side: Literal["train", "valid"] = "train"

    def open(self, tokenizer: str | None = None) -> TokenStore:
        """Open it; ``tokenizer`` is that of ``open_store``. Raises ``StoreError`` when it is not whole."""
        store = open_store(self.path, tokenizer=tokenizer)
        return store.split(self.valid_fraction)[self.side == "valid"] if self.valid_fraction else store


@dataclass(frozen=True)
class Run:
    """A run: where it lies, what it reads, how it trains. ``state`` is the loader's when it last started."""

    folder: Path
    train: StorePart
    valid: StorePart | None
    settings: Settings
    state: Mapping[str, Any] | None = None
    dp_world_size: int = 1

    @property
    def vocab_size(self) -> int:
        """Every id of the train part is below it."""
        store = self.train.open()
        return int(store.manifest.tokenizer["vocab_size"]) if store.manifest else store.tokenizer.vocab_size

    @property
    def ids(self) -> Int64:
        """The ids that the model knows, in their order; those of a text are found by reading it."""
        if self.settings.vocabulary == "tokenizer":
            return np.arange(self.vocab_size)
        return np.unique(np.concatenate([held_ids(part.open()) for part in (self.train, self.valid) if part]))

    def loader(self, device: str | None = None, **ranks: Any) -> Loader:
        """The shuffled training batches from their beginning, the endless stream; ``ranks`` are those of ``Loader``."""
        return loader_of(self.train.open(), self.settings, epochs=None, device=device, **ranks)

    def num_steps(self, loader: Loader) -> int:
        """Steps of the whole run: those before ``loader`` as they were, those to come of its sizes."""
        to_come = self.settings.epochs * len(loader) - loader.position / loader.sizes.global_batch
        return self.settings.steps or loader.step + max(0, math.ceil(to_come))

    def valid_loader(self, device: str | None = None, outputs: Collection[str] = ()) -> Loader | None:
        """The valid part, each of its targets once an epoch, in a fixed shuffled order; None when there is none."""
        if self.valid is None:
            return None
        store = self.valid.open()
        try:
            windows = Windows(store, self.settings.max_length, tail="pad")
        except NotEnoughTokensError as error:
            raise NotEnoughTokensError(f"{error} (split 'valid'; or train without one: --valid-fraction 0)") from error
        size = self.settings.batch_size
        return Loader(windows, size, drop_last=False, dp_rank=0, dp_world_size=1, device=device, outputs=outputs)

    def save(self, loader: Loader) -> "Run":
        """Write ``run.json`` for a run that starts, or goes on, where ``loader`` stands."""
        run = replace(self, state=loader.state_dict(), dp_world_size=loader.dp_world_size)
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "recipe": json.loads(loader.recipe),
            "stores": {"train": _described(self.train, self.folder), "valid": _described(self.valid, self.folder)},
            "sizes": {"batch_size": loader.batch_size, "dp_world_size": loader.dp_world_size},
            "settings": {**asdict(self.settings), "stride": self.settings.resolved_stride},
            "state": run.state,
        }
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        write_whole(self.folder / RUN, lambda file: file.write(text.encode()))
        return run


def held_ids(store: TokenStore, most: int = LARGEST) -> Int64:
    """The ids among the first ``most`` tokens of ``store``, (n,), in their order."""
    blocks = range(0, min(store.num_tokens, most), _BLOCK)
    found = [np.unique(store.tokens(start, start + _BLOCK)) for start in blocks]
    return np.unique(np.concatenate(found)).astype(np.int64)


def _described(part: StorePart | None, folder: Path) -> dict[str, Any] | None:
    if part is None:
        return None
    path, root, store = part.path.resolve(), folder.resolve(), part.open()
    where = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return {**asdict(part), "path": where, "num_tokens": store.num_tokens, "fingerprint": store.fingerprint}


# -- opening a run -------------------------------------------------------------------------------------------------


def open_run(path: str | Path) -> Run:
    """The run in the folder ``path`` (or whose ``run.json`` is ``path``). Raises ``ResumeError`` when there is none."""
    file = Path(path, RUN) if Path(path).is_dir() else Path(path)
    try:
        content = read_json(file.read_bytes(), dict)
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"format {content['format']!r} version {content['version']!r}, not {_FORMAT} {_VERSION}")
        require_shape(content, {"stores": dict, "settings": dict, "state": dict, "sizes": {"dp_world_size": int}})
        parts = {side: _part(content["stores"][side], file.parent) for side in ("train", "valid")}
        usual = {"documents": "store", "phase": 0, "tail": "drop", "vocabulary": "tokenizer"}  # older files do not say
        found = {**usual, **content["settings"]}
        settings = Settings(**{field.name: found[field.name] for field in fields(Settings)})
    except OSError as error:
        raise ResumeError(f"there is no run at {path}: {file} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"{file} is no run.json of this windrow ({type(error).__name__}: {error}).") from error
    if parts["train"] is None:
        raise ResumeError(f"{file} names no store to train on.")
    started = {"state": content["state"], "dp_world_size": content["sizes"]["dp_world_size"]}
    return Run(file.parent, parts["train"], parts["valid"], settings, **started)


def _part(described: Mapping[str, Any] | None, folder: Path) -> StorePart | None:
    if described is None:
        return None
    require_shape(described, {"path": str, "valid_fraction": float, "side": str})
    return StorePart(folder / described["path"], described["valid_fraction"], described["side"])


def check_text(run: Run, text: Path) -> None:
    """Raise ``ResumeError`` unless ``text`` is the file that the run's own store was made of."""
    try:
        saved = read_sources(run.train.path, read_manifest(run.train.path))[0]["sha256"]
        here = sha256(text.read_bytes()).hexdigest()
    except (OSError, LookupError, ValueError) as error:
        raise ResumeError(f"cannot compare {text} with the text of the run in {run.folder}: {error}.") from error
    if saved != here:
        raise ResumeError(
            f"the run in {run.folder} trains on a text with sha256 {saved}, and {text} has {here}: its batches would "
            "be others. Give --resume without --text, or start a new run with another --out."
        )


# -- starting a run ------------------------------------------------------------------------------------------------


def start_run(folder: Path, build: Callable[[Path], Run], **ranks: Any) -> Run:
    """Make the run ``build(temporary folder)``, check that it has batches for ``ranks``, and then name it ``folder``.

    Raises ``PrepareError`` when ``folder`` is not empty, and whatever ``build`` and the loaders raise; then nothing is
    left behind.
    """
    _refuse(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    temporary.mkdir()
    try:
        run = build(temporary)
        run.save(run.loader(**ranks))
        run.valid_loader()  # no loader is kept: Windows renames no folder with files that are open
        if folder.exists():
            folder.rmdir()  # it is empty
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_run(folder)


def _refuse(folder: Path) -> None:
    if (folder / RUN).exists():
        raise PrepareError(
            f"{folder} holds a run already, and runs are never written over. Go on with it by --resume, or choose "
            "another folder with --out."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PrepareError(f"{folder} is not empty, and nothing is written over. Choose another folder with --out.")


def run_of_text(
    text: Path,
    folder: Path,
    settings: Settings,
    *,
    valid_fraction: float,
    tokenizer: str = "gpt2",
    on_report: Callable[[Report], None] | None = None,
) -> Run:
    """A run over one text file: its tokens go to ``folder/data``, the last ``valid_fraction`` of them to valid."""
    if text.is_file() and not text.stat().st_size:
        raise NotEnoughTokensError(f"{text} is empty, so there is nothing to train on. Give a file with text in it.")
    data = folder / "data"
    form = None if form_of(str(text))[0] else "text"
    options: Any = {"tokenizer": tokenizer, "valid_fraction": valid_fraction, "split": "tail", "form": form}
    prepare([text], data, on_report=on_report, **options)
    return Run(folder, StorePart(data / "train"), StorePart(data / "valid") if valid_fraction else None, settings)


def run_of_store(store: Path, folder: Path, settings: Settings, *, valid_fraction: float) -> Run:
    """A run over a prepared store: ``DEST`` with its train and valid, or one store, cut at ``valid_fraction``."""
    if (store / "train" / MANIFEST).is_file():
        if (store / "valid" / MANIFEST).is_file():
            return Run(folder, StorePart(store / "train"), StorePart(store / "valid"), settings)
        store = store / "train"
    valid = StorePart(store, valid_fraction, "valid") if valid_fraction else None
    return Run(folder, StorePart(store, valid_fraction), valid, settings)


def how_to_go_on(out: Path) -> str:
    """The command that resumes the run in ``out``."""
    return f"windrow train --out {shlex.quote(str(out))} --resume"
