"""``windrow demo``: the whole path on real text, told stage by stage, in about two minutes.

Guarantee: everything shown is computed on the spot: the batches after the resume are compared by sha256 with those of a
second loader that was never stopped. Nothing is written over: a folder that is in use gets a neighbour. With ``steps``
given, the same machine gives the same losses every time. Cost: about 100 MB on disk, nearly all of it the checkpoint.
It does not do: anything that ``windrow train`` could not; it is that, with a story.
"""

import math
import os
import shlex
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from windrow.batches.batch import Batch
from windrow.cli.story import Story, tell_files, tell_proof, tell_text, tell_tour
from windrow.cli.terminal import error_console, training_progress
from windrow.errors import NotEnoughTokensError, ResumeError
from windrow.preparing.prepare import prepare
from windrow.shown import visible
from windrow.text.demo import demo_documents
from windrow.training.run import Run, Settings, StorePart, how_to_go_on, run_of_text, start_run
from windrow.training.trainer import CHECKPOINT, CURVE, LOG, Trainer, sigint_as_flag, train

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run_demo"]

_TOKENS_A_STEP = 1024
_FEWEST_TOKENS = 32
_LR = 3e-3
_MOST_STEPS, _FEWEST_STEPS = 400, 20
_EVAL_BATCHES, _NUM_EVALS = 6, 8
_SAMPLE_TOKENS = 48
_SECONDS_AFTER = 6.0  # checkpoints and samples


def run_demo(console: "Console", *, text: Path | None, out: Path, seconds: float, steps: int | None) -> bool:
    """Tell the story on ``console``; False when Ctrl-C stopped the training."""
    started = time.perf_counter()
    torch.set_num_threads(min(torch.get_num_threads(), _processors()))
    folder = _free_folder(out)
    run = start_run(folder, lambda temporary: _run_over(text, temporary))
    story = Story(console)
    if folder != out:
        story.say(f"{visible(str(out))} is in use, so everything goes to {visible(str(folder))}\n")
    tell_text(story, run, text)
    tell_tour(story, run)
    deadline = None if steps else started + seconds
    num_steps = steps or _steps_that_fit(run, seconds - (time.perf_counter() - started))
    run = replace(run, settings=_paced(run.settings, num_steps))
    run = run.save(run.loader())
    trained = _train_in_two_halves(story, run, _prompt(run, text), deadline)
    if trained is None:
        return False
    _prove(story, run, trained)
    story.tell("A sample", *zip(("prompt", "untrained", "trained"), trained.texts, strict=True))
    tell_files(story, run, _results(trained, time.perf_counter() - started), _next(trained.trainer.run))
    return True


# -- text, tokens, windows, a batch --------------------------------------------------------------------------------


def _run_over(text: Path | None, folder: Path) -> Run:
    """The run over the user's file, or over the topics of Python's reference, whole topics to train or valid."""
    settings = Settings(lr=_LR, eval_batches=_EVAL_BATCHES)
    if text is not None:
        run = run_of_text(text, folder, settings, valid_fraction=0.1)
    else:
        prepare(iter(demo_documents()), folder / "data", valid_fraction=0.1)
        run = Run(folder, StorePart(folder / "data" / "train"), StorePart(folder / "data" / "valid"), settings)
    return replace(run, settings=_fitting(settings, run.train.open().num_tokens))


