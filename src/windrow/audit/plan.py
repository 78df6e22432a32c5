"""What a run will train on, to the token, before it starts: the ledger.

Guarantee: two sums that always balance. Of a store, every token once: a target at least once + context only + dropped,
by reason. Of the rows, every place once: targets that count + masked, by reason + padded. Cost: arithmetic over rows
and documents, vectorised; no token is read, only which of them count where the data says so, and no batch is made. It
does not do: any training, or a guess.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64
from windrow.audit.draw_counts import DrawCounts, counted_epochs
from windrow.errors import whole_number
from windrow.loader.loader import Loader
from windrow.store.store import TokenStore
from windrow.windows.spans import Key, document_bounds
from windrow.windows.windows import Windows

__all__ = ["MemberPlan", "Plan", "plan"]

_AT_A_TIME = 1 << 22  # tokens


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

    ``steps_not_counted`` were asked for beyond them, after 64 epochs of rows that move.
    """

    num_steps: int
    steps_not_counted: int
    steps_per_epoch: int
    num_samples: int
    batch_size: int
    dp_world_size: int
    rows_without_data: int
    members: dict[str, MemberPlan]

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
        return {**asdict(self), "trained": self.trained, "padded": self.padded, "places": self.places}


def plan(loader: Loader, *, epochs: int = 1, num_steps: int | None = None) -> Plan:
    """What ``loader`` trains on from its beginning, in ``epochs`` or in ``num_steps``; its position does not matter.

    What was excluded counts from its position on. Where rows move from epoch to epoch, 64 epochs at most are counted.
    """
    sizes, epoch_samples = loader.sizes, loader.epoch_samples
    asked = whole_number("epochs", epochs) * len(loader) if num_steps is None else whole_number("num_steps", num_steps)
    steps = min(asked, counted_epochs(loader, asked) * len(loader))
    stop = sizes.after(0, steps)
    passes = stop // epoch_samples
    tail = np.arange(epoch_samples - loader.num_dropped, epoch_samples)
    dropped = (np.arange(passes)[:, None] * epoch_samples + tail).reshape(-1)  # positions
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
    )
    assert sum(member.num_rows for member in members.values()) == stop - len(dropped)
    return made


# -- the ledger ----------------------------------------------------------------------------------------------------


class _Drawn(NamedTuple):
    """The spans (n,) of all samples of a group, and how often each is drawn."""

    starts: Int64
    stops: Int64
    targets: Int64  # the first token that is a target: those before it are context
    inputs: Int64  # one past the last token that is an input
    times: Int64
    excluded: Int64


def _member_plan(drawn: DrawCounts) -> MemberPlan:
    windows, length = drawn.windows, drawn.windows.max_length
    places, held = Counter[str](), _Held(windows, drawn.masks_edges)
    for epoch, times, excluded in drawn.groups():
        spans = _spans(windows, drawn.key, epoch, times, excluded)
        held.add(spans)
        places.update(rows=int(times.sum() + excluded.sum()), **_places(windows, spans, drawn.masks_edges))
    masked = {"document edges": places["edges"], "between pieces": places["firsts"] - places["rows"]}
    masked["excluded"] = places["excluded"]
    if places["elsewhere"]:
        masked["counted in another row"] = places["elsewhere"]
    used = _tokens(windows, held)
    never = used.pop("never")
    if windows.store.has_counts:
        masked["context by the data"] = never - masked["document edges"]
    made = MemberPlan(
        policy=windows.policy,
        max_length=length,
        num_samples=windows.num_samples,
        num_tokens=windows.num_tokens,
        num_documents=windows.store.num_documents,
        documents_cut=held.num_cut,
        num_rows=places["rows"],
        repeats=places["rows"] / windows.num_samples,
        trained=places["trained"] - masked.get("context by the data", 0),
        masked=masked,
        padded=places["rows"] * (length + 1) - places["read"],
        nbytes_read=places["read"] * (windows.store.dtype.itemsize + windows.store.has_counts),
        **used,
    )
    made.check()
    return made


