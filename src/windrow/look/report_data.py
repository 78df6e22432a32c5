"""What a report says, as plain values: read from store, windows and loader, of a large store from a sample.

Guarantee: every number is the library's own; where it is of a sample, ``sampled`` says of how many. Cost: bounded: at
most ``_MOST_TOKENS`` tokens, ``_MOST_DOCUMENTS`` boundaries and ``_MOST_WINDOWS`` windows are looked at. It does not
do: any HTML.
"""

import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import dropwhile
from typing import Any

import numpy as np

from windrow.arrays import Int64
from windrow.audit.draw_counts import counted_epochs
from windrow.audit.plan import Plan, plan
from windrow.audit.sizes import RunSizes, plans_by_policy
from windrow.loader.loader import Loader
from windrow.look.explain import Row, rows_of
from windrow.look.pieces import hues_of, passages, pieces
from windrow.order.order import MemberOrder
from windrow.quality import bit_agreement, block_chi_square, distinct_differences, lag_one
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer
from windrow.windows.windows import Windows

__all__ = ["coverage", "document_lengths", "frequent_tokens", "ledger", "mixture_shares", "order_facts", "step_rows"]

_MOST_TOKENS, _MOST_DOCUMENTS, _MOST_WINDOWS = 4_000_000, 4_000_000, 2_000_000
_PLAN_WINDOWS, _PLAN_TOKENS, _MOST_DECODED = 2_000_000, 20_000_000, 65_536
CARRIED_PLACES, CARRIED_ROWS, _CARRIED_NUMBERS = 64, 8, 7_000  # of each step, and of all steps together


