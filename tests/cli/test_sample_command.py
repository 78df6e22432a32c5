"""``windrow sample``, and the sample that ``train`` ends with."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from windrow.cli.main import app
from windrow.errors import StoreError
from windrow.training.sample import sample, trained

TEXT = "The hay \x1b[31m was cut, naïve goat. 干草\n" * 40
FLAGS = ["--max-length", "16", "--width", "16", "--num-heads", "2", "--num-layers", "1", "--steps", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    arguments = ["train", "--text", str(folder / "text.txt"), "--out", str(folder / "run"), *FLAGS]
    result = CliRunner().invoke(app, [*arguments, "--vocabulary", "text"])
    assert result.exit_code == 0, result.output
    assert "sample      The hay" in result.stdout
    return folder / "run"


def test_the_command_prints_what_the_function_gives_with_nothing_that_moves_a_cursor(run: Path) -> None:
    flags = ["--prompt", "The hay", "--seed", "3", "--length", "200", "--temperature", "2", "--top-k", "9"]
    result = CliRunner().invoke(app, ["sample", "--run", str(run), *flags])
    assert result.exit_code == 0, result.output
    made = "".join(sample(trained(run), "The hay", seed=3, length=200, temperature=2, top_k=9))
    assert "\x1b" in made
    assert result.stdout == made.replace("\x1b", "\\x1b") + "\n"


def test_each_piece_is_printed_as_it_is_drawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("windrow.cli.main.typer.echo", lambda text="", **_: told.append(text))
    assert CliRunner().invoke(app, ["sample", "--run", str(run), "--length", "4"]).exit_code == 0
    assert len(told) == 6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "nan"], "error: --temperature is nan"),
        (["--prompt", "zebra"], "error: --prompt is 'zebra', and"),
        (["--prompt", "zebra"], "or train with --vocabulary tokenizer."),
        (["--tokenizer", "bytes"], "was made with tokenizer 'gpt2'"),
        (["--run", "nowhere"], "there is no run at nowhere"),
    ],
)
def test_what_cannot_be_sampled_is_one_message(run: Path, flags: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["sample", "--run", str(run), *flags])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_without_a_name_it_takes_the_run_of_train_and_else_that_of_the_demo(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = CliRunner().invoke(app, ["sample"])
    assert "there is no run at windrow-run" in nothing.stderr
    shutil.copytree(run, "windrow-demo")
    assert CliRunner().invoke(app, ["sample", "--length", "1"]).exit_code == 0
    Path("windrow-run").mkdir()
    assert "there is no run at windrow-run" in CliRunner().invoke(app, ["sample"]).stderr


def test_training_ends_well_where_the_tokenizer_is_not_at_hand(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise StoreError("no tokenizer 'x'")

    monkeypatch.setattr("windrow.cli.train.sample", gone)
    flags = ["train", "--text", str(run.parent / "text.txt"), "--out", str(tmp_path / "run"), *FLAGS]
    result = CliRunner().invoke(app, flags)
    assert result.exit_code == 0, result.output
    assert "sample      none: no tokenizer 'x'" in result.stdout
