"""``windrow demo``: the whole path on real text, told stage by stage, in about two minutes.

Guarantee: everything shown is computed on the spot: the batches after the resume are compared by sha256 with those of a
second loader that was never stopped. It keeps to its ``seconds`` by the clock, with smaller steps and fewer. Nothing is
written over: a folder that is in use gets a neighbour. With ``steps`` given, the same machine gives the same losses
every time. Text is printed through ``visible``. Cost: about 10 MB on disk. It does
not do: anything that ``windrow train`` could not; it is that, with a story.
"""

import math
import shlex
import time
from dataclasses import replace
from hashlib import sha256
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from windrow.batches.batch import Batch
from windrow.cli.terminal import output_console
from windrow.cli.train import outcome, sampled, train_shown
from windrow.errors import NotEnoughTokensError, ResumeError
from windrow.look import tour
from windrow.look.trace import station_parts
from windrow.preparing.prepare import prepare
from windrow.runs.run_file import RUN
from windrow.shown import counted, pairs, table, visible
from windrow.text.demo import demo_documents
from windrow.training.checkpoint import CHECKPOINT
from windrow.training.run import Run, Settings, how_to_go_on, run_of_store, run_of_text, start_run
from windrow.training.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Story", "run_demo"]

_WIDEST = 100  # columns
_LENGTH, _TOKENS_A_STEP = 64, 256
_FEWEST_TOKENS = 32
_NUM_TOPICS = 56  # of 76: two minutes teach more of less
_LR = 5e-3
_MOST_STEPS, _WORTH_HAVING, _FEWEST_STEPS = 3000, 20, 2
_EVAL_BATCHES, _NUM_EVALS = 6, 8
_SECONDS_AFTER = 3.0  # checkpoints and samples


class Story:
    """Numbered panels on standard output, on any terminal."""

    def __init__(self) -> None:
        self.console: Console = output_console()
        self._numbers = count(1)
        self.console.width = min(self.console.width, _WIDEST)

    def tell(self, title: str, *parts: "RenderableType") -> None:
        """A panel with ``parts`` below each other; ``title`` is our own words, never text from a file."""
        from rich.console import Group
        from rich.panel import Panel

        head = f"[bold]{next(self._numbers)}  {title}[/bold]"
        self.console.print(Panel(Group(*parts), title=head, title_align="left", padding=(0, 1)))


def run_demo(*, text: Path | None, out: Path, seconds: float, steps: int | None) -> bool:
    """Tell the story; False when Ctrl-C stopped the training."""
    started, story, folder = time.perf_counter(), Story(), _free_folder(out)
    torch.set_num_threads(1)  # steps are small, and on busy cores threads wait for each other
    run = start_run(folder, lambda temporary: _run_over(text, temporary))
    if folder != out:
        story.console.print(f"{visible(str(out))} is in use, so everything goes to {visible(str(folder))}\n")
    _tell_text(story, run, text)
    _tell_tour(story, run)
    run = _paced(run, steps) if steps else _that_fits(run, started + seconds)
    prompt = "" if text else "The value of the"  # a beginning that fits the reference
    untrained = sampled(Trainer(run), prompt)
    trained = _train_in_two_halves(story, run, None if steps else started + seconds)
    if trained is None:
        return False
    trainer, digests = trained
    _prove(story, run, digests)
    story.tell("A sample", pairs([("untrained", untrained), ("trained", sampled(trainer, prompt))]))
    _tell_result(story, trainer, time.perf_counter() - started)
    return True


# -- text, tokens, windows, a batch --------------------------------------------------------------------------------


def _free_folder(out: Path) -> Path:
    """``out``, or the first of ``out-2``, ``out-3``, ... that is not there or empty."""
    folders = chain([out], (out.with_name(f"{out.name}-{number}") for number in count(2)))
    return next(path for path in folders if not path.exists() or (path.is_dir() and not any(path.iterdir())))


def _run_over(text: Path | None, folder: Path) -> Run:
    """The run over the user's file, or over topics of Python's reference, whole topics to train or valid."""
    settings = Settings(_LENGTH, lr=_LR, num_layers=1, vocabulary="text", eval_batches=_EVAL_BATCHES)
    if text is not None:
        run = run_of_text(text, folder, settings, valid_fraction=0.1)
    else:
        documents = (topic.replace("\n\n", " ") for topic in demo_documents()[:_NUM_TOPICS])
        prepare(documents, folder / "data", valid_fraction=0.1)
        run = run_of_store(folder / "data", folder, settings, valid_fraction=0.1)
    return run.changed(**vars(_fitting(settings, run.train.num_tokens)))