def _spans(windows: Windows, key: Key, epoch: int, times: Int64, excluded: Int64) -> _Drawn:
    """The spans of an epoch's samples, each drawn ``times`` (N,) and ``excluded`` (N,) as often as its sample."""
    spans = windows.spans(np.arange(windows.num_samples), epoch, key=key)
    num_inputs = np.minimum(spans.lengths, windows.max_length - spans.in_row())  # a row's last place is a target only
    starts, stops = spans.starts, spans.starts + spans.lengths
    return _Drawn(starts, stops, starts + spans.context, starts + num_inputs, times[spans.row], excluded[spans.row])


def _places(windows: Windows, spans: _Drawn, masks_edges: bool) -> dict[str, int]:
    """What the places of a group's rows hold; ``firsts`` are those of spans, the first of a row among them."""
    all_times, context = spans.times + spans.excluded, spans.targets - spans.starts
    within = spans.stops - spans.targets  # targets in their row
    edges = np.zeros_like(within)
    if masks_edges:
        first = windows.store.document_at(np.maximum(spans.targets - 1, spans.starts))
        edges = windows.store.document_at(spans.stops - 1) - first + (context == 0)
    counts = {
        "edges": spans.times * edges,
        "firsts": all_times * (context > 0),
        "excluded": spans.excluded * within,
        "elsewhere": all_times * np.maximum(context - 1, 0),
        "trained": spans.times * (within - edges),
        "read": all_times * (spans.stops - spans.starts),
    }
    return {name: int(count.sum()) for name, count in counts.items()}


class _Held:
    """What rows hold of each token and document, group after group; of a group itself nothing is kept."""

    def __init__(self, windows: Windows, masks_edges: bool) -> None:
        n, self._bounds = windows.num_tokens, document_bounds(windows.store)
        self.masks_edges, self._looks_at_inputs = masks_edges, masks_edges or windows.store.has_counts
        self.targets = _Coverage(n)
        self.read, self.drawn, self.there, self.inputs = (_Coverage(n, most=1) for _ in range(4))
        self.first, self.stop = n, 0
        self._whole, self._touched = (np.zeros(windows.store.num_documents, dtype=np.bool_) for _ in range(2))

    def add(self, spans: _Drawn) -> None:
        """Take in a group."""
        starts, stops = spans.starts, spans.stops
        self.targets.add(spans.targets, stops, spans.times)
        self.read.add(starts, stops, spans.times)
        self.drawn.add(starts, stops, spans.times + spans.excluded)
        self.there.add(starts, stops, np.ones_like(starts))
        if self._looks_at_inputs:
            self.inputs.add(starts, spans.inputs, spans.times)
        self.first, self.stop = min(self.first, int(starts.min())), max(self.stop, int(stops.max()))
        order = np.argsort(starts, kind="stable")
        begins, furthest = starts[order], np.append(-1, np.maximum.accumulate(stops[order]))
        firsts, ends = self._bounds
        self._whole |= furthest[np.searchsorted(begins, firsts, side="right")] >= ends
        self._touched |= furthest[np.searchsorted(begins, ends, side="left")] > firsts

    @property
    def num_cut(self) -> int:
        """Documents of which some row holds a token, and no row all."""
        return int(np.count_nonzero(self._touched & ~self._whole))


