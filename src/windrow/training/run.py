"""What a training run is on disk: a folder whose ``run.json`` says which batches it trains on.

Guarantee: from ``run.json`` alone the loader of a run can be built again, and it refuses stores that are not the ones
the run was started with. The folder appears whole or not at all, and none is written over. Cost: opening reads two
manifests; torch is not imported. It does not do: training (``trainer.py``), or anything about a model but its sizes.

    run/run.json         which batches (``runs/run_file.py``); settings, valid part, loader state at the last start
    run/data/            the store made of ``--text`` (a run over a prepared store has none)
    run/checkpoint.pt    model, optimizer, random state, loader state, losses
    run/log.jsonl        a line a step        run/loss.svg   the curve        run/train.html   a page that is live
"""

import math
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from windrow.arrays import Int64
from windrow.audit.sizes import RunSizes, loader_of
from windrow.errors import LARGEST, NotEnoughTokensError, PrepareError, ResumeError, brief, require_shape, whole_number
from windrow.far.objects import far_url
from windrow.loader.loader import Loader
from windrow.loader.run_file import described
from windrow.preparing.prepare import prepare
from windrow.preparing.tally import Report
from windrow.runs.members import open_described
from windrow.runs.run_file import RUN, RunFile, read_run, require_known, require_store
from windrow.store.manifest import MANIFEST, read_manifest, read_sources
from windrow.store.store import TokenStore
from windrow.text.sources import form_of
from windrow.windows.mixture import Mixture
from windrow.windows.windows import Policy, Windows

__all__ = [
    "Run",
    "Settings",
    "check_text",
    "held_ids",
    "how_to_go_on",
    "open_run",
    "run_of_file",
    "run_of_store",
    "run_of_text",
    "start_run",
]

_BLOCK = 2**22  # tokens
_OF_BATCHES = [*(field.name for field in fields(RunSizes)), "policy"]


@dataclass(frozen=True)
class Settings(RunSizes):
    """What a run is made with; each field is the flag of ``windrow train`` of that name, with its default.

    ``stride`` None is half of ``max_length``; ``steps`` None is as many as ``epochs`` need. Lengths and
    strides are tokens, ``batch_size`` is samples, ``eval_every`` and ``checkpoint_every`` are steps. The model knows
    all ids of the tokenizer or, with ``vocabulary`` "text", those that the text holds: a small text's model is small.
    """

    policy: Policy = "concat"
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
            require_shape(value := getattr(self, name), float, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}, and it must be above 0, for example {example}")
        if self.vocabulary not in ("tokenizer", "text"):
            raise ValueError(f"vocabulary is {brief(self.vocabulary)}, and it must be 'tokenizer' or 'text'")


_OF_TRAINING = [field.name for field in fields(Settings) if field.name not in _OF_BATCHES]


@dataclass(frozen=True)
class Run:
    """A run: where it lies, which batches it trains on, and how."""

    folder: Path
    file: RunFile
    settings: Settings

    @property
    def train(self) -> TokenStore:
        """The store that is trained on; of a mixture, the first member's."""
        return self.store()

    def store(self, tokenizer: str | None = None) -> TokenStore:
        """``train``, whose text ``tokenizer`` decodes when its own has moved."""
        return next(iter(self.file.stores(tokenizer).values()))

    @property
    def valid(self) -> dict[str, TokenStore]:
        """What is evaluated on, by the name of the member; none where there is no valid part."""
        return {name: open_described(table, self.file.path.parent) for name, table in _valid_of(self.file).items()}

    @property
    def state(self) -> Mapping[str, Any] | None:
        """The loader's state when the run last started."""
        return self.file.training.get("state")

    @property
    def vocab_size(self) -> int:
        """Every id of the members is below it."""
        stores = self.file.stores().values()
        return max(int(s.manifest.tokenizer["vocab_size"]) if s.manifest else s.tokenizer.vocab_size for s in stores)

    @property
    def ids(self) -> Int64:
        """The ids that the model knows, in their order; those of a text are found by reading it."""
        if self.settings.vocabulary == "tokenizer":
            return np.arange(self.vocab_size)
        return np.unique(
            np.concatenate([held_ids(part) for part in (*self.file.stores().values(), *self.valid.values())])
        )

    def changed(self, **given: Any) -> "Run":
        """The run with other settings; those of windows and batches are another recipe, or other sizes."""
        of_batches = {name: value for name, value in given.items() if name in _OF_BATCHES}
        return replace(self, file=self.file.changed(of_batches), settings=replace(self.settings, **given))

    def loader(self, device: str | None = None, **machine: Any) -> Loader:
        """The batches from their beginning; ``machine`` is that of ``RunFile.loader``.

        Raises ``NotEnoughTokensError`` that names flags which fit, when a store is too short.
        """
        try:
            return self.file.loader(device=device, **machine)
        except NotEnoughTokensError:
            if self.file.mixture is None:
                ranks = {name: machine.get(name) for name in ("dp_rank", "dp_world_size")}
                options = {**ranks, "epochs": self.file.arguments.get("epochs", 1)}
                loader_of(self.train, self.settings, self.settings.policy, **options)
            raise

    def num_steps(self, loader: Loader) -> int:
        """Steps of the whole run: those before ``loader`` as they were, those to come of its sizes."""
        to_come = self.settings.epochs * len(loader) - loader.position / loader.sizes.global_batch
        return self.settings.steps or loader.step + max(0, math.ceil(to_come))

    def valid_loader(self, device: str | None = None, outputs: Collection[str] = ()) -> Loader | None:
        """The valid part, each of its targets once an epoch, in a fixed shuffled order; None when there is none.

        Of a mixture's valid parts it draws equal shares.
        """
        try:
            windows = {name: Windows(one, self.settings.max_length, tail="pad") for name, one in self.valid.items()}
        except NotEnoughTokensError as error:
            raise NotEnoughTokensError(f"{error} (split 'valid'; or train without one: --valid-fraction 0)") from error
        if not windows:
            return None
        data = windows.get("") or Mixture({name: (one, 1.0) for name, one in windows.items()})
        size = self.settings.batch_size
        return Loader(data, size, drop_last=False, dp_rank=0, dp_world_size=1, device=device, outputs=outputs)

    def save(self, loader: Loader) -> "Run":
        """Write ``run.json`` for a run that starts, or goes on, where ``loader`` stands."""
        own = {name: getattr(self.settings, name) for name in _OF_TRAINING}
        parts = {name: described(store, self.folder, f"valid {name!r}") for name, store in self.valid.items()}
        valid = parts.get("", parts) if self.file.mixture is None else parts
        loader.write_run(self.folder / RUN, training={**own, "valid": valid, "state": loader.state_dict()})
        return open_run(self.folder)


