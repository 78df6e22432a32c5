"""When a stretch of a store is trained on: every step, rank and row of the epochs asked for.

Guarantee: the inverse of ``Loader.lookup``: each sighting is a row of that step which holds a token of the stretch, and
every such row is there. Cost: arithmetic from the stretch to its windows and from them to positions, whatever the size
of the store; rows of documents (pad, pack, bos) take a pass over their index. No token is read. It does not do: looking
into the future beyond the epochs asked for, or taking account of ``exclude``, which moves nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow.arrays import Int64
from windrow.errors import WindrowError, whole_number
from windrow.loader.loader import Loader
from windrow.shown import counted, table, visible
from windrow.store.origins import Origins
from windrow.store.search import find_text
from windrow.store.store import TokenStore
from windrow.windows.mixture import stages_of
from windrow.windows.spans import num_counting

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Sighting", "Sightings", "Stretch", "member_meant", "print_sightings", "sightings", "stretches"]


@dataclass(frozen=True)
class Sighting:
    """A row that holds tokens of the stretch: tokens ``[first, stop)`` of the store, ``place`` the first one's place.

    ``num_targets`` of them are the target of an input in this row, and count by the data. ``step`` None: the order
    holds the row, but no step takes it: it is in a tail that is dropped, or was skipped. ``stage`` is where its stage
    of a mixture began, -1 where there is but one.
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
    stage: int

    def to_json(self) -> dict[str, Any]:
        """The sighting as plain values."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("stage", -1)}


class Sightings(Sequence[Sighting]):
    """Sightings of ``member``, each made when it is asked for of ``rows`` (n, 11), which hold the other fields."""

    def __init__(self, rows: Int64, member: str = "") -> None:
        self.rows: Int64 = rows
        self._member = member

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [*map(self.__getitem__, range(len(self))[number])]
        position, step, rank, row, epoch, *held = self.rows[number].tolist()
        return Sighting(position, None if step < 0 else step, rank, row, epoch, self._member, *held)


def sightings(
    loader: Loader, start: int, stop: int, *, member: str | None = None, epochs: int = 1, first_epoch: int = 0
) -> Sightings:
    """Every row, in ``epochs`` epochs of the stream, that holds one of the tokens ``[start, stop)``, in stream order.

    ``member`` names one of a mixture's. Raises ``WindrowError`` for a stretch that the store does not have.
    """
    name = member_meant(loader, member)
    windows, number = loader.members[name], loader.samples.number_of(name)
    if not 0 <= start < stop <= windows.num_tokens:
        raise WindrowError(f"tokens {start} to {stop} are no stretch of a store of {windows.num_tokens} tokens")
    first_epoch = whole_number("first_epoch", first_epoch, at_least=0)
    bounds = [epoch * loader.epoch_samples for epoch in (first_epoch, first_epoch + whole_number("epochs", epochs))]
    before = [loader.samples.order.samples_before(position)[number] for position in bounds]
    own_epochs = range(before[0] // windows.num_samples, -(-before[1] // windows.num_samples))
    found = _in_order([_rows_in(loader, name, epoch, (start, stop)) for epoch in own_epochs])
    return Sightings(found.rows[slice(*np.searchsorted(found.rows[:, 0], bounds))], name)


def _in_order(parts: Sequence[Int64]) -> Sightings:
    """The rows of sightings (n, 11) in all of ``parts``, in stream order."""
    rows = np.concatenate([np.empty((0, 11), dtype=np.int64), *parts])
    return Sightings(rows[np.lexsort((rows[:, 8], rows[:, 0]))])


def member_meant(loader: Loader, member: str | None) -> str:
    """The name of the member that is meant. Raises ``WindrowError`` when none, or any of several, may be."""
    names = list(loader.members)
    if member is None and len(names) > 1:
        raise WindrowError(f"say which member of the mixture is meant: {', '.join(names)}")
    return names[0 if member is None else loader.samples.number_of(member)]


def _rows_in(loader: Loader, name: str, epoch: int, span: tuple[int, int]) -> Int64:
    """Each row of the member's ``epoch`` that holds tokens of ``span``; several when it holds several stretches."""
    windows, key = loader.members[name], (loader.seed, name)
    ids, spans, in_row = windows.layout.between(*span, epoch, key=key)
    places = loader.placed(ids, epoch, member=name)
    first = np.maximum(spans.starts, span[0])
    stop = np.minimum(spans.starts + spans.lengths, span[1])
    place = in_row + first - spans.starts
    targets = num_counting(windows.store, np.maximum(first, spans.starts + spans.context), stop)
    places = places[:, spans.row]
    held = [np.full_like(first, epoch), ids[spans.row], first, stop, place, targets, stages_of(loader.data, places[0])]
    rows: Int64 = np.stack([*places, *held], axis=1)[first < stop]  # (n, 11)
    return rows