def _tokens(windows: Windows, held: _Held) -> dict[str, Any]:
    """Each token of the store once: how often it is a target, or why not; and targets that never count."""
    times, only_masked, never = held.targets.histogram(), 0, 0
    for places in _never_targets(windows.store, held.masks_edges):
        masked_times = held.targets.at(places)
        never += int(masked_times.sum())
        for level, count in zip(*map(np.ndarray.tolist, np.unique(masked_times, return_counts=True)), strict=True):
            times[level] -= count
            times[0] += count
        only_masked += int(np.count_nonzero((masked_times > 0) & (held.inputs.at(places) == 0)))
    dropped = {
        **_not_in_rows(windows, held, windows.num_tokens - held.there.num_covered),
        "samples not drawn": held.there.num_covered - held.drawn.num_covered,
        "excluded": held.drawn.num_covered - held.read.num_covered,
        "masked and no input": only_masked,
    }
    return {
        "times_target": {level: count for level, count in times.items() if count or not level},
        "context_only": held.read.num_covered - only_masked - (windows.num_tokens - times[0]),
        "dropped": dropped,
        "never": never,
    }


def _never_targets(store: TokenStore, masks_edges: bool) -> Iterator[Int64]:
    """The tokens that do not count wherever they stand, some at a time: by the data, or as the first of a document."""
    firsts = document_bounds(store)[0] if masks_edges else np.empty(0, dtype=np.int64)
    if not store.has_counts:
        yield firsts
        return
    for begin in range(0, store.num_tokens, _AT_A_TIME):
        counts = store.counts_at(np.array([begin]), np.array([min(_AT_A_TIME, store.num_tokens - begin)]))
        counts[firsts[slice(*np.searchsorted(firsts, (begin, begin + _AT_A_TIME)))] - begin] = False
        yield begin + np.flatnonzero(~counts)


def _not_in_rows(windows: Windows, held: _Held, left_out: int) -> dict[str, int]:
    """The ``left_out`` tokens that are in no row, by reason."""
    if windows.policy == "bos":
        return {"cropped": left_out}
    if windows.policy in ("pad", "pack"):
        return {"documents of one token": left_out}
    if windows.document_order == "epoch":
        return {"in no window of these epochs": left_out}
    ends = {"before the first window": held.first, "after the last window": windows.num_tokens - held.stop}
    return {**ends, "between windows": left_out - sum(ends.values())}


class _Coverage:
    """How often each of ``num_tokens`` tokens is covered by spans that come in groups, ``most`` times at the most.

    Cost: a sort of a group's ends and of the places where the count changes, which are all that is kept.
    """

    def __init__(self, num_tokens: int, most: int = np.iinfo(np.int64).max) -> None:
        self._num_tokens, self._most = num_tokens, most
        self._places, self._levels = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)

    def add(self, starts: Int64, stops: Int64, weights: Int64) -> None:
        """Cover the spans ``[starts, stops)`` (K,), each ``weights`` (K,) times more."""
        used = weights > 0
        starts, stops, weights = starts[used], stops[used], weights[used]
        places = np.concatenate([self._places, starts, stops])
        steps = np.concatenate([np.diff(self._levels, prepend=0), weights, -weights])
        order = np.argsort(places, kind="stable")
        places, levels = places[order], np.minimum(np.cumsum(steps[order]), self._most)
        last = np.append(places[1:] > places[:-1], True)  # of those at the same place
        places, levels = places[last], levels[last]
        changes = np.append(True, levels[1:] != levels[:-1])
        self._places, self._levels = places[changes], levels[changes]

    def at(self, places: Int64) -> Int64:
        """How often each token of ``places`` (B,) is covered: (B,)."""
        return self._levels[np.searchsorted(self._places, places, side="right") - 1]

    def histogram(self) -> dict[int, int]:
        """``{times: how many tokens are covered so often}``, 0 among them, rising."""
        levels, where = np.unique(self._levels, return_inverse=True)
        tokens = np.bincount(where, self._widths()).astype(np.int64)
        return {0: 0} | {level: n for level, n in zip(levels.tolist(), tokens.tolist(), strict=True) if n}

    @property
    def num_covered(self) -> int:
        """Tokens covered once or more."""
        return int(self._widths()[self._levels > 0].sum())

    def _widths(self) -> Int64:
        """From each place to the next, the count is one and the same."""
        return np.diff(self._places, append=self._num_tokens)
