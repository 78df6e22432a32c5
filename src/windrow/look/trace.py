"""A text's way to its batches in slow motion, for learners.

Guarantee: every number comes from the library's own tokenizer, windows and loader; text is printed through
``visible``. Cost: the text in memory and a few rows of it. It does not do: anything that a training run does.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow.loader.loader import Loader
from windrow.look.explain import token_text
from windrow.shown import visible
from windrow.store.store import TokenStore
from windrow.tokens.tokenizer import load_tokenizer
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Sizes", "trace_arithmetic", "trace_text"]

_PAIRS, _FIRST_WINDOWS, _LAST_WINDOWS, _STEPS = 8, 4, 2, 3
_WENT = [
    ("Dataset", "Windows: a window is a number, its tokens are looked up when asked for"),
    (
        "Sampler, shuffle=True",
        "the order: position -> window, computed, so nothing is kept and any step can be asked for",
    ),
    ("BatchSampler, batch_size", "a step is batch_size neighbouring positions"),
    ("workers, num_workers", "not needed: a whole step is one look-up in a memory-mapped file"),
    ("collate_fn", "not needed: the look-up gives the (batch_size, max_length + 1) array at once"),
    ("shift of the targets", "two views of that array: [:, :-1] and [:, 1:]"),
    ("generator, manual_seed", "seed: it keys the order; an epoch is another order under the same seed"),
]


@dataclass(frozen=True)
class Sizes:
    """Inputs in a window, tokens between starts, windows in a batch, and the seed of the shuffle."""

    max_length: int
    stride: int
    batch_size: int
    seed: int = 0


def trace_text(console: "Console", text: str, sizes: Sizes, *, tokenizer: str = "gpt2") -> None:
    """All of it for ``text``. Raises ``NotEnoughTokensError`` when it is too short for one window."""
    loaded = load_tokenizer(tokenizer)
    store = TokenStore.from_ids(np.asarray(loaded.encode(text)), tokenizer=loaded)
    windows = Windows(store, sizes.max_length, sizes.stride)
    loader = Loader(windows, sizes.batch_size, seed=sizes.seed, drop_last=False, dp_rank=0, dp_world_size=1)
    _say(console, "1  Text becomes tokens")
    chips = " ".join(f"'{visible(token_text(loaded, t))}' {t}" for t in store.tokens(0, 10).tolist())
    console.print(f"{len(text):,} characters -> {store.num_tokens:,} tokens\n{chips} ...")
    _say(console, "2  The next token is what is learned")
    _pairs(console, store, loaded, sizes.max_length)
    _say(console, "3  Windows")
    trace_arithmetic(console, store.num_tokens, sizes, store)
    _say(console, "4  Order: position -> window -> start -> slice of the store")
    for epoch in (0, 1):
        _positions(console, loader, windows, epoch)
    _say(console, "5  A batch")
    _shapes(console, loader)
    _say(console, "6  Where the parts of a PyTorch DataLoader went")
    console.print(_table(["in PyTorch", "here"], _WENT, left=2))


def trace_arithmetic(console: "Console", num_tokens: int, sizes: Sizes, store: TokenStore | None = None) -> None:
    """How many windows there are, and which; with their words when ``store`` is given."""
    length, stride = sizes.max_length, sizes.stride
    count = max(0, (num_tokens - length - 1) // stride + 1)
    steps = f"{count:,} windows, {sizes.batch_size} a step: {count // sizes.batch_size:,} steps"
    rest = count % sizes.batch_size
    console.print(
        f"max_length {length:,}, stride {stride:,}: windows = ({num_tokens:,} - {length:,} - 1) // {stride:,} + 1 = "
        f"{count:,}\nwindow w starts at token w * {stride:,} and holds max_length + 1 = {length + 1:,} tokens\n"
        f"{steps}" + (f", and {rest} windows are left for a last, short step (or dropped)" if rest else "")
    )
    if not count:
        console.print(f"no window fits: {num_tokens:,} tokens, and one needs {length + 1:,}. Use a smaller max_length.")
        return
    headings = ["window", "start", "inputs", "targets", *(["first and last words"] if store else [])]
    console.print(_table(headings, _window_rows(count, sizes, store), left=1 if store else 0))
    last = (count - 1) * stride + length
    console.print(f"tokens after the last window's target: {num_tokens - 1 - last:,} of {num_tokens:,}")


def _window_rows(count: int, sizes: Sizes, store: TokenStore | None) -> list[list[str]]:
    numbers = [*range(min(count, _FIRST_WINDOWS)), *range(max(count - _LAST_WINDOWS, _FIRST_WINDOWS), count)]
    rows = []
    for number in numbers:
        if number == max(count - _LAST_WINDOWS, _FIRST_WINDOWS) > _FIRST_WINDOWS:
            rows.append(["..."] * (5 if store else 4))
        start = number * sizes.stride
        stop = start + sizes.max_length
        row = [f"{number:,}", f"{start:,}", f"{start:,} to {stop - 1:,}", f"{start + 1:,} to {stop:,}"]
        rows.append([*row, *([_words(store, start, stop)] if store else [])])
    return rows


def _words(store: TokenStore, start: int, stop: int) -> str:
    if stop - start <= 8:
        return f"'{visible(store.decode(start, stop))}'"
    return f"'{visible(store.decode(start, start + 4))}' ... '{visible(store.decode(stop - 4, stop))}'"


def _pairs(console: "Console", store: TokenStore, tokenizer: Any, max_length: int) -> None:
    ids = store.tokens(0, min(_PAIRS, max_length) + 1).tolist()
    for place in range(1, len(ids)):
        console.print(f"{ids[:place]} ----> {ids[place]}", soft_wrap=True)
    for place in range(1, len(ids)):
        context = visible(tokenizer.decode(ids[:place]))
        console.print(f"'{context}' ----> '{visible(token_text(tokenizer, ids[place]))}'", soft_wrap=True)
    console.print("one window is all of these at once: inputs and, moved on by one, targets", style="dim")


def _positions(console: "Console", loader: Loader, windows: Windows, epoch: int) -> None:
    rows = []
    for step in range(epoch * len(loader), epoch * len(loader) + min(_STEPS, len(loader))):
        for sample in loader.lookup(step):
            start = int(windows.starts(np.array([sample.window]))[0])
            span = f"[{start:,}:{start + windows.max_length + 1:,}]"
            rows.append([f"{step:,}", f"{sample.position:,}", f"{sample.window:,}", f"{start:,}", span])
    console.print(f"epoch {epoch}" + ("" if epoch == 0 else ": the same windows, in another order"))
    console.print(_table(["step", "position", "window", "start", "slice"], rows, left=0))


def _shapes(console: "Console", loader: Loader) -> None:
    inputs, targets = loader[0]
    shape = f"({', '.join(map(str, inputs.shape))})"
    console.print(f"step 0: tokens {(inputs.shape[0], inputs.shape[1] + 1)} -> inputs {shape}, targets {shape}, int64")
    for row in range(min(2, len(inputs))):
        console.print(f"inputs[{row}]  {inputs[row][:12].tolist()}\ntargets[{row}] {targets[row][:12].tolist()}")


def _say(console: "Console", title: str) -> None:
    console.print()
    console.print(title, style="bold")


def _table(headings: list[str], rows: Any, *, left: int) -> Any:
    """The last ``left`` columns are text."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, heading in enumerate(headings):
        is_text = place >= len(headings) - left
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
