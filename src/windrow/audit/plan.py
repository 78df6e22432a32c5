"""What a run will train on, to the token, before it starts: the ledger.

Guarantee: two sums that always balance. Of a store, every token once: a target at least once + context only + dropped,
by reason. Of the rows, every place once: targets that count + masked, by reason + padded. Cost: arithmetic over rows
and documents, vectorised; no token is read, only which of them count where the data says so, and no batch is made. It
does not do: any training, or a guess.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64, Mask
from windrow.audit.coverage import Coverage
from windrow.audit.draw_counts import DrawCounts, counted_epochs
from windrow.errors import WindrowError, whole_number
from windrow.loader.loader import Loader
from windrow.store.store import TokenStore
from windrow.windows.sliding import Relaid, Sliding
from windrow.windows.windows import Windows

__all__ = ["MemberPlan", "Plan", "plan"]

_AT_A_TIME = 1 << 22  # tokens
_WINDOWS_AT_A_TIME, _DOCUMENTS_AT_A_TIME, _SPANS_AT_A_TIME, _MOST_DROPPED = 1 << 15, 1 << 19, 1 << 15, 1 << 22


@dataclass(frozen=True)
class MemberPlan:
    """The ledger of one member: how its tokens are used, and what its rows hold.

    ``times_target`` is ``{k: tokens that are a target k times}``; their sum is ``num_tokens``, and so is the sum of
    the tokens at 1 and more, ``context_only`` and ``dropped``. ``num_rows * max_length`` is ``trained + masked +
    padded``. ``repeats`` are epochs of its own; ``documents_cut`` are in rows, but whole in none.
    """

    policy: str
    max_length: int
    num_samples: int
    num_tokens: int
    num_documents: int
    documents_cut: int
    num_rows: int
    repeats: float
    trained: int
    masked: dict[str, int]
    padded: int
    times_target: dict[int, int]
    context_only: int
    dropped: dict[str, int]
    nbytes_read: int

    def check(self) -> None:
        """Assert that both sums balance."""
        targets = sum(self.times_target.values()) - self.times_target[0]
        used = targets + self.context_only + sum(self.dropped.values())
        assert used == self.num_tokens, f"{used} of {self.num_tokens} tokens are accounted for"
        places = self.trained + sum(self.masked.values()) + self.padded
        assert places == self.num_rows * self.max_length, f"{places} of {self.num_rows} * {self.max_length} places"
        assert self.trained == sum(times * tokens for times, tokens in self.times_target.items())
        assert min(self.context_only, self.padded, *self.dropped.values(), *self.masked.values(), 0) == 0


@dataclass(frozen=True)
class Plan:
    """A run of ``num_steps`` steps. ``rows_without_data`` keep ranks in step at the end of an epoch; all padding.

    ``steps_not_counted`` were asked for beyond them, after as many epochs as ``plan`` counts one by one. ``stages`` is
    ``{position: first step}`` of each stage that begins in them, where there is more than one.
    """

    num_steps: int
    steps_not_counted: int
    steps_per_epoch: int
    num_samples: int
    batch_size: int
    dp_world_size: int
    rows_without_data: int
    members: dict[str, MemberPlan]
    stages: dict[int, int]

    @property
    def trained(self) -> int:
        """Targets that count."""
        return sum(member.trained for member in self.members.values())

    @property
    def padded(self) -> int:
        """Places without a token."""
        max_length = next(iter(self.members.values())).max_length
        return sum(member.padded for member in self.members.values()) + self.rows_without_data * max_length

    @property
    def places(self) -> int:
        """All places of all rows: trained + masked + padded."""
        masked = sum(sum(member.masked.values()) for member in self.members.values())
        return self.trained + masked + self.padded

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        said = {name: value for name, value in asdict(self).items() if name != "stages" or value}
        return {**said, "trained": self.trained, "padded": self.padded, "places": self.places}


def plan(loader: Loader, *, epochs: int = 1, num_steps: int | None = None) -> Plan:
    """What ``loader`` trains on from its beginning, in ``epochs`` or in ``num_steps``; its position does not matter.

    Exclusions count from their position on. If rows change from epoch to epoch, at most 64 epochs are counted; if
    epochs drop samples, only as many epochs as drop four million.
    """
    sizes, epoch_samples = loader.sizes, loader.epoch_samples
    asked = whole_number("epochs", epochs) * len(loader) if num_steps is None else whole_number("num_steps", num_steps)
    most = _MOST_DROPPED // loader.num_dropped + 1 if loader.num_dropped else asked
    steps = min(asked, counted_epochs(loader, most) * len(loader))
    stop = sizes.after(0, steps)
    if sum(loader.samples.order.samples_before(stop)) < stop:
        raise WindrowError("a plan begins at position 0, and a member that is gone was drawn from: give its windows")
    passes = stop // epoch_samples
    tail = np.arange(epoch_samples - loader.num_dropped, epoch_samples)
    dropped = (np.arange(passes * bool(len(tail)))[:, None] * epoch_samples + tail).reshape(-1)  # positions
    fills_up = sizes.tail == "keep" and sizes.dp_world_size > 1
    members = {name: _member_plan(DrawCounts(loader, name, stop, dropped)) for name in loader.members}
    made = Plan(
        num_steps=steps,
        steps_not_counted=asked - steps,
        steps_per_epoch=len(loader),
        num_samples=epoch_samples,
        batch_size=sizes.batch_size,
        dp_world_size=sizes.dp_world_size,
        rows_without_data=passes * (-epoch_samples % sizes.global_batch) if fills_up else 0,
        members=members,
        stages={
            start: sizes.between(0, start)
            for start in loader.data.stages
            if start < stop and len(loader.data.stages) > 1
        },
    )
    assert sum(member.num_rows for member in members.values()) == stop - len(dropped)
    return made


# -- the ledger ----------------------------------------------------------------------------------------------------


class _Drawn(NamedTuple):
    """The spans (n,) of some samples of a group, and how often each is drawn."""

    starts: Int64
    stops: Int64
    targets: Int64  # the first token that is a target: those before it are context
    inputs: Int64  # one past the last token that is an input
    is_head: Mask  # of its row
    times: Int64
    excluded: Int64


def _member_plan(drawn: DrawCounts) -> MemberPlan:
    windows, length = drawn.windows, drawn.windows.max_length
    documents, found = _Documents(windows.store), Counter[Any]()
    for counts in _stretch_by_stretch(drawn, documents):
        found.update(counts)
    masked = {"document edges": found["edges"], "between pieces": found["firsts"] - found["rows"]}
    masked["excluded"] = found["excluded places"]
    if found["elsewhere"]:
        masked["counted in another row"] = found["elsewhere"]
    if windows.store.has_counts:
        masked["context by the data"] = found["never"] - masked["document edges"]
    times = {level: found[level] for level in sorted(key for key in found if isinstance(key, int)) if found[level]}
    made = MemberPlan(
        policy=windows.policy,
        max_length=length,
        num_samples=windows.num_samples,
        num_tokens=windows.num_tokens,
        num_documents=windows.store.num_documents,
        documents_cut=documents.num_cut,
        num_rows=found["rows"],
        repeats=found["rows"] / windows.num_samples,
        trained=found["trained"] - masked.get("context by the data", 0),
        masked=masked,
        padded=found["rows"] * (length + 1) - found["places"],
        times_target={0: 0} | times,
        context_only=found["read"] - found["only masked"] - (windows.num_tokens - found[0]),
        dropped={
            **_not_in_rows(windows, documents, windows.num_tokens - found["there"]),
            "samples not drawn": found["there"] - found["drawn"],
            "excluded": found["drawn"] - found["read"],
            "masked and no input": found["only masked"],
        },
        nbytes_read=found["places"] * (windows.store.dtype.itemsize + windows.store.has_counts),
    )
    made.check()
    return made


def _stretch_by_stretch(drawn: DrawCounts, documents: "_Documents") -> Iterator[Counter[Any]]:
    """What is counted in one stretch of the store after another; of windows that slide, what is alike once."""
    windows, known = drawn.windows, dict[object, Counter[Any]]()
    may_differ = not isinstance(windows.layout, Sliding) or windows.may_mask or drawn.masks_edges
    for begin, stop in pairwise(_edges(windows)):
        groups = (_spans(drawn, begin, stop, *epochs) for epochs in drawn.groups())
        if windows.moves:
            yield _counted(drawn, documents, map(documents.seen, groups), begin, stop)
            continue
        for spans, first, end in _parts(next(groups), begin, stop):
            documents.seen(spans)
            times, head = np.unique(spans.times).tolist(), (spans.starts[:1] - first).tolist()
            alike = not may_differ and len(times) == 1 and not spans.excluded.any()
            key = (end - first, len(spans.starts), *head, *times) if alike else None
            if key is None or key not in known:
                known[key] = _counted(drawn, documents, [spans], first, end)
            yield known[key]


def _parts(spans: _Drawn, begin: int, stop: int) -> Iterator[tuple[_Drawn, int, int]]:
    """``spans`` of a stretch, neither of whose ends ever falls, so many at a time, and the stretch of each part."""
    edges = sorted({begin, *spans.starts[_SPANS_AT_A_TIME::_SPANS_AT_A_TIME].clip(begin).tolist(), stop})
    for first, end in pairwise(edges):
        here = slice(np.searchsorted(spans.stops, first, side="right"), np.searchsorted(spans.starts, end))
        yield _Drawn._make(field[here] for field in spans), first, end


def _edges(windows: Windows) -> list[int]:
    """Between which tokens the stretches lie: so many windows, or so many pieces of documents at the most, in each."""
    num, store = windows.num_tokens, windows.store
    if isinstance(windows.layout, Relaid):  # the line of an epoch is another
        return [0, num]
    if isinstance(windows.layout, Sliding):
        return [*range(0, num, _WINDOWS_AT_A_TIME * windows.stride), num]
    ends = store.document_ends(np.arange(_DOCUMENTS_AT_A_TIME - 1, store.num_documents, _DOCUMENTS_AT_A_TIME))
    tokens = np.arange(0, num, _DOCUMENTS_AT_A_TIME * windows.max_length)
    return sorted({*tokens.tolist(), *ends.tolist(), num})


def _spans(drawn: DrawCounts, begin: int, stop: int, first: int, end: int) -> _Drawn:
    """The spans of such epochs' samples that hold one of the tokens from ``begin`` to ``stop``."""
    windows, key = drawn.windows, drawn.key
    ids, spans, in_row = windows.layout.between(begin, stop, first, key=key)
    times, excluded = drawn.draws(ids, first, end)
    inputs = spans.starts + np.minimum(spans.lengths, windows.max_length - in_row)  # a row's last place: a target only
    drawn_as = (in_row == 0, times[spans.row], excluded[spans.row])
    return _Drawn(spans.starts, spans.starts + spans.lengths, spans.starts + spans.context, inputs, *drawn_as)


