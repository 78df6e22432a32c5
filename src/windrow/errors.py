"""Every error that windrow raises about data, recipes and state.

All of them are ``ValueError``: a mistake in what was handed in, never in windrow itself (that is an
``AssertionError``). A message says what failed, the value here and there, why it matters and what to do.
"""

from operator import index

__all__ = [
    "NotEnoughTokensError",
    "PrepareError",
    "ResumeError",
    "SourceError",
    "StoreError",
    "TokenizerError",
    "WindrowError",
    "whole_number",
]


class WindrowError(ValueError):
    """Base of every error about data, recipes and state."""


class TokenizerError(WindrowError):
    """A tokenizer is unknown, damaged, not installed, or cannot encode a text."""


class SourceError(WindrowError):
    """An input cannot be found or read: no such file, invalid UTF-8 (with file and byte offset)."""


class PrepareError(WindrowError):
    """Tokens cannot be written as a store: bad ids, an output folder that is in use, a full disk."""


class StoreError(WindrowError):
    """A store on disk is unfinished, damaged, or not a store."""


class NotEnoughTokensError(WindrowError):
    """A store or a split is too short for one window."""


class ResumeError(WindrowError):
    """A state belongs to another recipe or to other data."""


def whole_number(name: str, value: object, *, at_least: int | None = 1) -> int:
    """``value`` as an int, or the ``ValueError`` that names it."""
    try:
        number = None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]  # TypeError is the answer
    except TypeError:
        number = None
    if number is None or (at_least is not None and number < at_least):
        bound = "" if at_least is None else f", {at_least} or more"
        raise ValueError(f"{name} is {value!r}, and it must be a whole number{bound}")
    return number