def step_rows(loader: Loader, tokenizer: Tokenizer | None) -> dict[int, list[dict[str, Any]]]:
    """The first steps of the run and of its second epoch: each row's window, its first places and how they read."""
    places = min(CARRIED_PLACES, next(iter(loader.members.values())).max_length)
    each = 2 * places * min(loader.batch_size, CARRIED_ROWS)
    count = max(2, min(24, _CARRIED_NUMBERS // each))
    steps = [*range(min(count, len(loader))), *range(len(loader), len(loader) + min(count // 2, len(loader)))]
    rows = {step: rows_of(loader, step)[:CARRIED_ROWS] for step in steps}
    return {step: [_carried(loader, row, places, tokenizer) for row in rows[step]] for step in steps}


def _carried(loader: Loader, row: Row, places: int, tokenizer: Tokenizer | None) -> dict[str, Any]:
    store, inputs = loader.members[row.member].store, row.inputs[:places]
    at = (store.document_ends(np.maximum(row.documents, 0) - 1) + row.positions).tolist()
    return {
        **{name: getattr(row, name) for name in ("member", "window", "epoch", "start")},
        "inputs": inputs,
        "targets": row.targets[:places],
        "hues": hues_of([*at, at[-1] + 1][: places + 1]),
        "reads": passages(inputs, tokenizer, store.eos_id),
    }


def order_facts(loader: Loader, windows: Windows, name: str) -> tuple[Int64, Int64, dict[str, tuple[float, float]]]:
    """The order of the member's windows in an epoch (for the picture), a bad one, and both ones' z-scores."""
    num = min(windows.num_samples, 20_000)  # for more windows, the order of an epoch of so many
    order = MemberOrder(num, seed=loader.seed, name=name, shuffle=loader.shuffle, shuffle_block=loader.shuffle_block)
    good, bad = order.at(np.arange(num))[0], _buffered(num, max(2, num // 20))
    z: dict[str, tuple[float, float]] = {}
    if num >= 200 and loader.shuffle:
        measures = (lag_one, distinct_differences, bit_agreement, block_chi_square)
        labels = ("neighbours alike", "repeated distances", "bits kept", "regions kept")
        z = {label: (one(good), one(bad)) for label, one in zip(labels, measures, strict=True)}
    return good, bad, z


def _buffered(num: int, size: int) -> Int64:
    """What a shuffle buffer of ``size`` makes of 0, 1, 2, ...: each next one drawn from the few that are held."""
    random, held, out = np.random.default_rng(0), list(range(min(size, num))), []
    for value in range(size, num):
        place = int(random.integers(len(held)))
        out.append(held[place])
        held[place] = value
    random.shuffle(held)
    return np.array([*out, *held], dtype=np.int64)


def coverage(
    loader: Loader, windows: Windows, name: str, bars: int = 60
) -> tuple[list[tuple[int, int, float]], int] | None:
    """``(start, stop, times)``: how often on average a token of each stretch is a target in an epoch of windows.

    And of how many epochs that is the mean, one where all are alike.
    """
    if windows.num_samples > _MOST_WINDOWS or (windows.store.has_counts and windows.num_tokens > _PLAN_TOKENS):
        return None
    epochs = counted_epochs(loader, _MOST_WINDOWS // windows.num_samples) if windows.moves else 1
    edges = np.unique(np.linspace(0, windows.num_tokens, bars + 1).astype(np.int64))
    below = np.zeros_like(edges)
    for epoch in range(epochs):
        spans = windows.spans(np.arange(windows.num_samples), epoch, key=(loader.seed, name))
        first, stops = spans.starts + spans.context, spans.starts + spans.lengths
        below += _targets_below(windows.store, edges, first, stops)
    parts = zip(edges[:-1].tolist(), edges[1:].tolist(), (np.diff(below) / epochs).tolist(), strict=True)
    return [(start, stop, held / (stop - start)) for start, stop, held in parts], epochs


def _targets_below(store: TokenStore, edges: Int64, first: Int64, stops: Int64) -> Int64:
    """How many of the targets ``[first, stops)`` (n,) that count lie below each of ``edges``."""
    if not store.has_counts:
        return np.array([np.clip(edge - first, 0, stops - first).sum() for edge in edges], dtype=np.int64)
    begun, ended = (np.bincount(places, minlength=store.num_tokens + 1) for places in (first, stops))
    counts = store.counts_at(np.array([0]), np.array([store.num_tokens]))
    below: Int64 = np.append(0, np.cumsum(np.cumsum(begun - ended)[:-1] * counts))[edges]
    return below


def document_lengths(windows: Windows) -> tuple[list[tuple[int, int, int]], str]:
    """``(shortest, longest, documents)`` by powers of two, in tokens, and of how many that is."""
    store = windows.store
    num = min(store.num_documents, _MOST_DOCUMENTS)
    lengths = np.diff(store.document_ends(np.arange(-1, num)))
    powers = np.bincount(np.log2(lengths).astype(np.int64))
    bins = [(2**k, 2 ** (k + 1) - 1, count) for k, count in enumerate(powers.tolist())]
    sampled = "" if num == store.num_documents else f"the first {num:,} of {store.num_documents:,} documents"
    return [*dropwhile(lambda one: not one[2], bins)], sampled


def frequent_tokens(windows: Windows, tokenizer: Tokenizer | None, most: int = 12) -> dict[str, Any]:
    """The most frequent tokens and how often each comes, distinct ones, bytes of text per token, and scripts."""
    store, parts = windows.store, 64
    if store.num_tokens <= _MOST_TOKENS:
        ids, sampled = store.tokens(), ""
    else:
        starts = np.linspace(0, store.num_tokens - _MOST_TOKENS // parts, parts).astype(np.int64)
        ids, sampled = store.gather(starts, _MOST_TOKENS // parts).reshape(-1), f"a sample of {_MOST_TOKENS:,} tokens"
    counts = Counter(dict(zip(*map(np.ndarray.tolist, np.unique(ids, return_counts=True)), strict=True)))
    text = {token: count for token, count in counts.items() if token != store.eos_id}
    per_token, decode = None, getattr(tokenizer, "decode_bytes", None)
    if decode and text:
        per_token = sum(len(decode([token])) * count for token, count in text.items()) / sum(text.values())
    top = counts.most_common(most)
    found = {"top": top, "of": len(ids), "distinct": len(counts), "bytes_per_token": per_token, "sampled": sampled}
    return {**found, "scripts": _scripts(ids[:_MOST_DECODED].tolist(), tokenizer)}


def _scripts(ids: list[int], tokenizer: Tokenizer | None, most: int = 8) -> list[tuple[str, int, int]]:
    """``(script, characters, tokens)`` of the words in ``ids``; a script is the first word of a letter's name."""
    characters, tokens = Counter[str](), Counter[str]()
    for piece in pieces(ids, tokenizer):
        letter = piece.text.strip()[:1]
        if letter.isalpha():
            script = unicodedata.name(letter, "other").split()[0].lower()
            characters[script] += len(piece.text)
            tokens[script] += len(piece.ids)
    return [(script, count, tokens[script]) for script, count in characters.most_common(most)]


def ledger(loader: Loader, windows: Windows) -> tuple[Plan | None, dict[str, Plan | str]]:
    """The plan of one epoch, and one of each policy; None and none where a store is too large for a page."""
    total = sum(member.num_samples for member in loader.members.values())
    made = plan(loader) if total <= _PLAN_WINDOWS else None
    if len(loader.members) > 1 or windows.num_tokens > _PLAN_TOKENS:
        return made, {}
    sizes = RunSizes(windows.max_length, windows.stride, loader.batch_size, loader.seed)
    sizes = replace(sizes, documents=windows.document_order)
    return made, plans_by_policy(windows.store, sizes, {}, {}, dp_rank=0, dp_world_size=loader.dp_world_size)


def mixture_shares(loader: Loader, parts: int = 24) -> list[list[float]]:
    """The share of each member, in their order, in each stretch of an epoch."""
    edges = np.unique(np.linspace(0, loader.epoch_samples, parts + 1).astype(np.int64)).tolist()
    done = np.array([loader.samples.order.samples_before(edge) for edge in edges])  # (parts + 1, members)
    shares: list[list[float]] = (np.diff(done, axis=0) / np.diff(edges)[:, None]).tolist()
    return shares
