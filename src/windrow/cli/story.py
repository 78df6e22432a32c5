"""How the demo tells what it does: a small panel for each stage, on any terminal.

Guarantee: every number and text in a panel is read from the store, the loader or the model that the demo uses; text is
printed through ``visible``. Cost: a few tokens read for each panel. It does not do: any work of the demo itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from windrow.audit.sizes import RunSizes
from windrow.look import tour
from windrow.look.tour import Fact, Station
from windrow.look.trace import station_parts
from windrow.shown import pairs, table, visible
from windrow.training.run import RUN, Run, Settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Story", "tell_files", "tell_proof", "tell_text", "tell_tour"]

_WIDEST = 100  # columns


class Story:
    """Numbered panels on one console."""

    def __init__(self, console: "Console") -> None:
        self._console, self._width, self._number = console, min(console.width, _WIDEST), 0

    def stage(self, title: str, *parts: "RenderableType") -> None:
        """A panel with ``parts`` below each other; ``title`` is our own words, never text from a file."""
        from rich.console import Group
        from rich.panel import Panel

        self._number += 1
        head = f"[bold]{self._number}  {title}[/bold]"
        self._console.print(Panel(Group(*parts), title=head, title_align="left", width=self._width, padding=(0, 1)))

    def station(self, station: Station) -> None:
        """A panel with a station of the tour."""
        self.stage(station.title, *station_parts(station, self._width - 4))

    def tell(self, title: str, *facts: Fact) -> None:
        """A panel with labels and values."""
        self.stage(title, pairs(facts))

    def say(self, message: str) -> None:
        """A line between panels."""
        self._console.print(message, width=self._width)


def tell_text(story: Story, run: Run, text: Path | None) -> None:
    """What is read, and how it is split."""
    train = run.train.open()
    if text:
        name, split = str(text), "the last tenth of its tokens is kept for valid, the rest is train"
    else:
        name = "the language reference that comes with Python (pydoc_data.topics)"
        num_train, num_valid = train.num_documents, run.valid.open().num_documents if run.valid else 0
        split = f"{num_train + num_valid} documents: {num_train} train, {num_valid} valid, by a hash"
    start = visible(" ".join(train.decode(0, 60).split()))
    story.tell("Text", ("from", name), ("split", split), ("begins", f"{start[:120]} ..."))


def tell_tour(story: Story, run: Run) -> None:
    """From tokens to the first batch: stations of the tour, with what only this run has to say."""
    store, settings, loader = run.train.open(), run.settings, run.loader()
    length, usual, tokenizer = settings.max_length, Settings().max_length, store.tokenizer
    valid = f", valid {run.valid.open().num_tokens:,}" if run.valid else ""
    made = [
        ("made by", f"GPT-2's tokenizer; {store.eos_id} ends each document"),
        ("split", f"train {store.num_tokens:,}{valid}"),
        ("where", f"{run.train.path.parent}, memory-mapped"),
    ]
    short = [("length", f"{length} inputs (not {usual}: the text is short)")] if length < usual else []
    sizes = RunSizes(length, settings.resolved_stride, settings.batch_size)
    story.station(tour.tokens(store, tokenizer).also(*made))
    story.station(tour.windows(store.num_tokens, sizes, store, tokenizer).also(*short))
    story.station(tour.order(loader))
    story.station(tour.batch(loader, tokenizer))


def tell_proof(story: Story, run: Run, first: int, resumed: dict[int, str], untouched: dict[int, str]) -> bool:
    """Batches after the resume beside those of a loader that never stopped, by sha256; True when all are equal."""
    loader, steps = run.loader(), sorted(resumed)
    rows = []
    for step in [*steps[:3], *steps[3:][-1:]]:
        same = "same" if resumed[step] == untouched[step] else "DIFFERENT"
        windows = " ".join(str(sample.window) for sample in loader.lookup(step)[:4])
        rows.append([str(step), windows, untouched[step][:16], resumed[step][:16], same])
    num_same = sum(resumed[step] == untouched[step] for step in steps)
    story.stage(
        "Resume",
        f"After {first} steps model and loader were thrown away and rebuilt from the checkpoint. A second loader was "
        "never stopped. sha256 of the batches that each gave:",
        table(["step", "windows", "never stopped", "resumed", ""], rows, left=range(5)),
        f"{num_same} of {len(steps)} batches after the resume are the same, byte for byte.",
    )
    return num_same == len(steps)


def tell_files(story: Story, run: Run, results: Sequence[tuple[str, str]], commands: Sequence[str]) -> None:
    """How it ended, where everything is, and what to try next."""
    facts = [*results, ("recipe", str(run.folder / RUN))]
    story.stage("Result", pairs(facts), "", "next:", *[f"  {visible(command)}" for command in commands])
