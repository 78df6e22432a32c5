"""What ``windrow when`` looks up and prints: stretches of a store, and each step that holds them.

Guarantee: every figure is ``sightings``'. Cost: a look-up for each stretch; a phrase costs a pass over the store. It
does not do: the arithmetic (``when.py``), or the search (``find_text.py``).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from windrow.errors import WindrowError
from windrow.loader.loader import Loader
from windrow.run import Run
from windrow.shown import visible
from windrow.store.origins import Origins
from windrow.store.search import find_text
from windrow.store.store import TokenStore
from windrow.terminal import error_console
from windrow.when import Sighting, sightings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Stretch", "epochs_of", "print_sightings", "sightings_of", "stretches"]

Stretch = dict[str, Any]  # label, start, stop
_MOST_PLACES = 1000


def stretches(
    store: TokenStore, *, document: int | None = None, source: str | None = None, phrase: str | None = None
) -> list[Stretch]:
    """What was asked for, as stretches of ``store``. Raises ``WindrowError`` when it is not there."""
    if document is not None:
        return [_document(store, document)]
    if source is not None:
        name, colon, line = source.rpartition(":")
        if not colon or not line.isdecimal():
            raise WindrowError(f"the source is {source!r}, and it is written FILE:LINE, for example web.jsonl:1730")
        return [_document(store, number) for number in Origins(store).documents_at(name, int(line))]
    assert phrase is not None
    return _places(store, phrase)


def _document(store: TokenStore, number: int) -> Stretch:
    try:
        start, stop = store.document_span(number)
    except IndexError as error:
        raise WindrowError(str(error)) from error
    number %= store.num_documents
    origin = Origins(store).of([number]).get(number)
    named = f"document {number}" + (f", {origin}" if origin else "")
    return {"label": named, "start": start, "stop": stop}


def _places(store: TokenStore, phrase: str) -> list[Stretch]:
    found = []
    with _searching(store.num_tokens) as on_progress:
        for start, stop in find_text(store, phrase, on_progress):
            found.append({"label": f"tokens {start} to {stop}", "start": start, "stop": stop})
            if len(found) >= _MOST_PLACES:
                break
    if not found:
        raise WindrowError(f"{phrase!r} stands nowhere in this store: not in these letters, case and spaces.")
    return found


@contextmanager
def _searching(num_tokens: int) -> Iterator[Any]:
    from rich.progress import Progress

    console = error_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("searching", total=num_tokens)
        yield lambda done, found: progress.update(task, completed=done, description=f"searching, {found} found")


def epochs_of(run: Run, loader: Loader) -> int:
    """Epochs that the run trains in all, rounded up."""
    steps = run.settings.steps
    samples = loader.batch_size * loader.dp_world_size
    return math.ceil(steps * samples / loader.epoch_samples) if steps else math.ceil(run.settings.epochs)


def sightings_of(loader: Loader, wanted: Sequence[Stretch], epochs: int) -> list[tuple[Stretch, list[Sighting]]]:
    """Each stretch with where it is seen."""
    return [(one, sightings(loader, one["start"], one["stop"], epochs=epochs)) for one in wanted]


def print_sightings(
    console: "Console", found: Sequence[tuple[Stretch, list[Sighting]]], epochs: int, *, most: int
) -> None:
    """A table a stretch, ``most`` rows in all (0: all)."""
    left = most or sum(len(seen) for _, seen in found)
    hidden = 0
    for stretch, seen in found:
        shown, left = seen[:left], max(0, left - len(seen))
        hidden += len(seen) - len(shown)
        if shown or not seen:
            console.print()
            console.print(_headline(stretch, seen, epochs), style="bold", soft_wrap=True)
        if shown:
            console.print(_table(shown))
    if hidden:
        console.print(f"... and {hidden:,} more rows (--most 0 prints all)", style="dim")


def _headline(stretch: Stretch, seen: Sequence[Sighting], epochs: int) -> str:
    span = f"{visible(stretch['label'])}: {stretch['stop'] - stretch['start']:,} tokens from {stretch['start']:,}"
    steps = len({one.step for one in seen} - {None})
    named = "epoch" if epochs == 1 else f"{epochs} epochs"
    return f"{span}\nseen in {len(seen):,} rows of {steps:,} steps of the first {named}"


def _table(seen: Sequence[Sighting]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("step", "rank", "row", "epoch", "window", "its tokens", "as targets"):
        table.add_column(heading, justify="right", overflow="fold")
    for one in seen:
        step = ["never", "-", "-"] if one.step is None else [f"{one.step:,}", str(one.dp_rank), str(one.row)]
        span = f"{one.first:,} to {one.stop:,}"
        table.add_row(*step, str(one.epoch), f"{one.window:,}", span, f"{one.num_targets:,}")
    return table
