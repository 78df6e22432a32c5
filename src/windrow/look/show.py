"""What ``windrow show`` prints: a batch, as a person wants to see it.

Guarantee: the batch is the one that the loader gives at that step; every token is printed with what it is, where it
lies and what it shall predict; text is printed through ``visible``. Cost: the batch, and no more of the store. It does
not do: choosing a loader (the command line does), or moving its position.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from windrow.arrays import IGNORE_INDEX
from windrow.look.explain import Row, stage_of
from windrow.look.pieces import token_text
from windrow.shown import table, visible
from windrow.tokens.protocol import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_batch", "print_raw"]

_MOST_ORIGINS = 4  # named of a row


def print_batch(console: "Console", rows: Sequence[Row], tokenizer: Tokenizer, *, num_places: int) -> None:
    """Each row: where it comes from, how it reads, and its first ``num_places`` places (0: all) as a table."""
    for row in rows:
        console.print()
        console.print(_headline(row), style="bold")
        console.print(_excerpt(row, tokenizer), style="dim")
        shown = min(num_places or len(row.inputs), len(row.inputs))
        headings = ["place", "token", "id", "target", "target\nid", "docu-\nment", "position\nin it", "counts"]
        console.print(table(headings, _cells(row, tokenizer, shown), left=[1, 3, 7]))
        if shown < len(row.inputs):
            console.print(f"  ... and {len(row.inputs) - shown} more places (--places 0 prints all)", style="dim")


def print_raw(console: "Console", rows: Sequence[Row], tokenizer: Tokenizer) -> None:
    """The text of each row and nothing else, a row a paragraph; line ends are kept, other controls written out."""
    for row in rows:
        console.print(visible(tokenizer.decode([*row.inputs]), keep="\n"), soft_wrap=True)
        console.print()


def _headline(row: Row) -> str:
    documents = sorted({document for document in row.documents if document >= 0})
    named = f"documents {documents[0]} to {documents[-1]}" if len(documents) > 1 else f"document {documents[0]}"
    member = f"{visible(row.member)}, " if row.member else ""
    counting = sum(target != IGNORE_INDEX for target in row.targets)
    lines = [
        f"row {row.row}: {member}window {row.window} of epoch {row.epoch}, from token {row.start}{stage_of(row)}",
        f"{named}; {counting} of {len(row.targets)} targets count",
        *[f"  document {number}: {visible(str(origin))}" for number, origin in [*row.origins.items()][:_MOST_ORIGINS]],
    ]
    more = len(row.origins) - _MOST_ORIGINS
    return "\n".join([*lines, *([f"  and {more} more documents"] if more > 0 else [])])


def _excerpt(row: Row, tokenizer: Tokenizer) -> str:
    """How the row's beginning reads, with ``|`` where another document begins."""
    documents = groupby(range(min(len(row.inputs), 120)), row.documents.__getitem__)
    text = " | ".join(visible(tokenizer.decode([row.inputs[place] for place in held])) for _, held in documents)
    return f"{text[:230]} ..." if len(text) > 230 or len(row.inputs) > 120 else text


def _cells(row: Row, tokenizer: Tokenizer, num_places: int) -> Iterator[list[str]]:
    for place in range(num_places):
        target, counts = row.targets[place], row.targets[place] != IGNORE_INDEX
        document, position = row.documents[place], row.positions[place]
        yield [
            str(place),
            _quoted(tokenizer, row.inputs[place]),
            str(row.inputs[place]),
            _quoted(tokenizer, target) if counts else "-",
            str(target),
            str(document) if document >= 0 else "-",
            str(position) if document >= 0 else "-",
            "yes" if counts else "no",
        ]


def _quoted(tokenizer: Tokenizer, token: int) -> str:
    """The token between quotes, so that a space at its edge is seen."""
    return f"'{token_text(tokenizer, token)}'"
