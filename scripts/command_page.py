"""The reference's page of commands, from the program itself: what each does, its arguments, flags and defaults."""

import html
from itertools import groupby
from typing import Any

import typer.main

from windrow.cli.main import app

__all__ = ["command_page"]

HEAD = """# Commands

Every command and every flag, as `windrow COMMAND --help` says them. What a command prints is for people;
`--json`, where there is one, is for programs. Exit codes: 0 done, 1 for data that cannot be used, 2 for a command
that is written wrongly, 130 after Ctrl-C.

"""


def command_page() -> str:
    """The page as Markdown."""
    program: Any = typer.main.get_command(app)
    lines = [
        f"- [`windrow {name}`](#windrow-{name}): {sentence(command)}" for name, command in program.commands.items()
    ]
    return HEAD + "\n".join([*lines, "", *(section(name, command) for name, command in program.commands.items())])


def sentence(command: Any) -> str:
    """What a command does, the first paragraph of its help."""
    return html.escape(str(command.help).split("\n\n")[0].replace("\n", " "), quote=False)


def section(name: str, command: Any) -> str:
    context = command.make_context(name, ["-"] * 9, resilient_parsing=True)
    usage = command.get_usage(context).removeprefix("Usage: ")
    first, *rest = [paragraph(text) for text in command.help.split("\n\n")]
    parts = [f"## windrow {name}", first, f"```text\nwindrow {usage}\n```", *rest]
    for title, group in panels(command.params).items():
        parts += [f"### {title} {{: #{name}-{title.lower().replace(' ', '-')} }}", *(entry(p, context) for p in group)]
    return "\n\n".join(parts) + "\n"


def paragraph(text: str) -> str:
    r"""A paragraph of a help; one after ``\b`` is what one types."""
    if text.startswith("\b"):
        return f"```bash\n{text.removeprefix(chr(8)).strip()}\n```"
    return html.escape(text, quote=False)


def panels(parameters: list[Any]) -> dict[str, list[Any]]:
    """Arguments, then the flags by the panel of the help that they are in."""
    shown = [(p.rich_help_panel or "Arguments", p) for p in parameters if not p.hidden]
    titles = list(dict.fromkeys(title for title, _ in shown))
    ordered = sorted(shown, key=lambda pair: titles.index(pair[0]))
    return {title: [p for _, p in group] for title, group in groupby(ordered, key=lambda pair: pair[0])}


def entry(parameter: Any, context: Any) -> str:
    """An argument or a flag: its name and value, what it is, and its default or its limits."""
    name, text = parameter.get_help_record(context)
    what, _, more = text.removesuffix("]").partition("  [")
    extra = f" *{html.escape(more, quote=False)}*" if more else ""
    return f"`{name}`\n:   {html.escape(what, quote=False)}{extra}"
