"""The tour from text to batches, told once: stations that a terminal, a panel or a page shows.

Guarantee: every number is read from the store or the loader that is shown, or is the arithmetic of ``Windows``; text is
raw, and whoever shows a station makes it harmless (``visible``, ``safe``). Cost: a few rows of the store, whatever its
size. It does not do: printing. What only one of its tellers has to say, that one adds with ``also``.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from windrow.audit.sizes import RunSizes
from windrow.loader.loader import Loader
from windrow.look.explain import rows_of
from windrow.look.pieces import token_text
from windrow.shown import counted
from windrow.store.store import TokenStore
from windrow.tokens.protocol import Tokenizer
from windrow.windows.windows import Windows

__all__ = ["Fact", "Station", "Tokens", "batch", "listed", "next_token", "order", "slices", "tokens", "windows"]

Fact = tuple[str, str]  # label, value
Tokens = tuple[str, int, list[tuple[int, str]]]  # a row's name, its first place in the store, ids and texts
_PLACES, _IDS, _NUMBERS = 24, 12, 8
_FIRST_WINDOWS, _LAST_WINDOWS = 4, 2
_STEPS, _SAMPLES, _SLICED_STEPS = 8, 12, 3


@dataclass(frozen=True)
class Station:
    """A stage of the way: what it is, facts, rows of tokens below each other, lines as Python prints them, a table.

    ``left`` are the numbers of the table's columns that hold text and not figures.
    """

    title: str
    says: str
    facts: Sequence[Fact] = ()
    tokens: Sequence[Tokens] = ()
    lines: Sequence[str] = ()
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    left: Collection[int] = ()

    def also(self, *facts: Fact) -> "Station":
        """The station with ``facts`` of its teller before its own."""
        return replace(self, facts=[*facts, *self.facts])


def tokens(store: TokenStore, tokenizer: Tokenizer | None) -> Station:
    """The first tokens of ``store`` as text and as numbers, how many there are, and how they are stored."""
    ids, size = store.tokens(0, _PLACES).tolist(), store.dtype.itemsize
    known = f", of a vocabulary of {tokenizer.vocab_size:,}" if tokenizer else ""
    stored = f"{store.dtype}: {size} bytes each, back to back, {store.num_tokens * size:,} bytes in all"
    return Station(
        "Tokens",
        "Text is cut into tokens. A token is a piece of text that has a number, its id.",
        facts=[("count", f"{store.num_tokens:,} tokens{known}"), ("stored", stored)],
        tokens=[_named("tokens", 0, ids, tokenizer)],
    )


def next_token(store: TokenStore, tokenizer: Tokenizer | None, max_length: int) -> Station:
    """What a model learns from the first tokens: after each beginning of a window, the token that follows."""
    ids = store.tokens(0, min(max_length, _IDS) + 1).tolist()
    pairs = [(ids[:place], ids[place]) for place in range(1, len(ids))][:_NUMBERS]
    return Station(
        "The next token",
        "Each input shall predict the token after it. A window is all of these at once: inputs and, moved on by one, "
        "targets.",
        tokens=[_named("inputs", 0, ids[:-1], tokenizer), _named("targets", 1, ids[1:], tokenizer)],
        lines=[
            *[f"{context} ----> {target}" for context, target in pairs],
            *[f"'{_text(tokenizer, context)}' ----> '{token_text(tokenizer, target)}'" for context, target in pairs],
        ],
    )


def windows(
    num_tokens: int, sizes: RunSizes, store: TokenStore | None = None, tokenizer: Tokenizer | None = None
) -> Station:
    """The windows at fixed strides, ``batch_size`` of them a step; with their words when ``store`` is given."""
    length, stride, size = sizes.max_length, sizes.resolved_stride, sizes.batch_size
    count = max(0, (num_tokens - length - 1) // stride + 1)
    more = f", and {count % size:,} left (a short step, dropped, or the next epoch's)" if count % size else ""
    left = f"no window fits: {num_tokens:,} tokens, and one needs {length + 1:,}. Use a smaller max_length."
    if count:
        after = num_tokens - 1 - (count - 1) * stride - length
        left = f"tokens after the last window's target: {after:,} of {num_tokens:,}"
    return Station(
        "Windows",
        f"max_length is {length:,} and stride {stride:,}: window w starts at token w * {stride:,} and holds "
        f"max_length + 1 = {length + 1:,} tokens.",
        facts=[
            ("windows", f"({num_tokens:,} - {length:,} - 1) // {stride:,} + 1 = {count:,}"),
            ("steps", f"{counted(count, 'window')}, {size:,} a step: {counted(count // size, 'step')}{more}"),
            ("left over", left),
        ],
        headings=["window", "start", "inputs", "targets", *(["first and last words"] if store else [])],
        rows=[*_window_rows(count, sizes, store, tokenizer)],
        left=[4],
    )


def _window_rows(
    count: int, sizes: RunSizes, store: TokenStore | None, tokenizer: Tokenizer | None
) -> Iterator[list[str]]:
    last = max(count - _LAST_WINDOWS, _FIRST_WINDOWS)
    for number in [*range(min(count, _FIRST_WINDOWS)), *range(last, count)]:
        start, stop = number * sizes.resolved_stride, number * sizes.resolved_stride + sizes.max_length
        row = [f"{number:,}", f"{start:,}", f"{start:,} to {stop - 1:,}", f"{start + 1:,} to {stop:,}"]
        row += [_words(store, tokenizer, start, stop)] if store else []
        if number == last > _FIRST_WINDOWS:
            yield ["..."] * len(row)
        yield row


def _words(store: TokenStore, tokenizer: Tokenizer | None, start: int, stop: int) -> str:
    spans = [(start, stop)] if stop - start <= 8 else [(start, start + 4), (stop - 4, stop)]
    return " ... ".join(f"'{_text(tokenizer, store.tokens(*span).tolist())}'" for span in spans)


def order(loader: Loader) -> Station:
    """Which windows the first steps of two epochs hold, and what an epoch leaves over."""
    epoch, rank = len(loader), f"{loader.dp_rank} of {loader.dp_world_size}"
    cut = [("rank", f"of each step the part of rank {rank} is shown")] if loader.dp_world_size > 1 else []
    return Station(
        "Order",
        "In an epoch every window comes once. The next epoch is another order of the same windows.",
        facts=[
            ("seed", f"{loader.seed}; the window at a position is computed, so that any step can be asked for"),
            ("dropped", f"{loader.num_dropped:,} of {loader.epoch_samples:,} windows at an epoch's end"),
            *cut,
        ],
        headings=["step", "this epoch: windows", "next epoch: windows"],
        rows=[[str(s), _windows_of(loader, s), _windows_of(loader, s + epoch)] for s in range(min(_STEPS, epoch))],
        left=[1, 2],
    )


def _windows_of(loader: Loader, step: int) -> str:
    try:
        samples = loader.lookup(step)
    except IndexError as error:
        return str(error)
    return listed([f"{sample.member} {sample.window:,}".strip() for sample in samples])


def slices(loader: Loader, windows: Windows) -> Station:
    """The stretch of the store that each sample of a few steps is; ``windows`` are all that ``loader`` draws from."""
    epoch, width = len(loader), windows.max_length + 1
    steps = [first + step for first in (0, epoch) for step in range(min(_SLICED_STEPS, epoch))]
    samples = [(step, sample) for step in steps for sample in loader.lookup(step)[:_SAMPLES]]
    starts = windows.starts(np.array([sample.window for _, sample in samples])).tolist()
    return Station(
        "From a position to its tokens",
        f"Position -> window -> start -> slice of the store. Step {epoch:,} begins the next epoch.",
        headings=["step", "position", "window", "start", "slice"],
        rows=[
            [f"{step:,}", f"{sample.position:,}", f"{sample.window:,}", f"{start:,}", f"[{start:,}:{start + width:,}]"]
            for (step, sample), start in zip(samples, starts, strict=True)
        ],
    )


def batch(loader: Loader, tokenizer: Tokenizer | None) -> Station:
    """Step 0: its shapes, its first row as text, its first rows as numbers."""
    rows = rows_of(loader, 0)
    first, (size, length) = rows[0], (len(rows), len(rows[0].inputs))
    member = f"{first.member}, " if first.member else ""
    drawn = f"{member}window {first.window:,}, from token {first.start:,}, in document {first.documents[0]:,}"
    shapes = f"tokens ({size}, {length + 1}) -> inputs ({size}, {length}), targets ({size}, {length}), int64"
    return Station(
        "A batch",
        "So many windows at a time are a batch: one look-up, and two views of it.",
        facts=[("step 0", shapes), ("its row 0", drawn)],
        tokens=[
            _named("inputs", first.start, first.inputs[:_IDS], tokenizer),
            _named("targets", first.start + 1, first.targets[:_IDS], tokenizer),
        ],
        lines=[
            f"{name}[{number}]".ljust(11) + f"[{listed(ids, _NUMBERS, ', ')}]"
            for number, row in enumerate(rows[:2])
            for name, ids in (("inputs", row.inputs), ("targets", row.targets))
        ],
    )


def _named(name: str, first: int, ids: Sequence[int], tokenizer: Tokenizer | None) -> Tokens:
    return name, first, [(token, token_text(tokenizer, token)) for token in ids]


def listed(items: Sequence[object], most: int = _SAMPLES, mark: str = " · ") -> str:
    """The first ``most`` of ``items`` with ``mark`` between them, and dots for the rest."""
    return mark.join([*map(str, items[:most]), *["..."] * (len(items) > most)])


def _text(tokenizer: Tokenizer | None, ids: list[int]) -> str:
    return tokenizer.decode(ids) if tokenizer else " ".join(token_text(None, token) for token in ids)
