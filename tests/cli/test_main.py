"""The program: help, exit codes, messages without a traceback, Ctrl-C, and output that can be piped."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from rich.text import Text
from typer.testing import CliRunner, Result

import windrow.cli.main
from windrow.cli.main import app
from windrow.training.trainer import Trainer

COMMANDS = [
    "demo",
    "prepare",
    "info",
    "copy",
    "export",
    "show",
    "when",
    "trace",
    "report",
    "plan",
    "check",
    "bench",
    "train",
    "sample",
]
TEXT = "".join(f"{n} hay makers turn {n * n} windrows before the rain of day {n % 7}.\n" for n in range(200))
TINY = ["--max-length", "16", "--batch-size", "2", "--width", "16", "--num-heads", "2", "--num-layers", "1"]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}


def program(*words: object, cwd: Path | None = None, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "windrow", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(), input=stdin, timeout=100, check=False
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in ``environment``, so that sums are added up in one order here and there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path, text: Path) -> Path:
    flags = ["--tokenizer", "bytes", "--valid-fraction", "0.1", "--split", "tail"]
    assert invoke("prepare", text, tmp_path / "corpus", *flags).exit_code == 0
    return tmp_path / "corpus"


# -- help ----------------------------------------------------------------------------------------------------------


def test_help_of_the_program_and_of_each_command_imports_neither_torch_nor_numpy() -> None:
    script = (
        "import sys; from windrow.cli.main import main\n"
        f"for words in [['--help'], ['--version'], *[[c, '--help'] for c in {COMMANDS}]]:\n"
        "    sys.argv = ['windrow', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "heavy = {'torch', 'numpy', 'tiktoken', 'gigatoken', 'rich.progress'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PANELS = {"Arguments", "Options", "Inputs", "Documents", "Windows and batches", "Model", "Work", "Output"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_on_a_line_of_its_own_and_every_flag_is_in_a_group_and_says_what_it_is(
    name: str,
) -> None:
    shown = invoke(name, "--help").stdout
    body = str(getattr(windrow.cli.main, name).__doc__)
    examples = [line.strip() for line in body.splitlines() if line.strip().startswith("windrow ")]
    assert examples
    assert all(re.search(rf"^ {re.escape(line)} *$", shown, re.MULTILINE) for line in examples)
    panels = dict(re.findall(r"╭─ ([\w ]+) ─+╮\n(.*?)╰", shown, re.DOTALL))
    assert set(panels) <= PANELS
    assert panels.pop("Options").startswith("│ --help")
    panels.pop("Arguments", None)
    for flag in re.split(r"^(?=│ --)", "".join(panels.values()), flags=re.MULTILINE)[1:]:
        words = " ".join(flag.replace("│", " ").split())
        is_switch = words.startswith(("--json", "--resume", "--dedupe", "--finish", "--dry-run", "--raw", "--verbose"))
        is_optional = words.startswith(("--text", "--run", "--document", "--source"))
        assert is_switch or is_optional or "[default: " in words, words


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_of_a_flag_is_taken_for_markup(name: str) -> None:
    program: Any = typer.main.get_command(app)
    helps = [parameter.help or "" for parameter in program.commands[name].params]
    assert [Text.from_markup(text).plain for text in helps] == helps


@pytest.mark.parametrize("name", COMMANDS)
def test_every_summary_fits_a_line_of_eighty_columns(name: str) -> None:
    summary = str(getattr(windrow.cli.main, name).__doc__).splitlines()[0]
    assert re.search(rf"^│ {name} +{re.escape(summary)} +│$", invoke("--help").stdout, re.MULTILINE)


def test_the_shell_completes_commands_flags_and_words_to_choose_from() -> None:
    for line, expected in (
        ("windrow pre", {"prepare"}),
        ("windrow prepare a b --split ", {"documents", "tail"}),
        ("windrow plan --pol", {"--policy"}),
    ):
        words = {"_WINDROW_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-m", "windrow"], capture_output=True, text=True, env={**environment(), **words}
        )
        assert set(done.stdout.split()) == expected, done
    assert "--install-completion" in invoke("--help").stdout


def test_the_program_without_words_prints_its_help_and_python_m_is_the_same_program() -> None:
    done = program("--help")
    assert done.returncode == 0
    assert "Usage: windrow " in done.stdout
    assert all(f"│ {name} " in done.stdout for name in COMMANDS)
    assert program("--version").stdout.startswith("windrow 0.")
    bare = program()
    assert "Usage: windrow " in bare.stdout + bare.stderr


def test_a_terminal_that_lacks_letters_shows_question_marks_for_them(tmp_path: Path) -> None:
    (tmp_path / "故.txt").write_text("这是 — naïve 🙂\n" * 40, encoding="utf-8")
    old = {**environment(), "PYTHONIOENCODING": "cp1252"}
    for words in ("prepare 故.txt c", "trace 故.txt --max-length 16", "show c --max-length 16"):
        command = [sys.executable, "-m", "windrow", *words.split()]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=old, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
    assert "?? — naïve ?" in done.stdout.decode("cp1252")


# -- exit codes and messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["train"],
        ["train", "store", "--text", "file"],
        ["train", "store", "--steps", "3", "--epochs", "1"],
        ["train", "store", "--no-such-flag"],
        ["train", "store", "--steps", "many"],
        ["show"],
        ["show", "store", "--run", "run"],
        ["show", "--run", "run", "--seed", "1"],
        ["prepare", "only-one"],
        ["info"],
        ["demo", "--steps", "1"],
    ],
)
def test_a_command_written_wrongly_exits_with_2(words: list[str]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert "Error" in result.stderr


def files_in(folder: Path) -> list[Path]:
    """Files that matter: prepare keeps what it has, to go on after the fault is mended, in a folder ``unfinished``."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "unfinished" not in path.parts)


