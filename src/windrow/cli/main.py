"""The program ``windrow``: demo, prepare, info, copy, export, train, sample; and those of ``look.py`` and ``audit.py``.

Guarantee: exit code 0 for done, 1 for data that cannot be used (one message on stderr, no traceback), 2 for a command
that is written wrongly, 130 for Ctrl-C (with how to go on). Results go to stdout, messages and progress to stderr.
Cost: ``--help`` imports neither torch nor NumPy; what a command needs is imported when it runs. It does not do: any
work of its own; each command is a few calls of the library.
"""

import json
import os
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from windrow.cli import options as o
from windrow.cli.audit import bench, check, plan
from windrow.cli.choose import require_one
from windrow.cli.flags import DestLast
from windrow.cli.look import report, show, trace, when
from windrow.cli.terminal import command, output_console, plain_progress
from windrow.distribution import __version__, name_clash
from windrow.shown import visible

__all__ = ["app", "main"]

app: typer.Typer = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",  # else help has no panels
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; of the processes that torchrun starts, the first one speaks and fails for all."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal has every letter
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        app(prog_name="windrow")
    nowhere = None if os.environ["RANK"] == "0" else StringIO()
    with redirect_stdout(nowhere or sys.stdout), redirect_stderr(nowhere or sys.stderr):
        try:
            app(prog_name="windrow")
        except SystemExit as end:
            speaks = sys.stderr is not nowhere  # else torchrun would end the first one before it has spoken
            status = int(end.code or 0) if speaks else 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads that wait for the other processes would abort this one while Python takes it down


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"windrow {__version__}")
        if clash := name_clash():
            typer.echo(clash, err=True)
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _program(version: Version = False) -> None:
    """Raw text to the batches that train GPT-like models.

    Every batch is a pure function of (data, recipe, position).

    \b
    windrow demo                         all of it in two minutes
    windrow prepare book.txt corpus      text -> tokens -> a store
    windrow train corpus --out run       a small GPT, with exact resume
    windrow sample --run run             what it writes
    windrow show --run run --step 100    what step 100 trained on
    """


# -- commands ------------------------------------------------------------------------------------------------------


@app.command()
@command(interrupted="what was written stays; run the same command again.")
def demo(
    text: o.DemoText = None,
    out: o.Out = Path("windrow-demo"),
    seconds: o.Seconds = 120,
    steps: o.DemoSteps = None,
) -> None:
    """See all of it work, from a text to a small GPT.

    \b
    windrow demo
    windrow demo --text story.txt --seconds 60
    """
    from windrow.cli.demo import run_demo

    if not run_demo(text=text, out=out, seconds=seconds, steps=steps):
        raise SystemExit(130)


@app.command(cls=DestLast)
@command(interrupted="no store was finished; what is done is kept: run the same command again to go on.")
def prepare(
    inputs: o.Inputs,
    dest: o.Dest,
    tokenizer: o.TokenizerName = "gpt2",
    valid_fraction: o.ValidFraction = 0.0,
    split: o.Split = "documents",
    form: o.GivenForm = None,
    text_key: o.TextKey = None,
    parts_key: o.PartsKey = None,
    ids_key: o.IdsKey = None,
    mask_key: o.MaskKey = None,
    separator: o.Separator = None,
    literal_eos: o.LiteralEos = "text",
    boundary: o.GivenBoundary = None,
    keep: o.Keep = "",
    dedupe: o.Dedupe = False,
    on_error: o.OnError = "raise",
    workers: o.Workers = None,
    memory: o.Memory = None,
    engine: o.Engine = "local",
    part: o.Part = None,
    finish: o.Finish = False,
    dry_run: o.DryRun = False,
    as_json: o.AsJson = False,
) -> None:
    """Turn text into a store of tokens.

    \b
    windrow prepare texts/ corpus --valid-fraction 0.01
    windrow prepare book.txt corpus --valid-fraction 0.1 --split tail
    windrow prepare 'web/*.jsonl.zst' corpus --text-key content --dedupe
    windrow prepare texts/ corpus --dry-run
    """
    from windrow.cli.prepare import run_dry, run_prepare
    from windrow.text.reading import Reading

    if dry_run and (part or finish):
        raise typer.BadParameter("--part and --finish do work, and --dry-run does nothing: give one of them")
    if memory is not None and not 0 < memory < 1e9:
        raise typer.BadParameter(f"--memory is {memory}, and it is a number of GB above 0")
    nbytes = None if memory is None else int(memory * 1e9)
    keys = (keep.split(",") if keep else (), parts_key, ids_key, mask_key)
    reading = Reading(text_key, separator, literal_eos, on_error, form, *keys, boundary=boundary)
    made: dict[str, Any] = {"valid_fraction": valid_fraction, "split": split, "dedupe": dedupe, **asdict(reading)}
    shared: dict[str, Any] = {"tokenizer": tokenizer, "workers": workers, "memory": nbytes, "as_json": as_json}
    if dry_run:
        run_dry(inputs, reading=reading, **shared)
    else:
        run_prepare(inputs, dest, engine=engine, part=part, finish=finish, **made, **shared)