def _counted(
    drawn: DrawCounts, documents: "_Documents", groups: Iterable[_Drawn], begin: int, stop: int
) -> Counter[Any]:
    """Tokens of a stretch by what becomes of them and by how often they are a target; places of rows that begin there.

    Of a group itself nothing is kept.
    """
    found, store, masks_edges = Counter[Any](), drawn.windows.store, drawn.masks_edges
    targets = Coverage(begin, stop)
    read, held, there, inputs = (Coverage(begin, stop, most=1) for _ in range(4))
    for spans in groups:
        found.update(_places(store, _Drawn._make(field[spans.starts >= begin] for field in spans), masks_edges))
        targets.add(spans.targets, spans.stops, spans.times)
        read.add(spans.starts, spans.stops, spans.times)
        held.add(spans.starts, spans.stops, spans.times + spans.excluded)
        there.add(spans.starts, spans.stops, np.ones_like(spans.starts))
        if masks_edges or store.has_counts:
            inputs.add(spans.starts, spans.inputs, spans.times)
    found.update(targets.histogram())
    found.update(read=read.num_covered, drawn=held.num_covered, there=there.num_covered)
    firsts = documents.between(begin, stop)[1] if masks_edges else np.empty(0, dtype=np.int64)
    for places in _never_targets(store, firsts, begin, stop):
        times = targets.at(places)
        found["never"] += int(times.sum())
        levels, counts = np.unique(times, return_counts=True)
        found.subtract(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
        found[0] += len(times)
        found["only masked"] += int(np.count_nonzero((times > 0) & (inputs.at(places) == 0)))
    return found


def _places(store: TokenStore, spans: _Drawn, masks_edges: bool) -> dict[str, int]:
    """What the places of a group's rows hold; ``firsts`` are those of spans, the first of a row among them."""
    all_times, context = spans.times + spans.excluded, spans.targets - spans.starts
    within = spans.stops - spans.targets  # targets in their row
    edges = np.zeros_like(within)
    if masks_edges:
        first = store.document_at(np.maximum(spans.targets - 1, spans.starts))
        edges = store.document_at(spans.stops - 1) - first + (context == 0)
    counts = {
        "rows": all_times * spans.is_head,
        "edges": spans.times * edges,
        "firsts": all_times * (context > 0),
        "excluded places": spans.excluded * within,
        "elsewhere": all_times * np.maximum(context - 1, 0),
        "trained": spans.times * (within - edges),
        "places": all_times * (spans.stops - spans.starts),
    }
    return {name: int(count.sum()) for name, count in counts.items()}


class _Documents:
    """What the rows hold of documents, and between which tokens they lie."""

    def __init__(self, store: TokenStore) -> None:
        self.first, self.stop = store.num_tokens, 0
        self._store = store
        self._whole, self._touched = (np.zeros(store.num_documents, dtype=np.bool_) for _ in range(2))

    def between(self, first: int, stop: int) -> tuple[slice, Int64, Int64]:
        """The documents that hold one of the tokens ``[first, stop)``: which, where they begin, where they end."""
        begin, last = self._store.document_at(np.array([first, stop - 1])).tolist()
        edges = self._store.document_ends(np.arange(begin - 1, last + 1))
        return slice(begin, last + 1), edges[:-1], edges[1:]

    def seen(self, spans: _Drawn) -> _Drawn:
        """``spans``, which are taken in."""
        order = np.argsort(spans.starts, kind="stable")
        begins, furthest = spans.starts[order], np.append(-1, np.maximum.accumulate(spans.stops[order]))
        if len(begins):
            first, stop = int(begins[0]), int(furthest[-1])
            self.first, self.stop = min(self.first, first), max(self.stop, stop)
            here, starts, ends = self.between(first, stop)
            self._whole[here] |= furthest[np.searchsorted(begins, starts, side="right")] >= ends
            self._touched[here] |= furthest[np.searchsorted(begins, ends)] > starts
        return spans

    @property
    def num_cut(self) -> int:
        """Documents of which some row holds a token, and no row all."""
        return int(np.count_nonzero(self._touched & ~self._whole))


def _never_targets(store: TokenStore, firsts: Int64, first: int, stop: int) -> Iterator[Int64]:
    """Tokens of a stretch that do not count wherever they stand: by the data, or as one of ``firsts`` of documents."""
    for begin in range(first, stop if store.has_counts else first, _AT_A_TIME):
        counts = store.counts_at(np.array([begin]), np.array([min(_AT_A_TIME, stop - begin)]))
        counts[firsts[slice(*np.searchsorted(firsts, (begin, begin + len(counts))))] - begin] = False
        yield begin + np.flatnonzero(~counts)
    if not store.has_counts:
        yield firsts[slice(*np.searchsorted(firsts, (first, stop)))]


def _not_in_rows(windows: Windows, documents: _Documents, left_out: int) -> dict[str, int]:
    """The ``left_out`` tokens that are in no row, by reason."""
    if windows.policy == "bos":
        return {"cropped": left_out}
    if windows.policy in ("pad", "pack"):
        return {"documents of one token": left_out}
    if windows.document_order == "epoch":
        return {"in no window of these epochs": left_out}
    ends = {"before the first window": documents.first, "after the last window": windows.num_tokens - documents.stop}
    return {**ends, "between windows": left_out - sum(ends.values())}