Stretch = dict[str, Any]  # label, start, stop
_MOST_PLACES = 100_000


def stretches(
    store: TokenStore,
    *,
    document: int | None = None,
    source: str | None = None,
    phrase: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Stretch]:
    """What was asked for, as stretches of ``store``; of a ``phrase`` none when it stands nowhere.

    Raises ``WindrowError`` for a document or source that the store does not have, and for too frequent a phrase.
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
    places = [*islice(find_text(store, phrase, on_progress), _MOST_PLACES + 1)]
    if len(places) > _MOST_PLACES:
        raise WindrowError(f"{phrase!r} stands in more than {_MOST_PLACES:,} places. Give a longer phrase.")
    return [{"label": f"tokens {start} to {stop}", "start": start, "stop": stop} for start, stop in places]


def print_sightings(
    console: "Console",
    found: Sequence[tuple[Stretch, Sightings]],
    epochs: int,
    *,
    most: int,
    phrase: str | None = None,
) -> None:
    """What came of it in a sentence or two, and a table of the first ``most`` rows (0: all)."""
    seen = _in_order([each.rows for _, each in found])
    console.print(
        f"{_where(found, phrase)} {_when(seen, epochs) if found else ''}".rstrip(), style="bold", soft_wrap=True
    )
    shown = seen[: most or None]
    if len(shown):
        console.print()
        headings = ["step", "rank", "row", "epoch", "window", "its tokens,\nend excluded", "as targets"]
        staged = ["stage from\nposition"] * bool((seen.rows[:, -1] >= 0).any())
        console.print(table(headings + staged, _rows(shown)))
    if len(shown) < len(seen):
        console.print(f"... and {len(seen) - len(shown):,} more (--most 0 prints all)", style="dim")


def _where(found: Sequence[tuple[Stretch, Sightings]], phrase: str | None) -> str:
    """The places that were looked for."""
    if phrase is None:
        ((stretch, _),) = found
        start, stop = stretch["start"], stretch["stop"]
        held = f"{counted(stop - start, 'token')}, {start:,} to {stop:,} (end excluded)"
        return f"{visible(stretch['label'])}: {held}."
    if not found:
        return f"'{visible(phrase)}' stands nowhere in this store: not in these letters, case and spaces."
    return f"'{visible(phrase)}' stands in {counted(len(found), 'place')}."


def _when(seen: Sightings, epochs: int) -> str:
    """How many rows and steps hold one of the places, from which step to which."""
    span = "the first epoch" if epochs == 1 else f"the first {epochs:,} epochs"
    taken = seen.rows[seen.rows[:, 1] >= 0]
    steps = np.unique(taken[:, 1]).tolist()
    if not steps:
        return f"No step of {span} takes it."
    rows = counted(len(np.unique(taken[:, 0])), "row")
    if len(steps) == 1:
        return f"In {span} it is in {rows} at step {steps[0]:,}."
    return f"In {span} it is in {rows} of {len(steps):,} steps, first at step {steps[0]:,}, last at step {steps[-1]:,}."


def _rows(seen: Iterable[Sighting]) -> Iterator[list[str]]:
    for one in seen:
        step = ["never", "-", "-"] if one.step is None else [f"{one.step:,}", str(one.dp_rank), str(one.row)]
        span = f"{one.first:,} to {one.stop:,}"
        stage = [f"{one.stage:,}"] * (one.stage >= 0)
        yield [*step, str(one.epoch), f"{one.window:,}", span, f"{one.num_targets:,}", *stage]
