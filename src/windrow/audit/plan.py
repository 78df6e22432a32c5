"""What a run will train on, to the token, before it starts: the ledger.

Guarantee: two sums that always balance. Of a store, every token once: a target at least once + context only + dropped,
by reason. Of the rows, every place once: targets that count + masked, by reason + padded. Cost: arithmetic over rows
and documents, vectorised; no token is read and no batch is made. It does not do: any training, or a guess.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from windrow.arrays import Int64
from windrow.audit.coverage import Coverage
from windrow.audit.draw_counts import DrawCounts
from windrow.loader.loader import Loader
from windrow.windows.spans import Key, document_bounds
from windrow.windows.windows import Windows

__all__ = ["MemberPlan", "Plan", "plan"]


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
        """The same as plain values."""
        return {**asdict(self), "trained": self.trained, "padded": self.padded, "places": self.places}


def plan(loader: Loader, *, epochs: int = 1, num_steps: int | None = None) -> Plan:
    """What ``loader`` trains on from its beginning, in ``epochs`` or in ``num_steps``; its position does not matter.

    What was excluded counts from its position on.
    """
    sizes, epoch_samples = loader.sizes, loader.epoch_samples
    steps = epochs * len(loader) if num_steps is None else num_steps
    stop = sizes.after(0, steps)
    passes, absent = stop // epoch_samples, 0
    dropped = np.empty(0, dtype=np.int64)  # positions
    if sizes.tail == "drop":
        kept = np.arange(sizes.steps_in(epoch_samples) * sizes.global_batch, epoch_samples)
        dropped = (np.arange(passes)[:, None] * epoch_samples + kept).reshape(-1)
    if sizes.tail == "keep" and sizes.dp_world_size > 1:
        absent = passes * (sizes.steps_in(epoch_samples) * sizes.global_batch - epoch_samples)
    members = {name: _member_plan(DrawCounts(loader, name, stop, dropped)) for name in loader.members}
    made = Plan(
        num_steps=steps,
        steps_per_epoch=len(loader),
        num_samples=epoch_samples,
        batch_size=sizes.batch_size,
        dp_world_size=sizes.dp_world_size,
        rows_without_data=absent,
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
    num_inputs: Int64
    times: Int64
    excluded: Int64


def _member_plan(drawn: DrawCounts) -> MemberPlan:
    windows, n, length = drawn.windows, drawn.windows.num_tokens, drawn.windows.max_length
    groups = [(_spans(windows, epoch, drawn.key, t, x), t, x) for epoch, t, x in drawn.groups()]
    num_rows = sum(int((t + x).sum()) for _, t, x in groups)
    spans = _Drawn(*map(np.concatenate, zip(*(group[0] for group in groups), strict=True)))
    all_times = spans.times + spans.excluded
    within = spans.stops - spans.targets  # targets in the same span as their input
    edges = np.zeros_like(within)
    if drawn.masks_edges and windows.policy not in ("pad", "pack"):  # whose spans lie within a document
        edges = windows.store.document_at(spans.stops - 1) - windows.store.document_at(spans.targets - 1)
    masked = {
        "document edges": int((spans.times * edges).sum()),
        "between pieces": int(all_times.sum()) - num_rows,
        "excluded": int((spans.excluded * within).sum()),
    }
    if context := int((all_times * (spans.targets - spans.starts - 1)).sum()):
        masked["counted in another row"] = context
    trained = int((spans.times * (within - edges)).sum())
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
        nbytes_read=read * windows.store.dtype.itemsize,
        **_tokens(windows, spans, drawn.masks_edges),
    )
    made.check()
    return made


def _spans(windows: Windows, epoch: int, key: Key, times: Int64, excluded: Int64) -> _Drawn:
    """The spans of an epoch's samples, each drawn ``times`` (N,) and ``excluded`` (N,) as often as its sample."""
    spans = windows.spans(np.arange(windows.num_samples), epoch, key=key)
    full = spans.per_row(spans.lengths) == windows.max_length + 1  # (N,) the last token is a target only
    num_inputs = spans.lengths.copy()
    num_inputs[np.flatnonzero(np.diff(spans.row, append=-1))[full]] -= 1  # of each row's last span
    stops, targets = spans.starts + spans.lengths, spans.starts + spans.context
    return _Drawn(spans.starts, stops, targets, num_inputs, times[spans.row], excluded[spans.row])


def _tokens(windows: Windows, spans: _Drawn, masks_edges: bool) -> dict[str, Any]:
    """Each token of the store once: how often it is a target, or why not."""
    starts, stops, n = spans.starts, spans.stops, windows.num_tokens
    targets = Coverage(spans.targets, stops, spans.times, n)
    read = Coverage(starts, stops, spans.times, n)
    drawn = Coverage(starts, stops, spans.times + spans.excluded, n)
    there = Coverage(starts, stops, np.ones_like(starts), n)
    times, only_masked = targets.histogram(), 0
    if masks_edges:
        firsts = document_bounds(windows.store)[0]
        masked_times = targets.at(firsts)
        for level, count in zip(*map(np.ndarray.tolist, np.unique(masked_times, return_counts=True)), strict=True):
            times[level] -= count
            times[0] += count
        inputs = Coverage(starts, starts + spans.num_inputs, spans.times, n)
        only_masked = int(np.count_nonzero((masked_times > 0) & (inputs.at(firsts) == 0)))
    dropped = {
        **_not_in_rows(windows, there),
        "samples not drawn": there.num_covered - drawn.num_covered,
        "excluded": drawn.num_covered - read.num_covered,
        "masked and no input": only_masked,
    }
    context_only = read.num_covered - only_masked - (n - times[0])
    return {
        "times_target": {level: count for level, count in sorted(times.items()) if count or not level},
        "context_only": context_only,
        "dropped": dropped,
    }


def _not_in_rows(windows: Windows, there: Coverage) -> dict[str, int]:
    """Tokens in no row, by reason."""
    first, stop = there.hull
    left_out = windows.num_tokens - there.num_covered
    if windows.policy == "bos":
        return {"cropped": left_out}
    if windows.policy in ("pad", "pack"):
        return {"documents of one token": left_out}
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
