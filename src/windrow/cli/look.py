"""The commands that look: show, when, trace, report.

Guarantee: nothing is written but the page that ``report`` is asked for. Cost: importing it imports typer only. It does
not do: any work of its own; each command is a few calls of the library.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer
from typer import Argument

from windrow.cli import options as o
from windrow.cli.choose import choose
from windrow.cli.terminal import command, output_console, plain_progress
from windrow.shown import visible

__all__ = ["report", "show", "trace", "when"]

Raw = Annotated[bool, o.output("Print only the text of the rows.", flag="--raw")]
Document = Annotated[int | None, o.inputs("Number of the document, from 0.", "NUMBER")]
Source = Annotated[str | None, o.inputs("Document at this line of a source.", "FILE:LINE")]
Phrase = Annotated[str | None, o.inputs("Phrase to find in the text.", "PHRASE", flag="--text")]
Most = Annotated[int, o.output("Rows to print; 0 prints all.", "ROWS", min=0)]
TraceFile = Annotated[Path | None, Argument(metavar="FILE", help="A text file.")]
NumTokens = Annotated[
    int | None, o.inputs("Show only the arithmetic, for this many tokens.", "TOKENS", "those of FILE", min=1)
]
TraceLength = Annotated[int, o.batches("Number of inputs in a window.", "TOKENS", min=1)]
TraceStride = Annotated[int | None, o.batches("Tokens from one start to the next.", "TOKENS", "max-length", min=1)]
TraceBatch = Annotated[int, o.batches("Number of windows in a batch.", "SAMPLES", min=1)]
TraceSeed = Annotated[int, o.batches("Seed of the shuffle.", "NUMBER")]
Textbook = Annotated[bool, o.batches("Draw as a book's DataLoader does, with torch's sampler.", flag="--textbook")]
ReportOut = Annotated[Path, o.output("Page to write.", "FILE")]


@command(interrupted="nothing was changed.")
def show(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    state: o.State = None,
    step: o.Step = 0,
    dp_rank: o.DpRank = 0,
    dp_world_size: o.DpWorldSize = None,
    row: o.Row = None,
    places: o.Places = 12,
    tokenizer: o.ShowTokenizer = None,
    raw: Raw = False,
    as_json: o.AsJson = False,
    **sizes: Unpack[o.Sizes],
) -> None:
    """Print a batch: each token, its target, its document, its source.

    \b
    windrow show corpus --step 100 --row 0
    windrow show --run windrow-run --step 100
    windrow show --run run.json --state checkpoint.pt --step 100 --dp-rank 3
    """
    from windrow.look.explain import row_facts, rows_of
    from windrow.look.show import print_batch, print_raw

    ranks: dict[str, Any] = {"dp_rank": dp_rank, "dp_world_size": dp_world_size}
    chosen = choose(store, run, sizes, state=state, tokenizer=tokenizer, **ranks)
    decoders = {name: member.store.tokenizer for name, member in chosen.loader.members.items()}
    rows = rows_of(chosen.loader, step)
    if row is not None and row >= len(rows):
        raise ValueError(f"row is {row}, and step {step} has the rows 0 to {len(rows) - 1}")
    rows = rows if row is None else [rows[row]]
    if as_json:
        facts = [row_facts(each, decoders[each.member]) for each in rows]
        typer.echo(json.dumps({"step": step, "recipe": json.loads(chosen.loader.recipe), "rows": facts}, indent=1))
        return
    console = output_console()
    if not raw:
        where, num_ranks = visible(chosen.paths), chosen.loader.sizes_of(step).dp_world_size
        console.print(f"step {step} of {where}, dp_rank {dp_rank} of {num_ranks}", soft_wrap=True)
        console.print(f"recipe: {chosen.recipe}", soft_wrap=True, style="dim")
    for each in rows:
        if raw:
            print_raw(console, [each], decoders[each.member])
        else:
            print_batch(console, [each], decoders[each.member], num_places=places)


@command(interrupted="nothing was changed.")
def when(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    state: o.State = None,
    member: o.Member = None,
    document: Document = None,
    source: Source = None,
    phrase: Phrase = None,
    epochs: o.PlanEpochs = None,
    dp_world_size: o.DpWorldSize = None,
    most: Most = 40,
    tokenizer: o.ShowTokenizer = None,
    as_json: o.AsJson = False,
    **sizes: Unpack[o.Sizes],
) -> None:
    """Say when a document, a source line or a phrase is trained on.

    \b
    windrow when corpus --document 812 --epochs 3
    windrow when --run windrow-run --source web.jsonl:1730
    windrow when corpus --text "some phrase"
    windrow when --run run.toml --member web --document 3
    """
    from windrow.audit.draw_counts import counted_epochs
    from windrow.look.when import member_meant, print_sightings, sightings, stretches

    if sum(each is not None for each in (document, source, phrase)) != 1:
        raise typer.BadParameter("give one of --document, --source, --text")
    chosen = choose(store, run, sizes, state=state, dp_world_size=dp_world_size, tokenizer=tokenizer)
    name = member_meant(chosen.loader, member)
    of = chosen.loader.members[name].store
    with plain_progress(of.num_tokens) as say:
        searched: dict[str, Any] = {"on_progress": lambda done, found: say(f"searching, {found} found", done)}
        wanted = stretches(of, document=document, source=source, phrase=phrase, **searched)
    asked = epochs or chosen.num_epochs
    num_epochs = counted_epochs(chosen.loader, asked)
    named: dict[str, Any] = {"member": name, "epochs": num_epochs}
    found = [(one, sightings(chosen.loader, one["start"], one["stop"], **named)) for one in wanted]
    if as_json:
        rows = [{"stretch": stretch, **one.to_json()} for stretch, each in found for one in each]
        facts = {"recipe": json.loads(chosen.loader.recipe), "epochs": num_epochs, "stretches": [s for s, _ in found]}
        typer.echo(json.dumps({**facts, "sightings": rows}, indent=1))
        return
    console = output_console()
    print_sightings(console, found, num_epochs, most=most, phrase=phrase)
    if num_epochs < asked:
        console.print(f"{asked - num_epochs:,} epochs more are not counted: their rows move", soft_wrap=True)
    console.print(f"recipe: {chosen.recipe}", soft_wrap=True, style="dim")


@command(interrupted="nothing was changed.")
def trace(
    file: TraceFile = None,
    num_tokens: NumTokens = None,
    max_length: TraceLength = 8,
    stride: TraceStride = None,
    batch_size: TraceBatch = 2,
    seed: TraceSeed = 0,
    tokenizer: o.TokenizerName = "gpt2",
    textbook: Textbook = False,
) -> None:
    """Show how a text becomes batches, step by step, for learners.

    \b
    windrow trace story.txt
    windrow trace story.txt --max-length 4 --stride 2 --batch-size 3
    windrow trace story.txt --textbook --seed 123
    windrow trace --num-tokens 600 --max-length 256 --stride 128
    """
    from windrow.audit.sizes import RunSizes
    from windrow.look.trace import trace_arithmetic, trace_text
    from windrow.text.parse import read_text

    if (file is None) == (num_tokens is None):
        raise typer.BadParameter("give either FILE or --num-tokens NUMBER")
    if textbook and file is None:
        raise typer.BadParameter("--textbook draws from the windows of a text: give FILE")
    sizes = RunSizes(max_length, stride or max_length, batch_size, seed)
    if file is None:
        assert num_tokens is not None
        trace_arithmetic(output_console(), num_tokens, sizes)
    else:
        trace_text(output_console(), read_text(file), sizes, tokenizer=tokenizer, textbook=textbook)


@command(interrupted="nothing was changed.")
def report(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    state: o.State = None,
    out: ReportOut = Path("report.html"),
    dp_world_size: o.DpWorldSize = None,
    tokenizer: o.ShowTokenizer = None,
    **sizes: Unpack[o.Sizes],
) -> None:
    """Write one page that shows the whole run.

    \b
    windrow report corpus --out report.html
    windrow report --run windrow-run --out report.html
    """
    from windrow.look.report import write_report

    chosen = choose(store, run, sizes, state=state, dp_world_size=dp_world_size)
    nbytes = write_report(chosen.loader, out, tokenizer=tokenizer)
    typer.echo(f"recipe: {chosen.recipe}")
    typer.echo(f"{visible(str(out))}: {nbytes / 1000:,.0f} kB, one file, opens in any browser")
