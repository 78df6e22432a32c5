"""What a report says, as plain values: read from store, windows and loader, of a large store from a sample.

Guarantee: every number is the library's own; where it is of a sample, ``sampled`` says of how many. Cost: bounded: at
most ``_MOST_TOKENS`` tokens, ``_MOST_DOCUMENTS`` boundaries and ``_MOST_WINDOWS`` windows are looked at. It does not
do: any HTML.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.audit.plan import Plan, plan
from windrow.audit.sizes import RunSizes, plans_by_policy
from windrow.loader.loader import Loader
from windrow.look.explain import rows_of, token_text
from windrow.quality import bit_agreement, block_chi_square, distinct_differences, lag_one
from windrow.tokens.protocol import Tokenizer
from windrow.windows.windows import Windows

__all__ = ["coverage", "document_lengths", "frequent_tokens", "ledger", "mixture_shares", "order_facts", "step_rows"]

_MOST_TOKENS, _MOST_DOCUMENTS, _MOST_WINDOWS = 4_000_000, 4_000_000, 2_000_000
_PLAN_WINDOWS, _PLAN_TOKENS = 2_000_000, 20_000_000
CARRIED_PLACES, CARRIED_ROWS, _CARRIED_NUMBERS = 64, 8, 12_000  # of each step, and of all steps together
Int64 = NDArray[np.int64]


def step_rows(loader: Loader) -> dict[int, list[dict[str, Any]]]:
    """The first steps of the run and of its second epoch: each row's window and its first places."""
    places = min(CARRIED_PLACES, next(iter(loader.members.values())).max_length)
    each = 2 * places * min(loader.batch_size, CARRIED_ROWS)
    count = max(2, min(24, _CARRIED_NUMBERS // each))
    steps = [*range(min(count, len(loader))), *range(len(loader), len(loader) + min(count // 2, len(loader)))]
    return {step: [_carried(row, places) for row in rows_of(loader, step)[:CARRIED_ROWS]] for step in steps}


def _carried(row: Any, places: int) -> dict[str, Any]:
    held = [row.documents[0], row.documents[-1]]
    start = {"member": row.member, "window": row.window, "epoch": row.epoch, "start": row.start, "documents": held}
    return {**start, "inputs": row.inputs[:places], "targets": row.targets[:places]}


def order_facts(loader: Loader, windows: Windows, name: str) -> dict[str, Any]:
    """The order of the member's windows in two epochs (for the picture), a bad one, and both ones' z-scores."""
    num = min(windows.num_samples, 20_000)
    good = _permutation(loader, windows.num_samples, name)
    bad = _buffered(len(good), max(2, len(good) // 20))
    z: dict[str, tuple[float, float]] = {}
    if num >= 200 and loader.shuffle:
        measures = (lag_one, distinct_differences, bit_agreement, block_chi_square)
        labels = ("neighbours alike", "repeated distances", "bits kept", "regions kept")
        z = {label: (one(good), one(bad)) for label, one in zip(labels, measures, strict=True)}
    return {"good": good, "bad": bad, "z": z, "of": len(good)}


def _permutation(loader: Loader, num_samples: int, name: str) -> Int64:
    """The windows of an epoch in their order, of at most 20 000 windows: for more, of an epoch of so many."""
    from windrow.order.order import MemberOrder

    num = min(num_samples, 20_000)
    order = MemberOrder(num, seed=loader.seed, name=name, shuffle=loader.shuffle, shuffle_block=loader.shuffle_block)
    return order.at(np.arange(num))[0]


def _buffered(num: int, size: int) -> Int64:
    """What a shuffle buffer of ``size`` makes of 0, 1, 2, ...: each next one drawn from the few that are held."""
    random, held, out = np.random.default_rng(0), list(range(min(size, num))), []
    for value in range(size, num):
        place = int(random.integers(len(held)))
        out.append(held[place])
        held[place] = value
    random.shuffle(held)
    return np.array([*out, *held], dtype=np.int64)


def coverage(loader: Loader, windows: Windows, name: str, bars: int = 60) -> list[tuple[int, int, float]] | None:
    """``(start, stop, times)``: how often on average a token of each stretch is a target in an epoch of windows."""
    if windows.num_samples > _MOST_WINDOWS:
        return None
    spans = windows.spans(np.arange(windows.num_samples), 0, key=(loader.seed, name))
    first, stops = spans.starts + spans.context, spans.starts + spans.lengths
    edges = np.unique(np.linspace(0, windows.num_tokens, bars + 1).astype(np.int64))
    below = [int(np.clip(edge - first, 0, stops - first).sum()) for edge in edges]
    parts = zip(edges[:-1].tolist(), edges[1:].tolist(), np.diff(below).tolist(), strict=True)
    return [(start, stop, held / (stop - start)) for start, stop, held in parts]


def document_lengths(windows: Windows) -> tuple[list[tuple[int, int, int]], str]:
    """``(shortest, longest, documents)`` by powers of two, in tokens, and of how many that is."""
    store = windows.store
    num = min(store.num_documents, _MOST_DOCUMENTS)
    lengths = np.diff(store.document_ends(np.arange(-1, num)))
    powers = np.bincount(np.log2(np.maximum(lengths, 1)).astype(np.int64))
    bins = [(2**k, 2 ** (k + 1) - 1, count) for k, count in enumerate(powers.tolist())]
    first = next((k for k, one in enumerate(bins) if one[2]), 0)
    return bins[first:], "" if num == store.num_documents else f"the first {num:,} of {store.num_documents:,} documents"


def frequent_tokens(windows: Windows, tokenizer: Tokenizer | None, most: int = 20) -> dict[str, Any]:
    """The most frequent tokens with their text and share, distinct ones, and bytes of text per token."""
    store, pieces = windows.store, 64
    if store.num_tokens <= _MOST_TOKENS:
        ids, sampled = store.tokens(), ""
    else:
        starts = np.linspace(0, store.num_tokens - _MOST_TOKENS // pieces, pieces).astype(np.int64)
        ids, sampled = store.gather(starts, _MOST_TOKENS // pieces).reshape(-1), f"a sample of {_MOST_TOKENS:,} tokens"
    values, counts = np.unique(ids, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    top = [(int(values[i]), token_text(tokenizer, int(values[i])), int(counts[i])) for i in order[:most]]
    text = [(v, c) for v, c in zip(values.tolist(), counts.tolist(), strict=True) if v != store.eos_id]
    decode = getattr(tokenizer, "decode_bytes", None)
    nbytes = sum(len(decode([value])) * count for value, count in text) if decode else None
    num_text = sum(count for _, count in text)
    per_token = nbytes / num_text if nbytes is not None and num_text else None
    return {"top": top, "of": len(ids), "distinct": len(values), "bytes_per_token": per_token, "sampled": sampled}


def ledger(loader: Loader, windows: Windows) -> tuple[Plan | None, dict[str, Plan | str]]:
    """The plan of one epoch, and one of each policy; None and none where a store is too large for a page."""
    total = sum(member.num_samples for member in loader.members.values())
    made = plan(loader) if total <= _PLAN_WINDOWS else None
    if len(loader.members) > 1 or windows.num_tokens > _PLAN_TOKENS:
        return made, {}
    sizes = RunSizes(windows.max_length, windows.stride, loader.batch_size, loader.seed)
    return made, plans_by_policy(windows.store, sizes, dp_rank=0, dp_world_size=loader.dp_world_size)


def mixture_shares(loader: Loader, parts: int = 24) -> list[dict[str, float]]:
    """The share of each member in each stretch of an epoch."""
    edges = np.unique(np.linspace(0, loader.epoch_samples, parts + 1).astype(np.int64)).tolist()
    done = [{n: r["samples"] for n, r in loader.shares(edge).items()} if edge else {} for edge in edges]
    return [
        {name: (after[name] - before.get(name, 0)) / (stop - start) for name in after}
        for start, stop, before, after in zip(edges, edges[1:], done, done[1:], strict=False)
    ]
