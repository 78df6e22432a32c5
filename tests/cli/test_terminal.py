"""What a terminal is shown: lines that break between words, tables without blanks at their ends, counts in words."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from look_helpers import harmful_corpus, invoke
from windrow.cli.terminal import error_console, wrapped
from windrow.shown import counted, pairs, table

SENTENCE = "error: there is no store at corpus: no such folder. Make one with the command below, and run it again."


class Stream(io.StringIO):
    """Standard error, which is a terminal or not."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


def test_a_sentence_breaks_between_words_and_below_its_own_beginning() -> None:
    text = wrapped(f"{SENTENCE}\n    {SENTENCE}", 40)
    assert " ".join(text.split()) == f"{SENTENCE} {SENTENCE}"
    first, second = text.split("    error", 1)
    assert max(map(len, text.splitlines())) <= 40
    assert not any(line.startswith(" ") for line in first.splitlines()[:-1])
    assert all(line.startswith("    ") for line in second.splitlines()[1:])


def test_a_command_and_a_long_path_stay_whole_so_that_they_can_be_copied() -> None:
    command, path = "  windrow train --out " + "folder/" * 12 + " --resume", "/" + "folder/" * 20
    assert wrapped(command, 40) == command
    assert path in wrapped(f"the file {path} cannot be read", 40).splitlines()


@pytest.mark.parametrize(("is_terminal", "num_lines"), [(True, 3), (False, 1)])
def test_messages_are_wrapped_in_a_terminal_and_a_line_each_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, num_lines: int
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    stream = Stream()
    stream.is_terminal = is_terminal
    monkeypatch.setattr("sys.stderr", stream)
    error_console().print(SENTENCE, soft_wrap=True)
    assert len(stream.getvalue().splitlines()) == num_lines


def test_no_line_of_a_table_ends_in_blanks() -> None:
    console = Console(file=io.StringIO(), width=60)
    console.print(table(["", "text"], [["a", "long " * 20], ["b", "x"], ["c", ""]], left=[0, 1]))
    console.print(pairs([("label", "value"), ("longer label", "v " * 60)]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("words", [["info"], ["plan"], ["when", "--document", 9]])
def test_no_line_of_a_command_ends_in_blanks(tmp_path: Path, words: list[object]) -> None:
    shown = invoke(words[0], harmful_corpus(tmp_path), *words[1:])
    assert [line for line in shown.splitlines() if line != line.rstrip() and "─" not in line] == []


def test_one_is_counted_in_the_singular() -> None:
    assert [counted(n, "window") for n in (0, 1, 2, 1000)] == ["0 windows", "1 window", "2 windows", "1,000 windows"]