def _fitting(settings: Settings, num_tokens: int) -> Settings:
    """Windows that a short text holds several of; about 1024 tokens a step."""
    if num_tokens < _FEWEST_TOKENS:
        raise NotEnoughTokensError(
            f"the text has {num_tokens} tokens to train on, and the demo needs {_FEWEST_TOKENS} to show anything. Give "
            "a longer file: a page of text is about 500 tokens."
        )
    max_length = settings.max_length
    while max_length > num_tokens // 4:
        max_length //= 2
    settings = replace(settings, max_length=max_length, stride=max_length // 2)
    return replace(settings, batch_size=min(_TOKENS_A_STEP // max_length, _num_windows(settings, num_tokens)))


def _num_windows(settings: Settings, num_tokens: int) -> int:
    return (num_tokens - settings.max_length - 1) // settings.resolved_stride + 1


def _free_folder(out: Path) -> Path:
    """``out``, or the first of ``out-2``, ``out-3``, ... that is not there or empty."""
    number, folder = 1, out
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    return folder


# -- training, with a resume in the middle -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trained:
    """The trainer at its end, the step of the resume, the sha256 of each batch that was trained on, and the samples:
    prompt, text before training, text after.
    """

    trainer: Trainer
    resumed_at: int
    digests: dict[int, str]
    texts: tuple[str, str, str]


def _steps_that_fit(run: Run, seconds: float) -> int:
    """How many steps ``seconds`` hold, by trying a few on a model that is thrown away."""
    trainer, start = Trainer(run), time.perf_counter()
    trainer.take_step()  # slower than the others, and measures the valid loss
    tried = time.perf_counter()
    for _ in range(3):
        trainer.take_step()
    seconds_a_step = (time.perf_counter() - tried) / 3
    seconds_measuring = 0.0
    if trainer.valid:
        tried = time.perf_counter()
        trainer.evaluate()
        seconds_measuring = (_NUM_EVALS + 1) * (time.perf_counter() - tried)
    left = seconds - (time.perf_counter() - start) - seconds_measuring - _SECONDS_AFTER
    return min(max(int(0.9 * left / seconds_a_step), _FEWEST_STEPS), _MOST_STEPS)


def _paced(settings: Settings, num_steps: int) -> Settings:
    every = max(2, -(-num_steps // _NUM_EVALS))
    return replace(settings, steps=num_steps, eval_every=every, checkpoint_every=num_steps)


def _train_in_two_halves(story: Story, run: Run, prompt: str, deadline: float | None) -> _Trained | None:
    """Train, and halfway lose everything but the checkpoint; None when Ctrl-C stopped it."""
    trainer = Trainer(run)
    digests: dict[int, str] = {}
    half = trainer.num_steps // 2
    _tell_training(story, trainer)
    before, started = _sample(trainer, prompt), time.perf_counter()
    if not _train_until(story, trainer, half, digests):
        return None
    del trainer
    story.say(f"After step {half}: model and loader are thrown away, and both rebuilt from {CHECKPOINT}.")
    trainer = Trainer(run)
    trainer.restore()
    if deadline:
        _shorten(story, trainer, (time.perf_counter() - started) / half, deadline)
    if not _train_until(story, trainer, trainer.num_steps, digests):
        return None
    return _Trained(trainer, half, digests, (prompt, before, _sample(trainer, prompt)))


def _shorten(story: Story, trainer: Trainer, seconds_a_step: float, deadline: float) -> None:
    """Fewer steps than planned, where the first half took longer than measured: other programs run too."""
    left = int((deadline - _SECONDS_AFTER - time.perf_counter()) / seconds_a_step)
    num_steps = trainer.step + max(left, _FEWEST_STEPS // 2)
    if num_steps < 0.95 * trainer.num_steps:
        story.say(f"The machine is slower than it was measured: {num_steps} steps in all, not {trainer.num_steps}.")
        trainer.num_steps = num_steps
        trainer.run = replace(trainer.run, settings=replace(trainer.run.settings, steps=num_steps))
        trainer.run.save(trainer.loader)


def _tell_training(story: Story, trainer: Trainer) -> None:
    settings, vocab_size = trainer.run.settings, trainer.config.vocab_size
    sizes = f"{settings.num_layers} blocks, width {settings.width}"
    threads = torch.get_num_threads()
    story.tell(
        "Training",
        ("model", f"a GPT of {trainer.num_parameters / 1e6:.1f} million parameters: {sizes}"),
        ("steps", f"{trainer.num_steps} on the CPU (threads: {threads}), AdamW, learning rate up to {settings.lr:g}"),
        ("loss", f"nats a token; guessing evenly among {vocab_size:,} ids gives {math.log(vocab_size):.2f}"),
    )


def _train_until(story: Story, trainer: Trainer, stop: int, digests: dict[int, str]) -> bool:
    """Train up to step ``stop``, noting each batch's sha256; False when Ctrl-C came first."""
    trainer.on_batch = lambda step, batch: digests.update({step: _digest(batch)})
    with sigint_as_flag() as is_interrupted, training_progress(trainer.step, trainer.num_steps) as on_step:
        train(trainer, on_step=on_step, should_stop=lambda: is_interrupted() or trainer.step >= stop)
        interrupted = is_interrupted()
    if interrupted:
        go_on = visible(how_to_go_on(trainer.run.folder))
        error_console().print(f"stopped after step {trainer.step}; its checkpoint is saved. Go on with:\n  {go_on}")
    return not interrupted


def _digest(batch: Batch) -> str:
    inputs, targets = batch
    return sha256(inputs.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()


def _prove(story: Story, run: Run, trained: _Trained) -> None:
    """Compare with a loader that runs from step 0 without a stop. Raises ``ResumeError`` when a batch differs."""
    batches = iter(run.loader("cpu"))
    untouched = {step: _digest(next(batches)) for step in range(trained.trainer.num_steps)}
    resumed = {step: digest for step, digest in trained.digests.items() if step >= trained.resumed_at}
    if not tell_proof(story, run, trained.resumed_at, resumed, untouched):
        raise ResumeError("batches after the resume differ from those of a loader that was never stopped: a defect.")


# -- what came of it -----------------------------------------------------------------------------------------------


def _prompt(run: Run, text: Path | None) -> str:
    """What the model goes on from: the first words of the user's text, or a beginning that fits Python's reference."""
    return run.train.open().decode(0, 6) if text else "The value of the"


def _sample(trainer: Trainer, prompt: str) -> str:
    """What the model makes of ``prompt``."""
    tokenizer = trainer.run.train.open().tokenizer
    ids = torch.tensor([tokenizer.encode(prompt)])  # (1, number of the prompt's tokens)
    generator = torch.Generator().manual_seed(trainer.run.settings.seed)  # its own, so that training is the same
    made = trainer.model.generate(ids, _SAMPLE_TOKENS, temperature=0.8, top_k=50, generator=generator)
    return tokenizer.decode(made[0, ids.shape[1] :].tolist())


def _results(trained: _Trained, seconds: float) -> list[tuple[str, str]]:
    log, folder = trained.trainer.log, trained.trainer.run.folder
    valid = [row["valid_loss"] for row in log if "valid_loss" in row]
    rate = sorted(row["tokens_per_second"] for row in log)[len(log) // 2]
    last = [row["loss"] for row in log[-max(1, len(log) // 10) :]]
    return [
        ("train loss", f"{log[0]['loss']:.2f} at the first step, {sum(last) / len(last):.2f} over the last tenth"),
        ("valid loss", f"{valid[0]:.2f} after the first step, {valid[-1]:.2f} at the end" if valid else "not measured"),
        ("time", f"{seconds:.0f} s in all, {rate:,.0f} tokens/s in training"),
        ("loss curve", str(folder / CURVE)),
        ("losses", str(folder / LOG)),
        ("checkpoint", str(folder / CHECKPOINT)),
        ("store", str(trained.trainer.run.train.path.parent)),
    ]


def _next(run: Run) -> list[str]:
    folder, steps = shlex.quote(str(run.folder)), run.settings.steps or 0
    return [
        f"windrow show --run {folder} --step {steps // 2} --row 0",
        f"{how_to_go_on(run.folder)} --steps {2 * steps}",
        "windrow demo --text YOUR_FILE.txt",
    ]


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
