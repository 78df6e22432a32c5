"""What ``windrow train`` does: start a run or go on with one, train it, say what came of it.

Guarantee: nothing is written into a folder that holds something, except by ``resume``; a run that is stopped says how
to go on. Cost: that of the training. It does not do: parsing of flags (``main.py``), steps (``trainer.py``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windrow.audit.sizes import python_line, recipe_line
from windrow.cli.terminal import error_console, output_console, preparing_progress, say, training_progress
from windrow.shown import counted, pairs
from windrow.training.checkpoint import CHECKPOINT
from windrow.training.run import Run, Settings, check_text, how_to_go_on, open_run, run_of_store, run_of_text, start_run
from windrow.training.train_page import TRAIN_PAGE
from windrow.training.trainer import CURVE, LOG, Trainer, model_config, stop_asked, train

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["new_run", "outcome", "resumed", "train_on", "train_shown"]


def new_run(
    store: Path | None,
    text: Path | None,
    out: Path,
    settings: Settings,
    device: str,
    *,
    tokenizer: str,
    valid_fraction: float,
) -> Trainer:
    """The trainer of a new run over ``store`` or ``text`` in the folder ``out``, before its first step."""

    def build(folder: Path) -> Run:
        if store is not None:
            run = run_of_store(store, folder, settings, valid_fraction=valid_fraction)
        else:
            assert text is not None
            with preparing_progress() as on_report:
                options: dict[str, Any] = {"valid_fraction": valid_fraction, "tokenizer": tokenizer}
                run = run_of_text(text, folder, settings, on_report=on_report, **options)
        run.loader(device)
        model_config(run.settings, run.vocab_size)
        return run

    return Trainer(start_run(out, build), device)


def resumed(
    store: Path | None, text: Path | None, out: Path, given: Mapping[str, Any], device: str, *, valid_fraction: float
) -> Trainer:
    """The trainer of the run in ``out``, at its checkpoint; flags that were ``given`` replace the saved ones.

    ``epochs`` undoes ``steps``. A run that is complete stays as it is. Raises ``ResumeError`` when data or recipe are
    not those of the run.
    """
    run = open_run(out)
    before = run.settings
    run = replace(run, settings=replace(before, **({"steps": None, **given} if "epochs" in given else given)))
    if text is not None:
        check_text(run, text)
    if store is not None:
        other = run_of_store(store, out, run.settings, valid_fraction=valid_fraction)
        run = replace(run, train=other.train, valid=other.valid)
    trainer = Trainer(run, device)
    trainer.restore()
    changes = _changes(before, run.settings)
    if changes and trainer.step >= trainer.num_steps:
        say(f"not used, as no step is left to train: {changes}")
        return trainer
    if changes:
        say(f"from step {trainer.step}: {changes}")
    trainer.run = run.save(trainer.loader)
    return trainer


def _changes(before: Settings, now: Settings) -> str:
    """``lr 0.001 -> 0.5, eval_every 50 -> 10``; empty when all is as it was."""
    old, new = asdict(before), asdict(now)
    return ", ".join(f"{name} {_said(old[name])} -> {_said(new[name])}" for name in old if old[name] != new[name])


def _said(value: float | None) -> str:
    return "by epochs" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


def train_on(trainer: Trainer) -> bool:
    """Train to the end, with a progress bar, and say what came of it; False when Ctrl-C or SIGTERM stopped it."""
    _say_start(error_console(), trainer)
    if trainer.step >= trainer.num_steps:
        go_on = f"{how_to_go_on(trainer.run.folder)} --steps {2 * trainer.step}"
        say(f"the run is complete at step {trainer.step}. To go on: {go_on}")
        return True
    if is_done := train_shown(trainer):
        output_console().print(pairs([("steps", f"{len(trainer.log)}"), *outcome(trainer)]))
    return is_done


def train_shown(trainer: Trainer, is_over: Callable[[], bool] = lambda: False) -> bool:
    """Train with a progress bar, to the end or until ``is_over``; False, and how to go on, when a signal came first."""
    kept = "its checkpoint is saved"
    try:
        with stop_asked(trainer, say) as is_asked, training_progress(trainer.step, trainer.num_steps) as on_step:
            is_done = train(trainer, on_step=on_step, should_stop=lambda: is_asked() or is_over())
            if is_done or not is_asked():
                return True
    except KeyboardInterrupt:
        kept = "the last checkpoint, if there is one, stays"
    stopped = f"stopped after step {trainer.step} of {trainer.num_steps}; {kept}."
    say(f"{stopped} Go on with:\n  {how_to_go_on(trainer.run.folder)}")
    return False


def _say_start(console: "Console", trainer: Trainer) -> None:
    settings, loader = trainer.run.settings, trainer.loader
    recipe = recipe_line(json.loads(loader.recipe), loader.batch_size)
    console.print(f"recipe: {recipe}\nin Python: {python_line(loader, epochs=None)}", soft_wrap=True)
    console.print(
        f"{trainer.num_parameters / 1e6:.1f} million parameters, {trainer.num_steps} steps of {settings.batch_size} x "
        f"{settings.max_length} tokens, an epoch is {counted(len(loader), 'step')}"
        + (f"; going on from step {trainer.step}" if trainer.step else "")
    )


def outcome(trainer: Trainer) -> list[tuple[str, str]]:
    """What came of a run: its losses, and where its files are."""
    log, valid = trainer.log, [row["valid_loss"] for row in trainer.log if "valid_loss" in row]
    last = [row["loss"] for row in log[-max(1, len(log) // 10) :]]
    files = [("checkpoint", CHECKPOINT), ("losses", LOG), ("loss curve", CURVE), ("page", TRAIN_PAGE)]
    return [
        ("train loss", f"{log[0]['loss']:.4f} at the first step, {sum(last) / len(last):.4f} over the last tenth"),
        ("valid loss", f"{valid[0]:.4f} after the first step, {valid[-1]:.4f} at last" if valid else "not measured"),
        *[(label, str(trainer.run.folder / name)) for label, name in files],
    ]
