"""How the demo tells what it does: a small panel for each stage, on any terminal.

Guarantee: every number and text in a panel is read from the store, the loader or the model that the demo uses; text is
printed through ``visible``. Cost: a few tokens read for each panel. It does not do: any work of the demo itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from windrow.look.show import rows_of, token_text
from windrow.shown import visible
from windrow.training.run import RUN, Run, Settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "Story",
    "tell_batch",
    "tell_files",
    "tell_proof",
    "tell_sample",
    "tell_text",
    "tell_tokens",
    "tell_training",
    "tell_windows",
]

_WIDEST = 100  # columns


class Story:
    """Numbered panels on one console."""

    def __init__(self, console: "Console") -> None:
        self._console, self._number = console, 0

    def stage(self, title: str, *parts: "RenderableType") -> None:
        """A panel with ``parts`` below each other; ``title`` is our own words, never text from a file."""
        from rich.console import Group
        from rich.panel import Panel

        self._number += 1
        width = min(self._console.width, _WIDEST)
        head = f"[bold]{self._number}  {title}[/bold]"
        self._console.print(Panel(Group(*parts), title=head, title_align="left", width=width, padding=(0, 1)))

    def say(self, message: str) -> None:
        """A line between panels."""
        self._console.print(message, width=min(self._console.width, _WIDEST))


def tell_text(story: Story, run: Run, text: Path | None) -> None:
    """What is read, and how it is split."""
    train, valid = run.train.open(), run.valid.open() if run.valid else None
    name = visible(str(text)) if text else "the language reference that comes with Python (pydoc_data.topics)"
    if text:
        split = "the last tenth of its tokens is kept for valid, the rest is train"
    else:
        num_valid = valid.num_documents if valid else 0
        split = (
            f"{train.num_documents + num_valid} documents: {train.num_documents} train, {num_valid} valid, by a hash"
        )
    start = visible(" ".join(train.decode(0, 60).split()))
    story.stage("Text", _facts([("from", name), ("split", split), ("begins", f"{start[:120]} ...")]))


def tell_tokens(story: Story, run: Run) -> None:
    """What the tokenizer made of it, and how that is stored."""
    train = run.train.open()
    valid = f", valid {run.valid.open().num_tokens:,}" if run.valid else ""
    tokens = train.tokens(0, 12).tolist()
    pieces = ", ".join(f"'{visible(token_text(train.tokenizer, token))}' {token}" for token in tokens)
    size = f"{train.dtype}, {train.dtype.itemsize} bytes a token, memory-mapped"
    facts = [
        ("made by", f"GPT-2's tokenizer: {run.vocab_size:,} ids; {train.eos_id} ends each document"),
        ("count", f"train {train.num_tokens:,}{valid}"),
        ("first", pieces),
        ("stored", f"{visible(str(run.train.path.parent))}: {size}"),
    ]
    story.stage("Tokens", _facts(facts))


def tell_windows(story: Story, run: Run, num_windows: int) -> None:
    """How windows lie over the tokens, and what an epoch is."""
    settings, num_steps = run.settings, len(run.loader())
    length, stride = settings.max_length, settings.resolved_stride
    usual = Settings().max_length
    shorter = f" (not {usual}: the text is short)" if length < usual else ""
    size = f"{settings.batch_size} windows = {settings.batch_size * length:,} tokens a step"
    facts = [
        ("length", f"{length} inputs{shorter}; the targets are the same tokens moved on by one"),
        ("stride", f"{stride}: windows start at tokens 0, {stride}, {2 * stride}, ...; there are {num_windows:,}"),
        ("batch", f"{size}, shuffled by seed {settings.seed}; steps in an epoch: {num_steps:,}"),
    ]
    story.stage("Windows", _facts(facts))


def tell_batch(story: Story, run: Run) -> None:
    """The beginning of the first row of the first batch."""
    from rich.table import Table

    tokenizer, row = run.train.open().tokenizer, rows_of(run.loader(), 0)[0]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    places = range(min(6, len(row.inputs)))
    table.add_column("place", style="dim")
    for place in places:
        table.add_column(str(place))
    for label, ids in (("input", row.inputs), ("target", row.targets)):
        table.add_row(label, *[f"'{visible(token_text(tokenizer, ids[place]))}'" for place in places])
    where = f"window {row.window}, from token {row.start}, in document {row.documents[0]}"
    shape = f"({run.settings.batch_size}, {len(row.inputs)})"
    story.stage("A batch", f"inputs and targets are {shape}. Row 0 of step 0 is {where}:", table)


def tell_training(story: Story, model: str, steps: str, loss: str) -> None:
    """What is trained, for how long, and what the numbers mean."""
    story.stage("Training", _facts([("model", model), ("steps", steps), ("loss", loss)]))


def tell_proof(story: Story, run: Run, first: int, resumed: dict[int, str], untouched: dict[int, str]) -> bool:
    """Batches after the resume beside those of a loader that never stopped, by sha256; True when all are equal."""
    from rich.table import Table

    loader, steps = run.loader(), sorted(resumed)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("step", "windows", "never stopped", "resumed", ""):
        table.add_column(heading)
    for step in [*steps[:3], *steps[3:][-1:]]:
        same = "same" if resumed[step] == untouched[step] else "DIFFERENT"
        windows = " ".join(str(sample.window) for sample in loader.lookup(step)[:4])
        table.add_row(str(step), windows, untouched[step][:16], resumed[step][:16], same)
    num_same = sum(resumed[step] == untouched[step] for step in steps)
    story.stage(
        "Resume",
        f"After {first} steps model and loader were thrown away and rebuilt from the checkpoint. A second loader was "
        "never stopped. sha256 of the batches that each gave:",
        table,
        f"{num_same} of {len(steps)} batches after the resume are the same, byte for byte.",
    )
    return num_same == len(steps)


def tell_sample(story: Story, prompt: str, before: str, after: str) -> None:
    """What the model makes of a prompt before and after training."""
    facts = [("prompt", visible(prompt)), ("untrained", visible(before)), ("trained", visible(after))]
    story.stage("A sample", _facts(facts))


def tell_files(story: Story, run: Run, results: Sequence[tuple[str, str]], commands: Sequence[str]) -> None:
    """How it ended, where everything is, and what to try next."""
    facts = [(label, visible(value)) for label, value in [*results, ("recipe", str(run.folder / RUN))]]
    story.stage("Result", _facts(facts), "", "next:", *[f"  {visible(command)}" for command in commands])


def _facts(pairs: Sequence[tuple[str, str]]) -> "Table":
    """Labels and values in two columns, so that a long value wraps beside its label."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for pair in pairs:
        table.add_row(*pair)
    return table
