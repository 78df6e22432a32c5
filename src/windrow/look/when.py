"""When a stretch of a store is trained on: every step, rank and row of the epochs asked for.

Guarantee: the inverse of ``Loader.lookup``: each sighting is a row of that step which holds a token of the stretch, and
every such row is there. Cost: arithmetic from the stretch to its windows and from them to positions, whatever the size
of the store; rows of documents (pad, pack, bos) take a pass over their index. No token is read. It does not do: looking
into the future beyond the epochs asked for, or taking account of ``exclude``, which moves nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow.errors import WindrowError
from windrow.loader.loader import Loader
from windrow.shown import table, visible
from windrow.store.origins import Origins
from windrow.store.search import find_text
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Sighting", "Stretch", "print_sightings", "sightings", "stretches"]


@dataclass(frozen=True)
class Sighting:
    """A row that holds tokens of the stretch: tokens ``[first, stop)`` of the store, ``place`` the first one's place.

    ``num_targets`` of them are the target of an input in this row. ``step`` None: the order holds the row, but no step
    takes it: it is in a tail that is dropped, or was skipped.
    """

    position: int
    step: int | None
    dp_rank: int
    row: int
    epoch: int
    member: str
    window: int
    first: int
    stop: int
    place: int
    num_targets: int

    def to_json(self) -> dict[str, Any]:
        """The sighting as plain values."""
        return asdict(self)


def sightings(
    loader: Loader, start: int, stop: int, *, member: str | None = None, epochs: int = 1, first_epoch: int = 0
) -> list[Sighting]:
    """Each row of ``epochs`` epochs of the stream that holds one of the tokens ``[start, stop)``, in stream order.

    ``member`` names one of a mixture's. Raises ``WindrowError`` for a stretch that the store does not have.
    """
    name = _named(loader, member)
    windows, number = loader.members[name], loader.samples.number_of(name)
    if not 0 <= start < stop <= windows.num_tokens:
        raise WindrowError(f"tokens {start} to {stop} are no stretch of a store of {windows.num_tokens} tokens")
    bounds = (first_epoch * loader.epoch_samples, (first_epoch + epochs) * loader.epoch_samples)
    before = [loader.samples.order.samples_before(position)[number] for position in bounds]
    own_epochs = range(before[0] // windows.num_samples, -(-before[1] // windows.num_samples))
    found = [one for epoch in own_epochs for one in _sightings_in(loader, name, epoch, (start, stop))]
    within = [one for one in found if bounds[0] <= one.position < bounds[1]]
    return sorted(within, key=lambda one: (one.position, one.place))


def _named(loader: Loader, member: str | None) -> str:
    """The name of the member that is meant. Raises ``WindrowError`` when none, or any of several, may be."""
    names = list(loader.members)
    if member is None and len(names) > 1:
        raise WindrowError(f"say which member of the mixture is meant: {', '.join(names)}")
    return names[0 if member is None else loader.samples.number_of(member)]


def _sightings_in(loader: Loader, name: str, epoch: int, span: tuple[int, int]) -> Iterator[Sighting]:
    """Each row of the member's ``epoch`` that holds tokens of ``span``; several when it holds several stretches."""
    windows, key = loader.members[name], (loader.seed, name)
    ids = windows.layout.holding(*span, epoch, key=key)
    spans, places = windows.spans(ids, epoch, key=key), loader.places_of(ids, epoch, member=name)
    first = np.maximum(spans.starts, span[0])
    stop = np.minimum(spans.starts + spans.lengths, span[1])
    place = spans.in_row() + first - spans.starts
    targets = np.maximum(stop - np.maximum(first, spans.starts + spans.context), 0)
    found = np.stack([spans.row, ids[spans.row], first, stop, place, targets], axis=1)  # (n, 6)
    for row, window, *held in found[first < stop].tolist():
        yield Sighting(*places[int(row)], epoch, name, window, *held)


Stretch = dict[str, Any]  # label, start, stop
_MOST_PLACES = 1000


def stretches(
    store: TokenStore,
    *,
    document: int | None = None,
    source: str | None = None,
    phrase: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Stretch]:
    """What was asked for, as stretches of ``store``. Raises ``WindrowError`` when it is not there.

    ``on_progress`` gets the tokens searched for a ``phrase`` and the places found, so far.
    """
    if document is not None:
        return [_document(store, document)]
    if source is not None:
        name, colon, line = source.rpartition(":")
        if not colon or not line.isdecimal():
            raise WindrowError(f"the source is {source!r}, and it is written FILE:LINE, for example web.jsonl:1730")
        return [_document(store, number) for number in Origins(store).documents_at(name, int(line))]
    assert phrase is not None
    return _places(store, phrase, on_progress)


def _document(store: TokenStore, number: int) -> Stretch:
    try:
        start, stop = store.document_span(number)
    except IndexError as error:
        raise WindrowError(str(error)) from error
    number %= store.num_documents
    origin = Origins(store).of([number]).get(number)
    named = f"document {number}" + (f", {origin}" if origin else "")
    return {"label": named, "start": start, "stop": stop}


def _places(store: TokenStore, phrase: str, on_progress: Callable[[int, int], None] | None) -> list[Stretch]:
    places = islice(find_text(store, phrase, on_progress), _MOST_PLACES)
    found = [{"label": f"tokens {start} to {stop}", "start": start, "stop": stop} for start, stop in places]
    if not found:
        raise WindrowError(f"{phrase!r} stands nowhere in this store: not in these letters, case and spaces.")
    return found


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
            headings = ["step", "rank", "row", "epoch", "window", "its tokens", "as targets"]
            console.print(table(headings, _rows(shown)))
    if hidden:
        console.print(f"... and {hidden:,} more rows (--most 0 prints all)", style="dim")


def _headline(stretch: Stretch, seen: Sequence[Sighting], epochs: int) -> str:
    span = f"{visible(stretch['label'])}: {stretch['stop'] - stretch['start']:,} tokens from {stretch['start']:,}"
    steps = len({one.step for one in seen} - {None})
    named = "epoch" if epochs == 1 else f"{epochs} epochs"
    return f"{span}\nseen in {len(seen):,} rows of {steps:,} steps of the first {named}"


def _rows(seen: Sequence[Sighting]) -> Iterator[list[str]]:
    for one in seen:
        step = ["never", "-", "-"] if one.step is None else [f"{one.step:,}", str(one.dp_rank), str(one.row)]
        span = f"{one.first:,} to {one.stop:,}"
        yield [*step, str(one.epoch), f"{one.window:,}", span, f"{one.num_targets:,}"]