def _fitting(settings: Settings, num_tokens: int) -> Settings:
    """Windows that a short text holds several of; about 256 tokens a step."""
    if num_tokens < _FEWEST_TOKENS:
        raise NotEnoughTokensError(
            f"the text has {num_tokens} tokens to train on, and the demo needs {_FEWEST_TOKENS} to show anything. Give "
            "a longer file: a page of text is about 500 tokens."
        )
    length = settings.max_length
    while length > num_tokens // 4:
        length //= 2
    num_windows = (num_tokens - length - 1) // (length // 2) + 1
    batch_size = min(_TOKENS_A_STEP // length, num_windows)
    return replace(settings, max_length=length, stride=length // 2, batch_size=batch_size)


def _tell_text(story: Story, run: Run, text: Path | None) -> None:
    """What is read, and how it is split."""
    train = run.train
    if text:
        name, split = str(text), "the last tenth of its tokens is kept for valid, the rest is train"
    else:
        name = "the language reference that comes with Python (pydoc_data.topics)"
        num_train, num_valid = train.num_documents, sum(valid.num_documents for valid in run.valid.values())
        split = f"{num_train + num_valid} documents: {num_train} train, {num_valid} valid, by a hash"
    start = visible(" ".join(train.decode(0, 60).split()))
    story.tell("Text", pairs([("from", name), ("split", split), ("begins", f"{start[:120]} ...")]))


def _tell_tour(story: Story, run: Run) -> None:
    """From tokens to the first batch: stations of the tour, with what only this run has to say."""
    store, settings, loader = run.train, run.settings, run.loader()
    length, tokenizer = settings.max_length, store.tokenizer
    valid = "".join(f", valid {valid.num_tokens:,}" for valid in run.valid.values())
    made = [
        ("made by", f"GPT-2's tokenizer; {store.eos_id} ends each document"),
        ("known", f"{len(run.ids):,} tokens, those that the text holds: the model learns no others"),
        ("split", f"train {store.num_tokens:,}{valid}"),
        ("where", f"{run.folder / 'data'}, memory-mapped"),
    ]
    short = [("length", f"{length} inputs (not {_LENGTH}: the text is short)")] if length < _LENGTH else []
    for station in (
        tour.tokens(store, tokenizer).also(*made),
        tour.windows(store.num_tokens, settings, store, tokenizer).also(*short),
        tour.order(loader),
        tour.batch(loader, tokenizer),
    ):
        story.tell(station.title, *station_parts(station, story.console.width - 4))


# -- training, with a resume in the middle -------------------------------------------------------------------------


def _that_fits(run: Run, deadline: float) -> Run:
    """``run`` with the steps that end before ``deadline``, smaller ones if they were too few; by trying some."""
    trainer, batch_size = Trainer(replace(run, file=replace(run.file, training={}))), run.settings.batch_size
    trainer.take_step()  # slower than the others
    started = now = time.perf_counter()
    while trainer.step == 1 or now - started < (deadline - started) / 40:
        trainer.take_step()
        now = time.perf_counter()
    in_all = (deadline - now - _SECONDS_AFTER) / max(now - started, 1e-9) * (trainer.step - 1)
    measure = _EVAL_BATCHES / 2  # in steps: a valid batch is only looked at
    while in_all < _WORTH_HAVING + (_NUM_EVALS + 1) * measure and batch_size > 1:
        batch_size, in_all = batch_size // 2, in_all * 2
    few = (in_all - measure) / (1 + measure / 2)  # every other one is measured then
    num_steps = int(min(max(in_all - (_NUM_EVALS + 1) * measure, few, _FEWEST_STEPS), _MOST_STEPS))
    return _paced(run.changed(batch_size=batch_size), num_steps)


def _paced(run: Run, num_steps: int) -> Run:
    """``run`` with so many steps, and with valid losses in even distances; its ``run.json`` says so."""
    every = max(2, math.ceil(num_steps / _NUM_EVALS))
    return run.changed(steps=num_steps, eval_every=every, checkpoint_every=num_steps).save(run.loader())


def _train_in_two_halves(story: Story, run: Run, deadline: float | None) -> tuple[Trainer, dict[int, str]] | None:
    """Train, and halfway lose everything but the checkpoint; None when Ctrl-C stopped it.

    Returns the trainer at its end, and the sha256 of each batch since the resume, by step.
    """
    trainer = Trainer(run)
    _tell_training(story, trainer)
    end = deadline and deadline - _SECONDS_AFTER
    if not _train_until(trainer, trainer.num_steps // 2, end and (time.perf_counter() + end) / 2):
        return None
    half = trainer.step
    story.console.print(f"After step {half}: model and loader are thrown away, and both rebuilt from {CHECKPOINT}.")
    trainer = Trainer(run)
    trainer.restore()
    digests, planned = dict[int, str](), trainer.num_steps
    trainer.on_batch = lambda step, batch: digests.update({step: _digest(batch)})
    is_done = _train_until(trainer, planned, end)
    if trainer.num_steps < planned:  # other programs run too
        story.console.print(f"The machine was slower than measured: {trainer.num_steps} steps in all, not {planned}.")
        trainer.run = run.changed(steps=trainer.num_steps).save(trainer.loader)
    return (trainer, digests) if is_done else None


def _tell_training(story: Story, trainer: Trainer) -> None:
    settings, vocab_size = trainer.run.settings, trainer.config.vocab_size
    sizes = f"{counted(settings.num_layers, 'block')}, width {settings.width}"
    usual = _fitting(settings, trainer.run.train.num_tokens).batch_size
    smaller = f" (not {usual}: they would be too few in the time)" if settings.batch_size < usual else ""
    batch = f"{settings.batch_size} x {settings.max_length} tokens{smaller}"
    steps = f"{trainer.num_steps} of {batch} on one thread of the CPU, AdamW"
    facts = [
        ("model", f"a GPT of {trainer.num_parameters / 1e6:.1f} million parameters: {sizes}"),
        ("steps", f"{steps}, learning rate up to {settings.lr:g}"),
        ("loss", f"nats a token; guessing evenly among {vocab_size:,} ids gives {math.log(vocab_size):.2f}"),
    ]
    story.tell("Training", pairs(facts))


def _train_until(trainer: Trainer, stop: int, deadline: float | None = None) -> bool:
    """Train up to step ``stop``, or as far as the clock allows, a step at least; False when Ctrl-C came first."""
    first, started, planned, ends = trainer.step, time.perf_counter(), stop, stop == trainer.num_steps

    def is_over() -> bool:
        nonlocal stop
        if deadline and (done := trainer.step - first):
            now = time.perf_counter()
            left = int((deadline - now) * done / max(now - started, 1e-9)) - 1  # in steps; a measure is about one
            to_measure = trainer.step < stop and "valid_loss" not in trainer.log[-1]
            stop = min(planned, trainer.step + max(left, to_measure))
            trainer.num_steps = stop if ends else trainer.num_steps
        return trainer.step >= stop

    return train_shown(trainer, is_over)


def _digest(batch: Batch) -> str:
    inputs, targets = batch
    return sha256(inputs.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()


def _prove(story: Story, run: Run, resumed: dict[int, str]) -> None:
    """Batches after the resume beside those of a loader that runs from step 0 without a stop, by sha256.

    Raises ``ResumeError`` when one differs.
    """
    loader, steps = run.loader("cpu"), sorted(resumed)
    untouched = [_digest(batch) for batch in islice(loader, steps[-1] + 1)]
    num_same = sum(resumed[step] == untouched[step] for step in steps)
    rows = []
    for step in [*steps[:3], *steps[3:][-1:]]:
        windows = " ".join(str(sample.window) for sample in loader.lookup(step)[:4])
        verdict = "same" if resumed[step] == untouched[step] else "DIFFERENT"
        rows.append([str(step), windows, untouched[step][:16], resumed[step][:16], verdict])
    story.tell(
        "Resume",
        f"After {steps[0]} steps model and loader were thrown away and rebuilt from the checkpoint. A second loader "
        "was never stopped. sha256 of the batches that each gave:",
        table(["step", "windows", "never stopped", "resumed", ""], rows, left=range(5)),
        f"{num_same} of {len(steps)} batches after the resume are the same, byte for byte.",
    )
    if num_same < len(steps):
        raise ResumeError("batches after the resume differ from those of a loader that was never stopped: a defect.")


# -- what came of it -----------------------------------------------------------------------------------------------


def _tell_result(story: Story, trainer: Trainer, seconds: float) -> None:
    """How it ended, where everything is, and what to try next."""
    log, run = trainer.log, trainer.run
    rate = sorted(row["tokens_per_second"] for row in log)[len(log) // 2]
    facts = [
        *outcome(trainer),
        ("time", f"{seconds:.0f} s in all, {rate:,.0f} tokens/s in training"),
        ("store", str(run.folder / "data")),
        ("recipe", str(run.folder / RUN)),
    ]
    commands = [
        f"windrow sample --run {shlex.quote(str(run.folder))} --seed 1",
        f"windrow show --run {shlex.quote(str(run.folder))} --step {len(log) // 2} --row 0",
        f"{how_to_go_on(run.folder)} --steps {2 * len(log)}",
        "windrow demo --text YOUR_FILE.txt",
    ]
    story.tell("Result", pairs(facts), "", "next:", *[f"  {visible(command)}" for command in commands])
