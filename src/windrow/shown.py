"""Text of a corpus made harmless: for a terminal (``visible``), in its tables, for HTML (``safe``); counts, sizes.

Guarantee: no character of the text moves the cursor, changes a colour, turns the direction of what follows, or is
markup. Cost: rich is imported when a table is made. It does not do: printing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

__all__ = ["counted", "pairs", "safe", "size", "table", "visible"]


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with every character that does not print (controls, escapes, direction marks) written as an escape.

    ``keep`` are characters left as they are, for example a newline. A backslash is left alone.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def safe(text: str, *, keep: str = "") -> str:
    """``text`` for HTML, in an element or an attribute: controls but ``keep`` written as escapes, markup escaped."""
    return escape(visible(text, keep=keep), quote=True)


def counted(number: int, noun: str) -> str:
    """``1 window``, ``2,000 windows``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def size(nbytes: float) -> str:
    """Bytes in the largest unit that leaves a whole number before the point."""
    for unit, nbytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= nbytes_each:
            return f"{nbytes / nbytes_each:,.1f} {unit}"
    return f"{nbytes:.0f} bytes"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[int] = ()) -> "RenderableType":
    """A table for the terminal, each cell through ``visible``; columns numbered in ``left`` are text, not figures.

    A line end in a heading stays one, so that a caller whose headings are not its own words calls ``visible`` on them.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, heading in enumerate(headings):
        made.add_column(visible(heading, keep="\n"), justify="left" if number in left else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(visible, row))
    return _Trimmed(made)


def pairs(facts: Iterable[tuple[str, str]]) -> "RenderableType":
    """Labels and values in two columns, each through ``visible``; a long value wraps beside its label."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for fact in facts:
        made.add_row(*map(visible, fact))
    return _Trimmed(made)


@dataclass(frozen=True)
class _Trimmed:
    """A table for the terminal, without blanks at the ends of its lines."""

    table: "Table"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Segment]":
        from rich.segment import Segment

        for line in console.render_lines(self.table, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
            yield from (*line, Segment.line())
