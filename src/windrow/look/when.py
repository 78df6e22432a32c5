"""When a stretch of a store is trained on: every step, rank and row of the epochs asked for.

Guarantee: the inverse of ``Loader.lookup``: each sighting is a row of that step which holds a token of the stretch, and
every such row is there. Cost: arithmetic from the stretch to its windows and from them to positions, whatever the size
of the store; rows of documents (pad, pack, bos) take a pass over their index. No token is read. It does not do: looking
into the future beyond the epochs asked for, or taking account of ``exclude``, which moves nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from windrow.errors import WindrowError
from windrow.loader.loader import Loader
from windrow.shown import visible
from windrow.store.origins import Origins
from windrow.store.search import find_text
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from windrow.windows.windows import Windows

__all__ = ["Sighting", "Stretch", "print_sightings", "sightings", "sightings_of", "stretches"]

Int64 = NDArray[np.int64]


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
        """The same as plain values."""
        return asdict(self)


def sightings(
    loader: Loader, start: int, stop: int, *, member: str | None = None, epochs: int = 1, first_epoch: int = 0
) -> list[Sighting]:
    """Each row of ``epochs`` epochs of the stream that holds one of the tokens ``[start, stop)``, in stream order.

    ``member`` names one of a mixture's. Raises ``WindrowError`` for a stretch that the store does not have.
    """
    name, windows = _windows(loader, member)
    if not 0 <= start < stop <= windows.num_tokens:
        raise WindrowError(f"tokens {start} to {stop} are no stretch of a store of {windows.num_tokens} tokens")
    bounds = (first_epoch * loader.epoch_samples, (first_epoch + epochs) * loader.epoch_samples)
    found = []
    for epoch in _own_epochs(loader, name, windows, bounds):
        held = _rows_that_hold(windows, start, stop, epoch, (loader.seed, name))
        places = loader.places_of(held.ids, epoch, member=name)
        spans = zip(places, *(part.tolist() for part in held), strict=True)
        found += [
            Sighting(at.position, at.step, at.dp_rank, at.row, epoch, name, window, first, last, place, targets)
            for at, window, first, last, place, targets in spans
            if bounds[0] <= at.position < bounds[1]
        ]
    return sorted(found, key=lambda one: (one.position, one.place))


def _windows(loader: Loader, member: str | None) -> tuple[str, Windows]:
    names = list(loader.members)
    if member is None and len(names) > 1:
        raise WindrowError(f"say which member of the mixture is meant: {', '.join(names)}")
    name = names[0] if member is None else member
    if name not in names:
        raise WindrowError(f"there is no member {name!r}. Members: {names}.")
    windows = loader.members[name]
    if not isinstance(windows, Windows):
        raise WindrowError(f"this loader draws from {type(windows).__name__}, and only Windows can be looked up")
    return name, windows


def _own_epochs(loader: Loader, name: str, windows: Windows, bounds: tuple[int, int]) -> Iterator[int]:
    """The epochs of the member that the stream's positions in ``bounds`` draw from."""
    first, stop = (int(loader.shares(edge)[name]["samples"]) if edge else 0 for edge in bounds)
    yield from range(first // windows.num_samples, -(-stop // windows.num_samples))


class _Held:
    """Rows ``ids`` (K,) of an epoch: tokens ``[first, stop)`` that each holds, their place, how many are targets."""

    def __init__(self, ids: Int64, starts: Int64, stops: Int64, places: Int64, span: tuple[int, int]) -> None:
        self.ids, self._first = ids, np.maximum(starts, span[0])
        self._stop = np.minimum(stops, span[1])
        self._place = places + self._first - starts
        self._num_targets = self._stop - np.maximum(self._first, starts + 1)  # a piece's first token is no target

    def __iter__(self) -> Iterator[Int64]:
        yield from (self.ids, self._first, self._stop, self._place, np.maximum(self._num_targets, 0))


def _rows_that_hold(windows: Windows, start: int, stop: int, epoch: int, key: tuple[int, str]) -> _Held:
    span = (start, stop)
    if windows.rows:
        return _pieces_that_hold(windows, span)
    offset = int(windows.starts(np.array([0]), np.array([epoch]), key=key)[0])
    # A window holds [s, s + max_length], s = offset + id * stride: it holds one of [start, stop) when
    # start - max_length <= s < stop.
    first = max(0, -(-(start - windows.max_length - offset) // windows.stride))
    last = min(windows.num_samples - 1, (stop - 1 - offset) // windows.stride)
    ids = np.arange(first, last + 1)
    starts = windows.starts(ids, np.full(len(ids), epoch), key=key)
    stops = np.minimum(starts + windows.max_length + 1, windows.num_tokens)
    return _Held(ids, starts, stops, np.zeros_like(starts), span)


def _pieces_that_hold(windows: Windows, span: tuple[int, int]) -> _Held:
    assert windows.rows is not None
    pieces = windows.rows.pieces
    hit = np.flatnonzero((pieces.starts < span[1]) & (pieces.starts + pieces.lengths > span[0]))
    ids = np.searchsorted(pieces.edges, hit, side="right") - 1
    lengths = np.concatenate([[0], np.cumsum(pieces.lengths.astype(np.int64))])
    places = lengths[hit] - lengths[pieces.edges[ids]]
    return _Held(ids, pieces.starts[hit], pieces.starts[hit] + pieces.lengths[hit], places, span)


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
