"""What the command line shares: consoles, progress, text made safe to print, and errors turned into exit codes.

Guarantee: results go to stdout, messages and progress to stderr; a bar is a plain line every 30 seconds where there is
no terminal; text of a corpus is printed through ``visible``, so that escape sequences and markup in it do nothing.
Cost: importing it imports neither rich nor numpy. It does not do: any command.
"""

import functools
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Signature
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn

from windrow.cli.flags import in_flags, parameters
from windrow.distribution import install_line
from windrow.shown import visible

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.preparing.tally import Report

__all__ = [
    "command",
    "error_console",
    "output_console",
    "plain_progress",
    "preparing_progress",
    "say",
    "training_progress",
    "wrapped",
]

_EVERY = 30.0  # seconds between two plain lines


def output_console() -> "Console":
    """The console for results: stdout, with markup, emoji codes and highlighting off."""
    return _console(sys.stdout)


def error_console() -> "Console":
    """The console for messages and progress: stderr."""
    return _console(sys.stderr)


def _console(file: Any) -> "Console":
    from rich.console import Console

    class Quiet(Console):
        def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
            """Sentences, marked by ``soft_wrap``, break between words in a terminal, and are a line each in a pipe."""
            wraps = soft_wrap and self.is_terminal
            told = [wrapped(each, self.width) if wraps and isinstance(each, str) else each for each in objects]
            super().print(*told, soft_wrap=soft_wrap, **options)

        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError

    return Quiet(file=file, markup=False, emoji=False, highlight=False)


def wrapped(text: str, width: int) -> str:
    """Each line of ``text`` broken between words, below its own beginning; a command stays whole, to be copied."""

    def broken(line: str) -> str:
        blanks = " " * (len(line) - len(line.lstrip()))
        return fill(line, width, subsequent_indent=blanks, break_long_words=False, break_on_hyphens=False)

    return "\n".join(line if line.lstrip().startswith("windrow ") else broken(line) for line in text.split("\n"))


# -- errors --------------------------------------------------------------------------------------------------------


def command(interrupted: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command: exit code 1 and one message for bad data, 130 for Ctrl-C with ``interrupted``.

    It is called with the flags that were given, and those that have a default.
    """

    def wrap(body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def run(**given: Any) -> None:
            progress = logging.getLogger("windrow")  # of a pass over files of other tools
            progress.setLevel(logging.INFO)
            progress.handlers = [_Said()]
            try:
                with warnings.catch_warnings():  # ours as one clean line, without the line of code they came from
                    warnings.showwarning = lambda message, *_, **__: say(f"warning: {in_flags(str(message), run)}")
                    body(**{name: value for name, value in given.items() if value is not None})
                    sys.stdout.flush()
            except BrokenPipeError:  # whoever read it (head, less) has enough: no message, nor at Python's last flush
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(0) from None
            except (ValueError, OSError, ModuleNotFoundError) as error:
                _fail(error, run)
            except KeyboardInterrupt:
                say(f"interrupted: {interrupted}")
                raise SystemExit(130) from None

        run.__signature__ = Signature([*parameters(body)])  # type: ignore[attr-defined]
        return run

    return wrap


class _Said(logging.Handler):
    """What is logged, as a message."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _fail(error: Exception, failed: Callable[..., None]) -> NoReturn:
    """``ValueError`` is what windrow raises about data and sizes; the others are the machine's own."""
    if isinstance(error, ModuleNotFoundError):
        say(f"error: this command needs the package {error.name}. Install it with: {install_line('torch')}")
    elif isinstance(error, OSError):
        say(f"error: {error.filename or 'a file'}: {error.strerror or error}")
    else:
        say(f"error: {in_flags(str(error), failed)}")
    raise SystemExit(1) from None


def say(message: str) -> None:
    """A message on stderr, made safe; also above a bar."""
    error_console().print(visible(message, keep="\n"), soft_wrap=True)


# -- progress ------------------------------------------------------------------------------------------------------


@contextmanager
def _progress(last: float) -> Iterator[Callable[..., None]]:
    """Yields ``show(text, now, done, total, is_news)``: news as a line, the rest redrawn behind a bar.

    Without a terminal it is a line too, every 30 seconds from ``last`` on.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    is_terminal = sys.stderr.isatty()
    columns = (BarColumn(20), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=error_console(), transient=True, disable=not is_terminal) as bar:
        task = bar.add_task("", total=None, text="")

        def show(text: str, now: float, done: int, total: int | None, *, is_news: bool = False) -> None:
            nonlocal last
            bar.update(task, completed=done, total=total, text=text)
            if is_news or (not is_terminal and now - last >= _EVERY):
                last = now
                bar.console.print(text, soft_wrap=True)

        yield show


@contextmanager
def preparing_progress() -> Iterator[Callable[["Report"], None]]:
    """Yields ``on_report``: what is done, MB/s and time left."""
    with _progress(0.0) as show:

        def on_report(report: "Report") -> None:
            total = f" of {report.total_nbytes / 1e6:,.1f}" if report.total_nbytes else ""
            text = f"tokenizing: {report.nbytes / 1e6:,.1f}{total} MB  {progress_text(report)}"
            show(text, report.seconds, report.nbytes, report.total_nbytes)

        yield on_report


def progress_text(report: "Report") -> str:
    """``1,234 documents  56.7 MB/s  13,000,000 tokens/s  0:42 left``."""
    tokens_per_second = report.num_tokens / max(report.seconds, 1e-9)
    rate = f"{report.nbytes_per_second / 1e6:,.1f} MB/s  {tokens_per_second:,.0f} tokens/s"
    left = "" if report.seconds_left is None else f"  {_left(report.seconds_left)}"
    return f"{report.num_documents:,} documents  {rate}{left}"


def _left(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


@contextmanager
def training_progress(
    first: int, num_steps: int, *, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Yields ``on_step(row)``: losses, tokens/s and time left; a valid loss is news."""
    started = clock()
    with _progress(started) as show:

        def on_step(row: dict[str, float]) -> None:
            now, done = clock(), int(row["step"]) + 1
            valid = f"  valid {row['valid_loss']:.4f}" if "valid_loss" in row else ""
            left = _left((now - started) / (done - first) * (num_steps - done))
            text = f"loss {row['loss']:.4f}{valid}  {row['tokens_per_second']:,.0f} tokens/s  {left}"
            show(f"step {done}/{num_steps}  {text}", now, done, num_steps, is_news=bool(valid) or done == num_steps)

        yield on_step


@contextmanager
def plain_progress(total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """Yields ``show(text, done)``: how much is done of ``total``, where it is known."""
    with _progress(time.perf_counter()) as show:
        yield lambda text, done: show(text, time.perf_counter(), done, total)
