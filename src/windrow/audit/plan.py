"""What a run will train on, to the token, before it starts: the ledger.

Guarantee: two sums that always balance. Of a store, every token once: a target at least once + context only + dropped,
by reason. Of the rows, every place once: targets that count + masked, by reason + padded. Cost: arithmetic over rows
and documents, vectorised; no token is read, only which of them count where the data says so, and no batch is made. It
does not do: any training, or a guess.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64
from windrow.audit.draw_counts import DrawCounts
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
    """A run of ``num_steps`` steps. ``rows_without_data`` keep ranks in step at the end of an epoch; all padding."""

    num_steps: int
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

    What was excluded counts from its position on.
    """
    sizes, epoch_samples = loader.sizes, loader.epoch_samples
    steps = whole_number("epochs", epochs) * len(loader) if num_steps is None else whole_number("num_steps", num_steps)
    stop = sizes.after(0, steps)
    passes = stop // epoch_samples
    tail = np.arange(epoch_samples - loader.num_dropped, epoch_samples)
    dropped = (np.arange(passes)[:, None] * epoch_samples + tail).reshape(-1)  # positions
    fills_up = sizes.tail == "keep" and sizes.dp_world_size > 1
    members = {name: _member_plan(DrawCounts(loader, name, stop, dropped)) for name in loader.members}
    made = Plan(
        num_steps=steps,
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
    """The spans (n,) of all samples, and how often each is drawn."""

    starts: Int64
    stops: Int64
    targets: Int64  # the first token that is a target: those before it are context
    inputs: Int64  # one past the last token that is an input
    times: Int64
    excluded: Int64


def _member_plan(drawn: DrawCounts) -> MemberPlan:
    windows, n, length = drawn.windows, drawn.windows.num_tokens, drawn.windows.max_length
    groups = [*drawn.groups()]
    num_rows = sum(int(times.sum() + excluded.sum()) for _, times, excluded in groups)
    parts = (_spans(windows, drawn.key, *group) for group in groups)
    spans = _Drawn(*map(np.concatenate, zip(*parts, strict=True)))
    all_times = spans.times + spans.excluded
    context = spans.targets - spans.starts
    within = spans.stops - spans.targets  # targets in their row
    edges = np.zeros_like(within)
    if drawn.masks_edges:
        first = windows.store.document_at(np.maximum(spans.targets - 1, spans.starts))
        edges = windows.store.document_at(spans.stops - 1) - first + (context == 0)
    masked = {
        "document edges": int((spans.times * edges).sum()),
        "between pieces": int((all_times * (context > 0)).sum()) - num_rows,
        "excluded": int((spans.excluded * within).sum()),
    }
    if elsewhere := int((all_times * np.maximum(context - 1, 0)).sum()):
        masked["counted in another row"] = elsewhere
    used = _tokens(windows, spans, drawn.masks_edges)
    never = used.pop("never")
    if windows.store.has_counts:
        masked["context by the data"] = never - masked["document edges"]
    trained = int((spans.times * (within - edges)).sum()) - masked.get("context by the data", 0)
    read = int((all_times * (spans.stops - spans.starts)).sum())
    made = MemberPlan(
        policy=windows.policy,
        max_length=length,
        num_samples=windows.num_samples,
        num_tokens=n,
        num_documents=windows.store.num_documents,
        documents_cut=_num_cut(windows, spans),
        num_rows=num_rows,
        repeats=num_rows / windows.num_samples,
        trained=trained,
        masked=masked,
        padded=num_rows * (length + 1) - read,
        nbytes_read=read * (windows.store.dtype.itemsize + windows.store.has_counts),
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


def _tokens(windows: Windows, spans: _Drawn, masks_edges: bool) -> dict[str, Any]:
    """Each token of the store once: how often it is a target, or why not; and targets that never count."""
    starts, stops, n = spans.starts, spans.stops, windows.num_tokens
    targets = _Coverage(spans.targets, stops, spans.times, n)
    read = _Coverage(starts, stops, spans.times, n)
    drawn = _Coverage(starts, stops, spans.times + spans.excluded, n)
    there = _Coverage(starts, stops, np.ones_like(starts), n)
    inputs = _Coverage(starts, spans.inputs, spans.times, n)
    times, only_masked, never = targets.histogram(), 0, 0
    for places in _never_targets(windows.store, masks_edges):
        masked_times = targets.at(places)
        never += int(masked_times.sum())
        for level, count in zip(*map(np.ndarray.tolist, np.unique(masked_times, return_counts=True)), strict=True):
            times[level] -= count
            times[0] += count
        only_masked += int(np.count_nonzero((masked_times > 0) & (inputs.at(places) == 0)))
    dropped = {
        **_not_in_rows(windows, spans, n - there.num_covered),
        "samples not drawn": there.num_covered - drawn.num_covered,
        "excluded": drawn.num_covered - read.num_covered,
        "masked and no input": only_masked,
    }
    context_only = read.num_covered - only_masked - (n - times[0])
    return {
        "times_target": {level: count for level, count in times.items() if count or not level},
        "context_only": context_only,
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


def _not_in_rows(windows: Windows, spans: _Drawn, left_out: int) -> dict[str, int]:
    """The ``left_out`` tokens that are in no row, by reason."""
    if windows.policy == "bos":
        return {"cropped": left_out}
    if windows.policy in ("pad", "pack"):
        return {"documents of one token": left_out}
    if windows.document_order == "epoch":
        return {"in no window of these epochs": left_out}
    first, stop = int(spans.starts.min()), int(spans.stops.max())
    ends = {"before the first window": first, "after the last window": windows.num_tokens - stop}
    return {**ends, "between windows": left_out - sum(ends.values())}


def _num_cut(windows: Windows, spans: _Drawn) -> int:
    """Documents of which some row holds a token, and no row all."""
    starts, ends = document_bounds(windows.store)
    order = np.argsort(spans.starts, kind="stable")
    begins = spans.starts[order]
    furthest = np.append(-1, np.maximum.accumulate(spans.stops[order]))
    whole = furthest[np.searchsorted(begins, starts, side="right")] >= ends
    touched = furthest[np.searchsorted(begins, ends, side="left")] > starts
    return int(np.count_nonzero(touched & ~whole))


class _Coverage:
    """The spans ``[starts, stops)`` (K,) in ``num_tokens`` tokens, each counted ``weights`` (K,) times.

    Cost: a sort of the spans' ends; memory for the spans, not for the tokens.
    """

    def __init__(self, starts: Int64, stops: Int64, weights: Int64, num_tokens: int) -> None:
        used = weights > 0
        starts, stops, weights = starts[used], stops[used], weights[used]
        places = np.concatenate([[0], starts, stops])
        order = np.argsort(places, kind="stable")
        self._places = places[order]  # from each of them to the next, the level is one and the same
        self._levels = np.cumsum(np.concatenate([[0], weights, -weights])[order])
        self._widths = np.diff(self._places, append=num_tokens)

    def at(self, places: Int64) -> Int64:
        """How often each token of ``places`` (B,) is covered: (B,)."""
        return self._levels[np.searchsorted(self._places, places, side="right") - 1]

    def histogram(self) -> dict[int, int]:
        """``{times: how many tokens are covered so often}``, 0 among them, rising."""
        levels, where = np.unique(self._levels, return_inverse=True)
        tokens = np.bincount(where, self._widths).astype(np.int64)
        return {0: 0} | {level: n for level, n in zip(levels.tolist(), tokens.tolist(), strict=True) if n}

    @property
    def num_covered(self) -> int:
        """Tokens covered once or more."""
        return int(self._widths[self._levels > 0].sum())
