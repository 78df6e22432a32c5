"""What ``windrow train`` does: start a run or go on with one, train it, say what came of it.

Guarantee: nothing is written into a folder that holds something, except by ``resume``; a run that is stopped says how
to go on. Cost: that of the training. It does not do: parsing of flags (``main.py``), steps (``trainer.py``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from windrow.audit.sizes import recipe_line
from windrow.cli.choose import by_purpose
from windrow.cli.terminal import error_console, output_console, preparing_progress, say, training_progress
from windrow.errors import WindrowError
from windrow.shown import counted, pairs, visible
from windrow.training.checkpoint import CHECKPOINT
from windrow.training.ranks import Ranks
from windrow.training.run import (
    Run,
    Settings,
    check_text,
    how_to_go_on,
    open_run,
    run_of_file,
    run_of_store,
    run_of_text,
    start_run,
)
from windrow.training.sample import sample
from windrow.training.train_page import TRAIN_PAGE
from windrow.training.trainer import CURVE, LOG, Trainer, model_config, stop_asked, train

__all__ = ["new_run", "outcome", "resumed", "sampled", "train_on", "train_shown"]


def new_run(
    store: Path | None,
    text: Path | None,
    file: Path | None,
    out: Path,
    given: Mapping[str, Any],
    ranks: Ranks,
    **options: Any,
) -> Trainer:
    """The trainer of a new run in ``out``, before its first step, over a store, a text or the batches of a run file.

    ``given`` are settings, ``options`` those of ``run_of_text``.
    """
    kind, given = by_purpose(given)
    settings, kind = Settings(**given), _with_tokenizer(kind, options)

    def build(folder: Path) -> Run:
        if file is not None:
            run = run_of_file(file, folder, given)
        elif store is not None:
            run = run_of_store(store, folder, settings, valid_fraction=options["valid_fraction"], kind=kind)
        else:
            assert text is not None
            with preparing_progress() as on_report:
                run = run_of_text(text, folder, settings, on_report=on_report, **options)
        run.loader(**vars(ranks))
        model_config(run.settings, len(run.ids))
        return run

    if not ranks.dp_rank:
        start_run(out, build, **vars(ranks))
    ranks.total(0)  # the others wait for it
    return Trainer(open_run(out), ranks)


def _with_tokenizer(kind: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``open_store`` is told: of token files also the tokenizer."""
    return {**kind, **({"tokenizer": options["tokenizer"]} if {"dtype", "eos_id"} & {*kind} else {})}


def resumed(
    store: Path | None, text: Path | None, out: Path, given: Mapping[str, Any], ranks: Ranks, **options: Any
) -> Trainer:
    """The trainer of the run in ``out``, at its checkpoint; flags that were ``given`` replace the saved ones.

    ``options`` are those of ``new_run``.
    ``epochs`` undoes ``steps``. A run that is complete stays as it is. Raises ``ResumeError`` when data or recipe are
    not those of the run.
    """
    before, (kind, given) = (run := open_run(out)).settings, by_purpose(given)
    run = run.changed(**({"steps": None, **given} if "epochs" in given else given))
    if text is not None:
        check_text(run, text)
    if store is not None:
        kind = _with_tokenizer(kind, options)
        other = run_of_store(store, out, run.settings, valid_fraction=options["valid_fraction"], kind=kind)
        training = {**run.file.training, "valid": other.file.training["valid"]}
        run = replace(run, file=replace(other.file, training=training))
    trainer = Trainer(run, ranks)
    trainer.restore()
    changes, is_over = _changes(before, run.settings), trainer.step >= trainer.num_steps
    if changes:
        say(f"not used, as no step is left to train: {changes}" if is_over else f"from step {trainer.step}: {changes}")
    if not ((changes and is_over) or ranks.dp_rank):
        trainer.run = run.save(trainer.loader)
    return trainer


def _changes(before: Settings, now: Settings) -> str:
    """``lr 0.001 -> 0.5, eval_every 50 -> 10``; empty when all is as it was."""
    old, new = asdict(before), asdict(now)
    return ", ".join(f"{name} {_said(old[name])} -> {_said(new[name])}" for name in old if old[name] != new[name])


def _said(value: float | None) -> str:
    return "by epochs" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


def train_on(trainer: Trainer) -> None:
    """Train to the end, with a progress bar, and say what came of it; ``SystemExit`` when a signal stopped it."""
    _say_start(trainer)
    if trainer.step >= trainer.num_steps:
        go_on = f"{how_to_go_on(trainer.run.folder)} --steps {2 * trainer.step}"
        say(f"the run is complete at step {trainer.step}. To go on: {go_on}")
    elif train_shown(trainer):
        wrote = [] if trainer.ranks.dp_rank else [("sample", sampled(trainer))]
        output_console().print(pairs([("steps", f"{len(trainer.log)}"), *outcome(trainer), *wrote]))
    else:
        raise SystemExit(130)


def train_shown(trainer: Trainer, is_over: Callable[[], bool] = lambda: False) -> bool:
    """Train with a progress bar, to the end or until ``is_over``; False, and how to go on, when a signal came first."""
    kept = "its checkpoint is saved"
    try:
        with stop_asked(trainer, say) as is_asked, training_progress(trainer.step, trainer.num_steps) as on_step:
            if train(trainer, on_step=on_step, should_stop=lambda: is_asked() or is_over()) or not is_asked():
                return True
    except KeyboardInterrupt:
        kept = "the last checkpoint, if there is one, stays"
    stopped = f"stopped after step {trainer.step} of {trainer.num_steps}; {kept}."
    say(f"{stopped} Go on with:\n  {how_to_go_on(trainer.run.folder)}")
    return False


def _say_start(trainer: Trainer) -> None:
    console, loader = error_console(), trainer.loader
    going_on = f"; going on from step {trainer.step}" if trainer.step else ""
    step = f"{loader.sizes.global_batch} x {trainer.run.settings.max_length} tokens"
    recipe = visible(recipe_line(json.loads(loader.recipe), loader.batch_size))
    folder = str(trainer.run.folder)
    console.print(f"recipe: {recipe}\nin Python: windrow.open_run({folder!r})", soft_wrap=True)
    console.print(
        f"{trainer.num_parameters / 1e6:.1f} million parameters, {trainer.num_steps} steps of {step}, an epoch is "
        f"{counted(len(loader), 'step')}{going_on}"
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


def sampled(trainer: Trainer, prompt: str = "") -> str:
    """A few words that the model makes of ``prompt``, or why it makes none; blanks of all kinds are one."""
    try:
        return " ".join("".join(sample(trainer, prompt, length=60, temperature=0.5)).split())
    except WindrowError as error:  # the tokenizer is a file elsewhere: that is no reason for training to fail
        return f"none: {error}"