def spoiled(tmp_path: Path, text: Path, corpus: Path, what: str) -> tuple[list[object], str]:
    """A command that meets ``what``, and words that its message must hold."""
    out = ["--out", tmp_path / "run", *TINY]
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "short.txt").write_text("a text of a few words only")
    if what == "missing manifest":
        (corpus / "train" / "manifest.json").unlink()
    if what == "damaged manifest":
        (corpus / "train" / "manifest.json").write_text("{")
    if what == "truncated shard":
        shard = next((corpus / "train").glob("tokens-*.bin"))
        shard.write_bytes(shard.read_bytes()[:-2])
    if what == "existing out":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").touch()
    cases: dict[str, tuple[list[object], str]] = {
        "missing file": (["train", "--text", tmp_path / "no.txt", *out], "no.txt"),
        "missing input": (["prepare", tmp_path / "no.txt", tmp_path / "new"], "no.txt"),
        "empty file": (["train", "--text", tmp_path / "empty.txt", *out], "empty"),
        "invalid UTF-8": (["train", "--text", tmp_path / "latin1.txt", *out], "offset 3"),
        "invalid UTF-8 in prepare": (["prepare", tmp_path / "latin1.txt", tmp_path / "new"], "offset 3"),
        "too-short text": (["train", "--text", tmp_path / "short.txt", *out], "--max-length"),
        "one-token text": (["train", "--text", tmp_path / "one.txt", *out], "Add text"),
        "unknown tokenizer": (["prepare", text, tmp_path / "new", "--tokenizer", "gtp2"], "'gpt2'"),
        "missing store": (["info", tmp_path / "nowhere"], "nowhere"),
        "text as store": (["train", text, *out], "--text"),
        "missing manifest": (["info", corpus / "train"], "manifest.json"),
        "damaged manifest": (["show", corpus], "damaged"),
        "truncated shard": (["train", corpus, *out], "bytes"),
        "max_length 0": (["train", corpus, *out, "--max-length", 0], "--max-length is 0"),
        "stride 0": (["train", corpus, *out, "--stride", 0], "--stride is 0"),
        "batch_size 0": (["train", corpus, *out, "--batch-size", 0], "--batch-size is 0"),
        "show max_length 0": (["show", corpus, "--max-length", 0], "--max-length is 0"),
        "width 15": (["train", corpus, *out, "--width", 15], "width 15"),
        "steps 0": (["train", corpus, *out, "--steps", 0], "--steps is 0"),
        "unknown device": (["train", corpus, *out, "--device", "abacus"], "abacus"),
        "existing out": (["train", corpus, *out], "not empty"),
        "existing store": (["prepare", text, corpus], "store already"),
        "no run": (["train", "--out", tmp_path / "no-run", "--resume"], "no run"),
        "no run to show": (["show", "--run", tmp_path / "no-run"], "no run"),
        "row": (["show", corpus, *TINY[:4], "--row", 2], "rows 0 to 1"),
        "rank": (["show", corpus, *TINY[:4], "--dp-rank", 1], "--dp-rank is 1"),
    }
    return cases[what]