@app.command()
@command(interrupted="nothing was changed.")
def info(store: o.Store, as_json: o.AsJson = False, **given: Unpack[o.TokenFiles]) -> None:
    """Say what a store holds, or what token files are.

    \b
    windrow info corpus
    windrow info corpus/train --json
    windrow info train.bin --dtype uint16 --tokenizer gpt2
    """
    from windrow.look.info import print_stores, print_summary, store_facts, store_summary
    from windrow.store.opening import open_splits

    stores = open_splits(store, **given)
    facts = {name: store_facts(opened) | store_summary(opened) for name, opened in stores.items()}
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    print_stores(output_console(), facts)
    for name, summary in facts.items():
        print_summary(output_console(), name, summary)


@app.command()
@command(interrupted="what was copied stays; run the same command again to go on.")
def copy(source: o.CopyFrom, dest: o.CopyTo) -> None:
    """Copy stores to S3, Google Cloud or Azure, and back.

    \b
    windrow copy corpus s3://bucket/corpus
    windrow copy s3://bucket/corpus/train corpus/train
    """
    from windrow.store.copying import copy_store

    done, begun = 0, time.perf_counter()
    with plain_progress() as show:

        def on_copied(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            show(f"copying: {done / 1e6:,.1f} MB", done)

        stores = copy_store(source, dest, on_copied=on_copied)
    typer.echo("\n".join(map(visible, stores)))
    seconds = time.perf_counter() - begun
    typer.echo(f"{done / 1e6:,.1f} MB are there and have their sums, after {seconds:,.1f} s", err=True)


@app.command()
@command(interrupted="nothing was written.")
def export(store: o.Store, out: o.ExportOut, to: o.ExportTo, **given: Unpack[o.TokenFiles]) -> None:
    """Write a store as token files for other tools.

    \b
    windrow export corpus/train corpus_text_document --format megatron
    windrow export 'fineweb_train_*.bin' 00000_unshuffled --format datatrove
    """
    from windrow.store.export import export_store
    from windrow.store.opening import open_store

    paths = export_store(open_store(store, **given), out, to)
    typer.echo("\n".join(visible(str(path)) for path in paths))
    for what in json.loads(paths[0].read_bytes())["lost"]:
        typer.echo(f"{to} has no place for the store's {what}: they are not there", err=True)


for _body in (show, when, trace, report, plan, check, bench):
    app.command()(_body)


@app.command()
@command(interrupted="before the first step; nothing was written. Run the same command again.")
def train(
    store: o.OptionalStore = None,
    text: o.TrainText = None,
    run: o.TrainRun = None,
    out: o.Out = Path("windrow-run"),
    resume: o.Resume = False,
    device: o.Device = "cpu",
    tokenizer: o.TokenizerName = "gpt2",
    valid_fraction: o.TrainValidFraction = 0.1,
    **flags: Unpack[o.Training],
) -> None:
    """Train a small GPT on a text or a store.

    \b
    windrow train --text story.txt --max-length 256 --stride 64 --batch-size 2
    windrow train corpus --out run --epochs 3
    windrow train --out run --resume
    windrow train --run mixture.toml --out run
    torchrun --nproc-per-node 4 -m windrow train corpus --out run --device auto
    """
    if "steps" in flags and "epochs" in flags:
        raise typer.BadParameter("give --steps or --epochs, not both")
    sources = [each for each in (store, text, run) if each is not None]
    if len(sources) > 1 or (not sources and not resume) or (run and resume):
        raise typer.BadParameter("give either STORE, --text FILE, or --run PATH of a run that starts anew")
    if run:
        require_one(None, run, {name: ... for name in [*o.Sizes.__annotations__, "policy"] if name in flags})
    from windrow.cli.train import new_run, resumed, train_on
    from windrow.training.ranks import joined

    with joined(device) as ranks:
        options: dict[str, Any] = {"tokenizer": tokenizer, "valid_fraction": valid_fraction}
        if resume:
            trainer = resumed(store, text, out, flags, ranks, **options)
        else:
            trainer = new_run(store, text, run, out, flags, ranks, **options)
        train_on(trainer)


@app.command()
@command(interrupted="nothing was changed.")
def sample(run: o.TrainedRun = None, **drawing: Unpack[o.Drawing]) -> None:
    """Write text with a trained model.

    \b
    windrow sample --run run --prompt "The hay was"
    windrow sample --run run --temperature 0.4 --length 300 --seed 7 > sample.txt
    """
    from windrow.training import sample as writing

    usual = [Path("windrow-run"), Path("windrow-demo")]
    for text in writing.sample(writing.trained(run or next(filter(Path.exists, usual), usual[0])), **drawing):
        typer.echo(visible(text, keep="\n\t"), nl=False)  # which flushes
    typer.echo()
