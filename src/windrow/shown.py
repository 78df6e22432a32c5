"""Text of a corpus made harmless: for a terminal (``visible``) and for HTML (``safe``).

Guarantee: no character of the text moves the cursor, changes a colour, turns the direction of what follows, or is
markup. It does not do: printing.
"""

from html import escape

__all__ = ["safe", "visible"]


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with every character that does not print (controls, escapes, direction marks) written as an escape.

    ``keep`` are characters left as they are, for example a newline. A backslash is left alone.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def safe(text: str) -> str:
    """``text`` for HTML, in an element or an attribute: controls written as escapes, markup escaped."""
    return escape(visible(text), quote=True)
