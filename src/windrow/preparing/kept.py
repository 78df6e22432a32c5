"""Fields of rows that are kept beside the tokens: values as rows hold them -> columns, one type for all rows.

Guarantee: types depend on the values of all rows, never on which work was done first; what does not fit is an error
that names the field. Nothing is converted but integers beside floats (to float64), and bools where some are missing
(to int64). Cost: the values of an item, and the different strings of all, in memory.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.errors import SourceError
from windrow.store.manifest import MOST_CATEGORIES, Column

__all__ = ["Field", "Value", "column_values", "keep", "kept_values"]

Value = bool | int | float | str | None


def kept_values(names: Sequence[str], given: Iterable[object]) -> tuple[Value, ...]:
    """Values of a row as they are kept, NaN as missing. Raises ``ValueError`` for what is no number, bool or string."""
    return tuple(map(_kept, names, given))


def _kept(name: str, value: object) -> Value:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if value == value else None
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, str) and (value.isascii() or value == value.encode("utf-8", "replace").decode()):
        return str(value)
    what = {int: "an integer beyond int64", str: "half a surrogate pair"}.get(type(value), f"a {type(value).__name__}")
    raise _misfit(name, f"is {what}, and what is kept is an int64, a float, a bool or a string")


def _misfit(name: str, what: str) -> ValueError:
    return ValueError(f"{name!r} {what}. Correct the rows, or take {name!r} out of keep")


class Field:
    """What rows have under ``name``: the first value of each type, and where; the different strings; what misses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing: int = 0
        self.first: dict[type, tuple[Value, str]] = {}
        self.strings: set[str] = set()
        self.values: list[Value] = []  # of an item's rows

    def see(self, value: Value, where: str) -> None:
        """Take in a value. Raises ``ValueError`` for another type than those before, or a string too many."""
        if value is None:
            self.missing += 1
            return
        self.first.setdefault(type(value), (value, where))
        if len(self.first) > 1 and set(self.first) != {int, float}:
            other, there = next(iter(self.first.values()))
            raise _misfit(
                self.name,
                f"is {reprlib.repr(value)} here and {reprlib.repr(other)} in {there}, and a column has one type",
            )
        if isinstance(value, str):
            self.strings.add(value)
            if len(self.strings) > MOST_CATEGORIES:
                raise _misfit(self.name, f"has more than the {MOST_CATEGORIES:,} different strings of a category")

    @property
    def about(self) -> dict[str, Any]:
        """What another field needs to know of this one, as plain values."""
        return {"missing": self.missing, "seen": [*(value for value, _ in self.first.values()), *sorted(self.strings)]}

    def add(self, about: Mapping[str, Any], where: str) -> None:
        """Take in what is known of the rows of an item."""
        self.missing += about["missing"]
        try:
            for value in about["seen"]:
                self.see(value, where)
        except ValueError as error:
            raise SourceError(f"{where}: {error}. Nothing was published, and what is done is kept.") from error

    def column(self) -> Column:
        """The column of all rows. Raises ``SourceError`` when none has a value."""
        if not self.first:
            raise SourceError(
                f"no row has a value under {self.name!r}, so there is nothing to keep. Correct the name in keep, or "
                "take it out. Nothing was published, and what is done is kept."
            )
        if str in self.first:
            return Column(self.name, "category", self.missing, tuple(sorted(self.strings)))
        kinds = {float: "float64", bool: "int64" if self.missing else "bool", int: "int64"}
        return Column(self.name, next(name for kind, name in kinds.items() if kind in self.first), self.missing)


def keep(fields: Sequence[Field], given: Iterable[object]) -> None:
    """Take in the values of one row. Raises ``ValueError`` for one that cannot be kept."""
    for field, value in zip(fields, given, strict=True):
        field.values.append(_kept(field.name, value))
        field.see(field.values[-1], "rows before")


def column_values(column: Column, given: Sequence[Value] | NDArray[Any]) -> tuple[NDArray[Any], int]:
    """``given`` (n,) as int64, float64, bool, or codes (int32 where some row has none, else uint16); how many miss."""
    num_missing = sum(value is None for value in given)
    if column.type == "category":
        codes: dict[Value, int] = {name: code for code, name in enumerate(column.categories or ())}
        return (np.array([codes.get(v, -1) for v in given], "i4" if column.missing else "u2"), num_missing)
    missing = np.nan if column.type == "float64" else -1
    return (np.array([missing if v is None else v for v in given], column.type), num_missing)
