"""What a terminal is shown, and a pipe: lines that break between words, tables, counts in words, progress."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from look_helpers import harmful_corpus, invoke
from windrow.cli.terminal import error_console, preparing_progress, training_progress, wrapped
from windrow.preparing.tally import Report
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


def report(seconds: float, nbytes: int, total: int | None = 100_000_000) -> Report:
    return Report(12, 4_000, nbytes, total, seconds, 0, {}, 0, ())


def test_prepare_says_a_line_every_30_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with preparing_progress() as on_report:
        for seconds in (1, 10, 29, 31, 40, 60, 62, 70, 95):
            on_report(report(seconds, seconds * 1_000_000))
    assert capsys.readouterr().err.splitlines() == [
        "tokenizing: 31.0 of 100.0 MB  12 documents  1.0 MB/s  129 tokens/s  1:09 left",
        "tokenizing: 62.0 of 100.0 MB  12 documents  1.0 MB/s  65 tokens/s  0:38 left",
        "tokenizing: 95.0 of 100.0 MB  12 documents  1.0 MB/s  42 tokens/s  0:05 left",
    ]


def test_prepare_of_inputs_without_an_end_says_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with preparing_progress() as on_report:
        on_report(report(45, 45_000_000, None))
    assert capsys.readouterr().err == "tokenizing: 45.0 MB  12 documents  1.0 MB/s  89 tokens/s\n"


def test_train_says_a_line_every_30_seconds_and_at_each_valid_loss(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    with training_progress(10, 40, clock=lambda: now) as on_step:
        for step in range(10, 40):
            now += 11
            row = {"step": step, "loss": 3.0, "tokens_per_second": 93.1}
            on_step({**row, "valid_loss": 4.0} if step == 14 else row)
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [
        "step 13/40  loss 3.0000  93 tokens/s  4:57 left",
        "step 15/40  loss 3.0000  valid 4.0000  93 tokens/s  4:35 left",
        "step 18/40  loss 3.0000  93 tokens/s  4:02 left",
    ]
    assert said[-1] == "step 40/40  loss 3.0000  93 tokens/s  0:00 left"
    assert len(said) == 11
