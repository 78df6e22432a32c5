"""The parameters of a command; what the library says of its arguments, in their words; and which one is missing.

Guarantee: only names of the command's own flags are changed, and nothing between quotes or in a path. Cost: importing
it imports typer only. It does not do: messages of its own.
"""

import re
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any, cast, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

__all__ = ["DestLast", "in_flags", "parameters"]

_VALUE = r"""=(?!False)("[^"]*"|'[^']*'|[\w.]*\w)"""


def parameters(body: Callable[..., None]) -> Iterator[Parameter]:
    """What a command takes: the parameters of ``body``, and the flags of the ``TypedDict`` that it unpacks last."""
    hints = get_type_hints(body, include_extras=True)
    for name, parameter in signature(body).parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            (group,) = get_args(hints[name])
            for flag, hint in get_type_hints(group, include_extras=True).items():
                yield Parameter(flag, Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        else:
            yield parameter.replace(annotation=hints[name])


def in_flags(message: str, command: Callable[..., None]) -> str:
    """``message`` with the arguments of ``command`` as flags: ``on_error="skip"`` is ``--on-error skip``.

    A name that is a common word too is one where it has a value or a number, or begins the message.
    """
    flags = _flags(command)
    names = "|".join(sorted(flags, key=len, reverse=True))
    rare = "|".join(name for name in flags if "_" in name) or "(?!)"

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2] if found.lastindex == 2 else "True"
        bare = value.strip("\"'")
        return f"{flags[name]} {value if ' ' in bare else bare}".removesuffix(" True")

    valued = rf"({names})(?:{_VALUE}|(?= [<>=]* ?\d))"
    for pattern in (valued, rf"({rare})(?![\w/'\"(=]|\.\w)", rf"\A({names})(?= is )"):
        message = re.sub(rf"(?<![\w./'\"-]){pattern}", flag, message)
    return message


def _flags(command: Callable[..., None]) -> dict[str, str]:
    """The flags of a command, by the names of its arguments."""
    kinds = {name: get_args(one.annotation)[1] for name, one in signature(command).parameters.items()}
    options = {name: kind for name, kind in kinds.items() if isinstance(kind, OptionInfo)}
    return {name: (kind.param_decls or (f"--{name.replace('_', '-')}",))[0] for name, kind in options.items()}


class DestLast(TyperCommand):
    """A command of INPUT... and DEST, which says of one word alone that DEST is missing, and not INPUT."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [*args]
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            inputs, dest = cast("list[Any]", self.params[:2])
            if error.param is inputs and self.make_parser(ctx).parse_args(words)[0].get(dest.name):
                error.param = dest
            raise
