"""Every error that windrow raises about data, recipes and state, and the checks of numbers and of JSON.

All of them are ``ValueError``: a mistake in what was handed in, never in windrow itself (that is an
``AssertionError``). A message says what failed, the value here and there, why it matters and what to do.
"""

import json
from operator import index
from typing import Any

__all__ = [
    "LARGEST",
    "Fixed",
    "NotEnoughTokensError",
    "PrepareError",
    "ResumeError",
    "SourceError",
    "StoreError",
    "TokenizerError",
    "WindrowError",
    "brief",
    "read_json",
    "require_shape",
    "whole_number",
]

LARGEST = 2**63 - 1  # where int64 ends, and with it the order
_KINDS = {list: "a list", str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


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


def brief(value: object) -> str:
    """``repr`` for a message: of a value of whatever kind and size, a line at most."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of more than 4300 digits
        text = "a number of more than 4300 digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def whole_number(name: str, value: object, *, at_least: int | None = 1) -> int:
    """``value`` as an int from ``at_least`` to ``LARGEST``, or any with None; or the ``ValueError`` that names it."""
    try:
        number = None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]  # TypeError is the answer
    except TypeError:
        number = None
    if number is not None and (at_least is None or at_least <= number <= LARGEST):
        return number
    bound = "" if at_least is None else f", {at_least} or more"
    if number is not None and number > LARGEST:
        bound = f", {at_least} to 2**63 - 1: the order of samples ends there"
    raise ValueError(f"{name} is {brief(value)}, and it must be a whole number{bound}")


def read_json(text: str | bytes, shape: Any) -> Any:
    """What the JSON in ``text`` says, or the ``ValueError`` that says why it is none, or none of this ``shape``."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    require_shape(value, shape)
    return value


def require_shape(value: Any, shape: Any, name: str = "it") -> None:
    """Raise ``ValueError`` unless ``value``, read from JSON, has ``shape``.

    A shape is a type; the shapes of fields that an object has, among others; or ``[shape]``, a list of such. A field
    that is written with a ``?`` behind it may be absent or null.
    """
    kind = shape if isinstance(shape, type) else type(shape)
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits:
        raise ValueError(f"{name} is {brief(value)}, and it must be {_KINDS.get(kind, 'an object')}")
    if isinstance(shape, dict):
        for field, inner in ((key.removesuffix("?"), shape[key]) for key in shape):
            if f"{field}?" in shape and value.get(field) is None:
                continue
            if field not in value:
                raise ValueError(f"{name} has no {field}")
            require_shape(value[field], inner, f"its {field}" if name == "it" else f"{name}.{field}")
    elif isinstance(shape, list):
        for number, one in enumerate(value):
            require_shape(one, shape[0], f"{name}[{number}]")


class Fixed:
    """What is fixed when it is made: what it has cannot be set, for nothing would follow."""

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name) and not callable(getattr(self, name)):
            was, kind = brief(getattr(self, name)), type(self).__name__
            raise AttributeError(
                f"{name} is {was}, and it cannot be set to {brief(value)}: all that a {kind} does is fixed when it is "
                f"made. Make another {kind}; a new Loader goes on by load_state_dict(state)."
            )
        super().__setattr__(name, value)
