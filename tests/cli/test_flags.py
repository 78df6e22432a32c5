"""Messages on the command line: they speak of its flags, name what is missing, and know the words to choose from."""

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner, Result

from windrow.batches.boundaries import MASK_TARGETS
from windrow.cli import options
from windrow.cli.flags import in_flags
from windrow.cli.main import app, demo, prepare, train
from windrow.preparing.prepare import Split
from windrow.preparing.prepare import prepare as library_prepare
from windrow.windows.windows import POLICIES, Windows


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('leave it out: on_error="skip".', "leave it out: --on-error skip."),
        ("at valid_fraction=0.1: whole ones", "at --valid-fraction 0.1: whole ones"),
        ('Use split="tail" (one cut)', "Use --split tail (one cut)"),
        ("dedupe=True counts them", "--dedupe counts them"),
        ("made with dedupe=False", "made with dedupe=False"),
        ("separator='- -' is", "--separator '- -' is"),
        ("valid_fraction is 10.0, and", "--valid-fraction is 10.0, and"),
        ("memory is 3", "--memory is 3"),
        ("Use workers <= 4.", "Use --workers <= 4."),
        ("one split is left, and its memory is gone", "one split is left, and its memory is gone"),
        ("/data/on_error=3/text_key.jsonl: 'text_key' is null", "/data/on_error=3/text_key.jsonl: 'text_key' is null"),
        ("max_length is no flag of this command", "max_length is no flag of this command"),
        ("give Loader(..., valid_fraction=)", "give Loader(..., valid_fraction=)"),
    ],
)
def test_arguments_of_the_library_are_said_as_flags_of_the_command(message: str, said: str) -> None:
    assert in_flags(message, prepare) == said


def test_a_command_knows_its_own_flags_only() -> None:
    assert in_flags('Use device="cpu".', train) == "Use --device cpu."
    assert in_flags('Use device="cpu".', demo) == 'Use device="cpu".'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepare", "latin1.txt", "new"], r"^error: latin1.txt, line 1: not UTF-8: .*: --on-error skip\.$"),
        (["prepare", "one.txt", "new", "--valid-fraction", 0.1], r"--valid-fraction 0.1: .* Use --split tail "),
        (
            ["prepare", "one.txt", "corpus", "--tokenizer", "gpt2"],
            r"made with --tokenizer 'bytes, finger.* has 'gpt2, finger",
        ),
        (
            ["train", "corpus", "--device", "abacus"],
            r"^error: --device abacus cannot be used here: .*\. Use --device cpu\.$",
        ),
        (
            ["train", "corpus", "--num-heads", 3],
            r"--num-heads 3 equal parts: use --width 129, or another --num-heads\.",
        ),
        (["show", "corpus", "--dp-rank", 3], r"^error: --dp-rank is 3"),
        (
            ["plan", "corpus", "--policy", "bos", "--documents", "epoch"],
            r'^error: --documents is "epoch", and --policy bos takes none: .* or use --policy concat',
        ),
        (["show", "corpus", "--max-length", 0], r"^error: --max-length is 0"),
        (["show", "corpus", "--tokenizer", "gpt2"], r"was made with tokenizer 'bytes' .* 'gpt2' is another"),
        (
            ["info", "one.txt"],
            r"^error: there is no store at one.txt: a file\. .*: windrow prepare one.txt corpus, .* --text one",
        ),
        (["trace", "latin1.txt"], r"^error: latin1.txt is not UTF-8: byte 0xe9 at offset 3 .* iconv"),
        (["trace", "nowhere.txt"], r"^error: nowhere.txt cannot be read: No such file or directory\."),
        (["trace", "one.txt", "--max-length", 900], r"^error: the store has 3\d\d tokens, .* Use --max-length \d+"),
        (["report", "corpus", "--out", "."], r"^error: \. is a folder, and the page is a file\."),
        (["report", "corpus", "--out", "no/page.html"], r"^error: there is no folder no for the page\."),
    ],
)
def test_an_error_names_flag_file_and_remedy_in_one_message(words: list[object], said: str) -> None:
    Path("latin1.txt").write_bytes(b"caf\xe9")
    Path("one.txt").write_text("The hay was cut on Monday, and by noon it lay in long rows." * 20)
    assert invoke("prepare", "one.txt", "corpus", "--tokenizer", "bytes").exit_code == 0
    done = invoke(*words)
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.splitlines()
    assert re.search(said, line), line


# -- words to choose from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (["prepare", "a", "b", "--split", "foo"], get_args(Split)),
        (["prepare", "a", "b", "--literal-eos", "keep"], ["text", "split", "special", "error"]),
        (["prepare", "a", "b", "--on-error", "ignore"], ["raise", "skip"]),
        (["prepare", "a", "b", "--form", "csv"], ["text", "jsonl", "json", "parquet", "arrow"]),
        (["prepare", "a", "b", "--engine", "slurm"], ["local", "ray"]),
        (["plan", "a", "--policy", "pakc"], POLICIES),
        (["train", "a", "--documents", "often"], ["store", "epoch"]),
        (["plan", "a", "--mask-targets", "edges"], MASK_TARGETS),
    ],
)
def test_a_word_that_is_none_of_the_choices_exits_with_2_and_names_them(words: list[str], choices: Any) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert all(f"'{choice}'" in done.stderr for choice in choices), done.stderr
    shown = invoke(words[0], "--help").stdout
    assert all(choice in shown for choice in choices)


def choices_of(hint: Any) -> set[str]:
    return {word for part in (hint, *get_args(hint)) for word in get_args(part) if isinstance(word, str)}


def test_the_choices_of_the_flags_are_those_of_the_library() -> None:
    of_prepare = get_type_hints(library_prepare)
    assert choices_of(options.Split.__origin__) == choices_of(of_prepare["split"])
    assert choices_of(options.LiteralEos.__origin__) == choices_of(of_prepare["literal_eos"])
    assert choices_of(options.OnError.__origin__) == choices_of(of_prepare["on_error"])
    assert choices_of(options.Policy.__origin__) == set(POLICIES)
    here, there = get_type_hints(options.Sizes), get_type_hints(Windows.__init__)
    for name in ("documents", "phase", "tail"):
        assert choices_of(here[name]) == {word for word in get_args(there[name]) if isinstance(word, str)}
    assert choices_of(options.MaskTargets.__origin__) == set(MASK_TARGETS)


def test_a_share_that_is_none_exits_with_2() -> None:
    done = invoke("prepare", "a", "b", "--valid-fraction", 10)
    assert done.exit_code == 2
    assert "--valid-fraction" in done.stderr


# -- what is missing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["story.txt"], "DEST"),
        (["story.txt", "--json"], "DEST"),
        (["--split", "tail", "story.txt"], "DEST"),
        ([], "INPUT"),
        (["--dry-run"], "INPUT"),
    ],
)
def test_the_argument_that_is_missing_is_the_one_that_is_named(words: list[str], missing: str) -> None:
    done = invoke("prepare", *words)
    assert done.exit_code == 2
    assert f"Missing argument '{missing}'." in done.stderr