@pytest.mark.parametrize(
    "what",
    [
        "missing file",
        "missing input",
        "empty file",
        "invalid UTF-8",
        "invalid UTF-8 in prepare",
        "too-short text",
        "one-token text",
        "unknown tokenizer",
        "missing store",
        "text as store",
        "missing manifest",
        "damaged manifest",
        "truncated shard",
        "max_length 0",
        "stride 0",
        "batch_size 0",
        "show max_length 0",
        "width 15",
        "steps 0",
        "unknown device",
        "existing out",
        "existing store",
        "no run",
        "no run to show",
        "row",
        "rank",
    ],
)
def test_data_that_cannot_be_used_exits_with_1_and_one_message(
    tmp_path: Path, text: Path, corpus: Path, what: str
) -> None:
    words, expected = spoiled(tmp_path, text, corpus, what)
    before = files_in(tmp_path)
    result = invoke(*words)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert files_in(tmp_path) == before


def test_the_real_process_exits_with_the_same_codes_and_prints_no_traceback(tmp_path: Path, corpus: Path) -> None:
    bad = program("info", tmp_path / "nowhere")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("error: ")
    assert "Traceback" not in bad.stderr
    assert program("info").returncode == 2
    assert program("info", corpus).returncode == 0


def test_several_ranks_in_sight_stop_train_before_all_read_the_same(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    result = invoke("train", corpus, "--out", tmp_path / "run", *TINY)
    assert result.exit_code == 1
    assert "WORLD_SIZE=4" in result.stderr
    assert invoke("show", corpus, *TINY[:4]).exit_code == 0  # show says which rank it means


def test_a_stride_beyond_max_length_warns_in_one_clean_line(corpus: Path) -> None:
    done = program("show", corpus, "--max-length", 8, "--stride", 20)
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "never trained on" in line
    assert ".py" not in done.stderr


# -- results -------------------------------------------------------------------------------------------------------


def test_prepare_reads_files_and_standard_input_and_says_what_it_made(tmp_path: Path, text: Path) -> None:
    done = program(
        "prepare", text, tmp_path / "one", "--tokenizer", "bytes", "--valid-fraction", "0.1", "--split", "tail"
    )
    assert done.returncode == 0, done.stderr
    assert "valid" in done.stdout
    assert "windrow train" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # no bar and no colours where there is no terminal
    piped = program("prepare", "-", tmp_path / "two", "--tokenizer", "bytes", stdin=TEXT)
    assert piped.returncode == 0, piped.stderr
    facts = json.loads(invoke("info", tmp_path / "two", "--json").stdout)
    assert facts["train"]["num_tokens"] == len(TEXT) + 1


def test_prepare_keeps_fields_and_info_tells_tokens_by_them(tmp_path: Path) -> None:
    rows = [{"text": "some hay", "score": 0.5, "lang": "en"}, {"text": "Heu", "score": 1, "lang": "de"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["prepare", tmp_path / "x.jsonl", tmp_path / "out", "--tokenizer", "bytes"]
    assert invoke(*words, "--keep", "score,lang").exit_code == 0
    shown = invoke("info", tmp_path / "out").stdout
    assert "train: score, float64: from 0.5 to 1.0, 0.75 on average" in shown
    assert "train: lang, category" in shown
    columns = json.loads(invoke("info", tmp_path / "out", "--json").stdout)["train"]["columns"]
    assert columns["lang"]["tokens"] == {"en": 9, "de": 4}
    refused = invoke(*words[:2], tmp_path / "other", "--keep", "lang,lang")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: --keep is ['lang', 'lang'], and it is a list of names")


def test_info_as_json_has_every_split(corpus: Path) -> None:
    facts = json.loads(invoke("info", corpus, "--json").stdout)
    assert list(facts) == ["train", "valid"]
    assert sum(fact["num_tokens"] for fact in facts.values()) == len(TEXT) + 1
    assert invoke("info", corpus).stdout.count("bytes, 257 ids") == 2


def test_show_prints_the_loaders_own_batch_for_each_rank(corpus: Path) -> None:
    from windrow import Loader, Windows, open_store

    windows = Windows(open_store(corpus / "train"), 16, 8)
    for rank in (0, 1):
        loader = Loader(windows, 2, seed=5, dp_rank=rank, dp_world_size=2)
        flags = ["--step", 7, *TINY[:4], "--seed", 5, "--dp-rank", rank, "--dp-world-size", 2]
        shown = json.loads(invoke("show", corpus, *flags, "--json").stdout)
        assert [row["inputs"] for row in shown["rows"]] == loader[7].inputs.tolist()
        assert shown["recipe"] == json.loads(loader.recipe)
    plain = invoke("show", corpus, *flags, "--row", 1)
    assert "recipe: concat, max_length 16, stride 8, batch_size 2, seed 5\n" in plain.stdout
    assert "row 1" in plain.stdout
    assert "row 0" not in plain.stdout


def test_show_of_a_run_is_what_it_trained_on(tmp_path: Path, corpus: Path) -> None:
    run = tmp_path / "run"
    assert invoke("train", corpus, "--out", run, *TINY, "--seed", 3, "--steps", 2).exit_code == 0
    assert invoke("train", "--out", run, "--resume", "--steps", 4, "--batch-size", 3).exit_code == 0
    state = torch.load(run / "checkpoint.pt", weights_only=True)["loader"]
    assert json.loads(state["segments"])[-1][:3] == [4, 2, 3]
    for path in (run, run / "run.json"):
        rows = {
            step: json.loads(invoke("show", "--run", path, "--step", step, "--json").stdout)["rows"] for step in (1, 3)
        }
        assert [len(rows[1]), len(rows[3])] == [2, 3]
    other = invoke("show", "--run", run, "--step", 1, "--dp-rank", 1, "--dp-world-size", 2)
    assert other.exit_code == 1
    assert "rank 1" in other.stderr


def test_a_reader_that_stops_early_is_no_error(corpus: Path) -> None:
    for words in (["show", corpus, "--max-length", "200", "--places", "0"], ["show", corpus, "--json"]):
        command = [sys.executable, "-m", "windrow", *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(60) == 0


# -- train ---------------------------------------------------------------------------------------------------------


def test_train_on_a_text_then_resume_to_more_steps(tmp_path: Path, text: Path) -> None:
    run, flags = tmp_path / "run", ["--tokenizer", "bytes", *TINY]
    first = invoke("train", "--text", text, "--out", run, *flags, "--steps", 3)
    assert first.exit_code == 0, first.output
    assert "train loss" in first.stdout
    again = invoke("train", "--text", text, "--out", run, *flags)
    assert again.exit_code == 1
    assert "--resume" in again.stderr
    complete = invoke("train", "--out", run, "--resume")
    assert complete.exit_code == 0
    assert "complete" in complete.stderr
    more = invoke("train", "--out", run, "--resume", "--text", text, "--steps", 5)
    assert more.exit_code == 0, more.output
    assert len((run / "log.jsonl").read_text().splitlines()) == 5
    assert json.loads((run / "run.json").read_text())["training"]["steps"] == 5


CHANGED = {
    "--lr": 0.5,
    "--steps": 6,
    "--batch-size": 3,
    "--eval-every": 9,
    "--eval-batches": 1,
    "--checkpoint-every": 7,
}
SAID = "lr 0.001 -> 0.5, eval_every 50 -> 9, eval_batches 16 -> 1, checkpoint_every 200 -> 7"


def test_resume_says_what_changes_from_which_step(tmp_path: Path, corpus: Path) -> None:
    run = tmp_path / "run"
    assert invoke("train", corpus, "--out", run, *TINY, "--steps", 3).exit_code == 0
    more = invoke("train", "--out", run, "--resume", *itertools.chain(*CHANGED.items()))
    assert more.exit_code == 0, more.output
    assert f"from step 3: batch_size 2 -> 3, steps 3 -> 6, {SAID}\n" in more.stderr
    rates = [json.loads(line)["lr"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert max(rates[:3]) == pytest.approx(0.001)
    assert min(rates[3:]) > 0.05
    by_epochs = invoke("train", "--out", run, "--resume", "--epochs", 0.05)
    assert "from step 6: steps 6 -> by epochs, epochs 1 -> 0.05\n" in by_epochs.stderr
    assert "->" not in invoke("train", "--out", run, "--resume", "--epochs", 0.06, "--lr", 0.5).stderr.replace(
        "epochs 0.05 -> 0.06", ""
    )


def test_a_complete_run_says_what_it_does_not_use_and_stays_as_it_is(tmp_path: Path, corpus: Path) -> None:
    run = tmp_path / "run"
    assert invoke("train", corpus, "--out", run, *TINY, "--steps", 3).exit_code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = invoke("train", "--out", run, "--resume", "--lr", 0.5)
    assert result.exit_code == 0
    assert "not used, as no step is left to train: lr 0.001 -> 0.5\n" in result.stderr
    assert "the run is complete at step 3" in result.stderr
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_resume_with_another_text_or_recipe_is_refused_and_changes_nothing(tmp_path: Path, text: Path) -> None:
    run = tmp_path / "run"
    invoke("train", "--text", text, "--out", run, "--tokenizer", "bytes", *TINY, "--steps", 3)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    text.write_text(TEXT + "more")
    stride, order = (["--stride", 3], "stride: saved 8, here 3"), (["--documents", "epoch"], "documents: ")
    for flags, words in (["--text", text], "sha256"), stride, order:
        result = invoke("train", "--out", run, "--resume", "--steps", 9, *flags)
        assert result.exit_code == 1
        assert words in result.stderr
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_epochs_are_counted_in_windows(tmp_path: Path, corpus: Path) -> None:
    assert invoke("train", corpus, "--out", tmp_path / "run", *TINY, "--stride", 16, "--epochs", 0.02).exit_code == 0
    num_windows = (json.loads(invoke("info", corpus, "--json").stdout)["train"]["num_tokens"] - 17) // 16 + 1
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(log) == math.ceil(num_windows // 2 * 0.02)


INTERRUPTED = """
import signal
from windrow.cli.main import main
from windrow.training.trainer import Trainer

take_step = Trainer.take_step

def and_a_signal_in_step_20(trainer):
    if trainer.step == 20:
        signal.raise_signal(signal.{})
    return take_step(trainer)

Trainer.take_step = and_a_signal_in_step_20
main()
"""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_and_sigterm_save_a_checkpoint_and_the_resumed_run_equals_one_that_never_stopped(
    tmp_path: Path, corpus: Path, name: str
) -> None:
    flags = [*TINY, "--steps", 40, "--eval-every", 25]
    whole = invoke("train", corpus, "--out", tmp_path / "whole", *flags)
    assert whole.exit_code == 0, whole.stderr
    command = [
        sys.executable,
        "-c",
        INTERRUPTED.format(name),
        *map(str, ["train", corpus, "--out", tmp_path / "cut", *flags]),
    ]
    cut = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=100)
    assert cut.returncode == 130, cut.stderr
    assert "finishing step 21; again to stop now\n" in cut.stderr
    assert "stopped after step 21 of 40; its checkpoint is saved. Go on with:" in cut.stderr
    assert "--resume" in cut.stderr
    assert "Traceback" not in cut.stderr
    assert "<p>stopped</p>" in (tmp_path / "cut" / "train.html").read_text()
    saved = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)
    assert saved["step"] == len((tmp_path / "cut" / "log.jsonl").read_text().splitlines()) == 21
    resumed = invoke("train", "--out", tmp_path / "cut", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    ends = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "cut")]
    losses = [[(row["step"], row["loss"], row.get("valid_loss")) for row in end["log"]] for end in ends]
    assert losses[0] == losses[1]
    assert all(torch.equal(ends[0]["model"][name], ends[1]["model"][name]) for name in ends[0]["model"])


def test_a_second_ctrl_c_stops_at_once_and_says_how_to_go_on(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(trainer: Trainer, *_: object) -> float:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("training went on")

    monkeypatch.setattr(Trainer, "_update", update)
    result = invoke("train", corpus, "--out", tmp_path / "run", *TINY, "--steps", 3)
    assert result.exit_code == 130
    assert "finishing step 1; again to stop now\nstopped after step 0 of 3; the last checkpoint, if" in result.stderr
    assert "--resume" in result.stderr
    assert "<p>stopped</p>" in (tmp_path / "run" / "train.html").read_text()


def test_ctrl_c_before_the_first_step_exits_with_130_and_says_what_to_do(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import windrow.cli.train

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(windrow.cli.train, "run_of_store", interrupted)
    result = invoke("train", corpus, "--out", tmp_path / "run", *TINY)
    assert result.exit_code == 130
    assert "Run the same command again" in result.stderr
    assert not (tmp_path / "run").exists()