def held_ids(store: TokenStore, most: int = LARGEST) -> Int64:
    """The ids among the first ``most`` tokens of ``store``, (n,), in their order."""
    blocks = range(0, min(store.num_tokens, most), _BLOCK)
    found = [np.unique(store.tokens(start, start + _BLOCK)) for start in blocks]
    return np.unique(np.concatenate(found)).astype(np.int64)


def open_run(path: str | Path) -> Run:
    """The run of the folder or file ``path``. Raises ``ResumeError`` when there is none."""
    file = read_run(path)
    try:
        own, windows = {**file.training}, next(one for one in file.members.values() if "store" in one)
        require_known(own, [*_OF_TRAINING, "valid", "state"], "training")
        require_shape({"state": own.pop("state", None)}, {"state?": dict}, "training")
        own.pop("valid", None)
        for name, table in _valid_of(file).items():
            require_store(table, f"training.valid{name and '.'}{name}")
        sizes = {"stride": windows["max_length"], **windows, **file.arguments}
        settings = Settings(**{name: sizes[name] for name in _OF_BATCHES if name in sizes}, **own)
    except (ValueError, TypeError) as error:
        raise ResumeError(f"{file.path} is no run of this windrow ({type(error).__name__}: {error}).") from error
    return Run(file.path.parent, file, settings)


def _valid_of(file: RunFile) -> dict[str, Any]:
    """The table of each valid part, by the name of the member."""
    given = file.training.get("valid") or {}
    require_shape(given, str if isinstance(given, str) else {}, "training.valid")
    named = {"": given} if file.mixture is None and given else given
    return {name: {"store": table} if isinstance(table, str) else table for name, table in named.items()}


def check_text(run: Run, text: Path) -> None:
    """Raise ``ResumeError`` unless ``text`` is the file that the run's own store was made of."""
    try:
        saved = read_sources(folder := run.train.path or Path(), read_manifest(folder))[0]["sha256"]
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
        raise PrepareError(
            f"the folder {folder} is not empty, and nothing is written over. Choose another folder with --out."
        )


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
    return run_of_store(data, folder, settings, valid_fraction=0.0)


def run_of_store(
    store: Path,
    folder: Path,
    settings: Settings,
    *,
    valid_fraction: float,
    kind: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """A run over a prepared store: ``DEST`` with its train and valid, or one store, cut at ``valid_fraction``.

    ``kind`` is what ``open_store`` is told of token files; ``more`` are further arguments of ``Loader``, which is
    endless unless they say otherwise.
    """
    train: dict[str, Any] = {"store": far_url(store) or str(store), **(kind or {})}
    valid: dict[str, Any] = {}
    if (store / "train" / MANIFEST).is_file():
        train["store"] = str(store / "train")
        if (store / "valid" / MANIFEST).is_file():
            valid, valid_fraction = {"store": str(store / "valid")}, 0.0
    if valid_fraction:
        train |= {"split": valid_fraction, "side": "train"}
        valid = {**train, "side": "valid"}
    windows: dict[str, Any] = {"max_length": settings.max_length, "policy": settings.policy}
    windows |= {"documents": settings.documents} if settings.policy != "bos" else {}
    windows |= {"stride": settings.resolved_stride} if settings.policy == "concat" else {}
    windows |= {
        name: value for name in ("phase", "tail") if (value := getattr(settings, name)) != getattr(RunSizes, name)
    }
    arguments = {name: getattr(settings, name) for name in ("batch_size", "seed", "shuffle_block")} | {"epochs": None}
    return Run(folder, RunFile(Path(RUN), {"": train | windows}, None, arguments | more, 1, {"valid": valid}), settings)


def run_of_file(path: Path, folder: Path, given: Mapping[str, Any]) -> Run:
    """A run in ``folder`` over the batches that the run file ``path`` says, with the settings that are ``given``."""
    run = open_run(path)
    file = run.file.changed({"epochs": None, "dtype": "int64", "outputs": ()})  # as the model needs them
    file = replace(file, training={"valid": run.file.training.get("valid")})
    return replace(run, folder=folder, file=file).changed(**given)


def how_to_go_on(out: Path) -> str:
    """The command that resumes the run in ``out``."""
    return f"windrow train --out {shlex.quote(str(out))} --resume"
