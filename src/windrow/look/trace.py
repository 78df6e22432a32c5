"""A text's way to its batches in slow motion, for learners: the tour of ``tour.py`` on a terminal.

Guarantee: every number comes from the library's own tokenizer, windows and loader; text is printed through
``visible``. Cost: the text in memory and a few rows of it. It does not do: anything that a training run does.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from windrow.audit.sizes import RunSizes, loader_of
from windrow.look import tour
from windrow.look.tour import Station, Tokens
from windrow.shown import pairs, table, visible
from windrow.store.store import TokenStore
from windrow.tokens.protocol import EOT
from windrow.tokens.tokenizer import load_tokenizer
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["station_parts", "trace_arithmetic", "trace_text"]

_WENT = Station(
    "Where the parts of a PyTorch DataLoader went",
    "Each has its place here, or is not needed.",
    headings=["in PyTorch", "here"],
    rows=[
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
    ],
    left=[0, 1],
)


def trace_text(
    console: "Console", text: str, sizes: RunSizes, *, tokenizer: str = "gpt2", textbook: bool = False
) -> None:
    """All of it for ``text``; with ``textbook``, in the order of torch's sampler, as the loaders of books have it.

    Raises ``NotEnoughTokensError`` when it is too short for one window, or in a book's loader for one batch.
    """
    loaded = load_tokenizer(tokenizer)
    ids = loaded.encode(text, allowed_special={EOT} if textbook else ())
    store = TokenStore.from_ids(np.asarray(ids), tokenizer=loaded)
    stations = [
        tour.tokens(store, loaded).also(("text", f"{len(text):,} characters")),
        tour.next_token(store, loaded, sizes.max_length),
        tour.windows(store.num_tokens, sizes, store, loaded),
    ]
    if textbook:
        stations.append(_sampler(Windows(store, sizes.max_length, sizes.resolved_stride), sizes))
    else:
        loader = loader_of(store, sizes, drop_last=False, dp_rank=0, dp_world_size=1)
        stations += [tour.order(loader), tour.slices(loader, loader.members[""]), tour.batch(loader, loaded), _WENT]
    for number, station in enumerate(stations, start=1):
        console.print()
        console.print(f"{number}  {station.title}", style="bold")
        console.print(*station_parts(station, console.width), sep="\n")


def _sampler(windows: Windows, sizes: RunSizes) -> Station:
    """What torch's sampler draws for the first batches of two epochs of a book's loader."""
    from windrow.batches.map_dataset import WindowDataset
    from windrow.textbook import create_dataloader, drawn_batches

    loader = create_dataloader(WindowDataset(windows), sizes.batch_size)
    this, following = drawn_batches(loader, seed=sizes.seed)
    left = windows.num_samples - len(loader) * sizes.batch_size
    return Station(
        "What torch's sampler drew",
        "With shuffle=True a sampler draws an order of the windows anew in each epoch, and a batch takes the next "
        f"{sizes.batch_size:,} indices of it. Here after torch.manual_seed({sizes.seed}).",
        facts=[
            ("dataset", f"{windows.num_samples:,} windows, {len(loader):,} batches an epoch"),
            ("dropped", f"{left:,} windows at an epoch's end (drop_last=True), other ones each time"),
        ],
        headings=["batch", "this epoch: indices", "x", "y", "next epoch: indices"],
        rows=[
            [f"{number}", tour.listed(now.indices), f"{now.x_shape}", f"{now.y_shape}", tour.listed(then.indices)]
            for number, (now, then) in enumerate(zip(this, following, strict=True))
        ],
        left=[1, 2, 3, 4],
    )


def trace_arithmetic(console: "Console", num_tokens: int, sizes: RunSizes) -> None:
    """How many windows ``num_tokens`` tokens make, and which."""
    console.print(*station_parts(tour.windows(num_tokens, sizes), console.width), sep="\n")


def station_parts(station: Station, width: int) -> Iterator["RenderableType"]:
    """What a terminal of ``width`` columns shows of ``station`` below its title, part by part."""
    yield visible(station.says)
    if station.facts:
        yield pairs(station.facts)
    if station.tokens:
        yield _places(station.tokens, width)
    yield from map(visible, station.lines)
    if station.rows:
        yield table(station.headings, station.rows, left=station.left)


def _places(rows: Sequence[Tokens], width: int) -> "RenderableType":
    """As many places as fit: texts, between quotes so that a space at an edge is seen, and ids below them."""
    from rich.cells import cell_len

    lines = []
    for name, _, tokens in rows:
        lines.append([name, *(f"'{visible(text)}'" if token >= 0 else "" for token, text in tokens)])
        lines.append(["", *(str(token) for token, _ in tokens)])
    columns = [*zip(*lines, strict=True)]
    while len(columns) > 2 and sum(3 + max(map(cell_len, column)) for column in columns) > width:
        columns.pop()
    numbers = range(len(columns))
    return table(["place", *map(str, numbers[:-1])], zip(*columns, strict=True), left=numbers)
