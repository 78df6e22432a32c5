"""The demo, end to end, on its own text and on a user's."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

import windrow.cli.demo
from windrow.cli.demo import Story, _fitting, _free_folder, _that_fits, _train_in_two_halves
from windrow.cli.main import app
from windrow.errors import NotEnoughTokensError
from windrow.training.run import Run, Settings, open_run, run_of_text, start_run
from windrow.training.trainer import Trainer


def run_demo(folder: Path, *flags: str) -> str:
    result = CliRunner().invoke(app, ["demo", "--out", str(folder), *flags])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.replace("│", " ").split())


def test_the_demo_runs_from_text_to_sample_and_its_resume_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windrow.cli.demo, "_EVAL_BATCHES", 1)  # most of a short demo's time
    folder = tmp_path / "demo"
    told = run_demo(folder, "--steps", "4")
    for stage in ("Text", "Tokens", "Windows", "A batch", "Training", "Resume", "A sample", "Result"):
        assert stage in told
    assert "2 of 2 batches after the resume are the same" in told
    assert "DIFFERENT" not in told
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[3]["valid_loss"] < rows[1]["valid_loss"]
    ElementTree.parse(folder / "loss.svg")
    run = open_run(folder)
    assert run.valid is not None
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 4
    assert run.loader().recipe == json.dumps(
        json.loads((folder / "run.json").read_text())["recipe"], sort_keys=True, separators=(",", ":")
    )


def test_the_demo_runs_on_a_small_file_of_the_user_and_writes_over_nothing(tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text("The hay was cut on Monday, and by noon it lay in long rows \x1b[31m across the field. " * 6)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    told = run_demo(tmp_path / "out", "--text", str(text), "--steps", "2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert "out-2" in told
    assert re.search(r"length (16|32) inputs \(not 64: the text is short\)", told)
    assert "\x1b" not in told
    assert "1 of 1 batches after the resume are the same" in told
    assert (tmp_path / "out-2" / "loss.svg").is_file()


def test_a_text_too_short_for_the_demo_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    text = tmp_path / "tiny.txt"
    text.write_text("Only a few words.")
    result = CliRunner().invoke(app, ["demo", "--text", str(text), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "needs 32 to show anything" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.txt"]


@pytest.mark.parametrize("num_tokens", [32, 33, 40, 63, 64, 100, 500, 1024, 5000, 10**6])
def test_windows_are_chosen_so_that_a_text_holds_several(num_tokens: int) -> None:
    settings = _fitting(Settings(), num_tokens)
    num_windows = (num_tokens - settings.max_length - 1) // settings.resolved_stride + 1
    assert num_windows >= 5
    assert settings.batch_size <= num_windows
    assert settings.batch_size * settings.max_length <= 256


def test_fewer_than_32_tokens_are_an_error_with_the_numbers() -> None:
    with pytest.raises(NotEnoughTokensError, match=r"31 tokens .* needs 32"):
        _fitting(Settings(), 31)


def test_a_free_folder_is_the_first_that_is_not_there_or_empty(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert _free_folder(out) == out
    out.mkdir()
    assert _free_folder(out) == out
    (out / "file").touch()
    (tmp_path / "demo-2").touch()
    assert _free_folder(out) == tmp_path / "demo-3"


class Machine:
    """A clock that goes on with the work that is done: so many seconds a token, times ``load`` from some time on."""

    def __init__(self, seconds_a_step: float, load: float, since: float) -> None:
        self.seconds_a_token, self.load, self.since, self.now = seconds_a_step / 32, load, since, 0.0

    def perf_counter(self) -> float:
        return self.now

    def works(self, num_tokens: float) -> None:
        self.now += num_tokens * self.seconds_a_token * (self.load if self.now >= self.since else 1)


@pytest.mark.parametrize("seconds", [20, 120])
@pytest.mark.parametrize(
    ("seconds_a_step", "load", "since"), [(0.25, 1, 0), (1, 1, 0), (2, 1, 0), (0.25, 3, 0.3), (0.5, 2, 0.6)]
)
def test_the_demo_keeps_to_its_seconds_within_a_fifth_by_smaller_steps_and_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, seconds_a_step: float, load: float, since: float
) -> None:
    machine = Machine(seconds_a_step, load, since * seconds)
    take_step, evaluate = Trainer.take_step, Trainer.evaluate

    def slow_step(trainer: Trainer) -> dict[str, float]:
        machine.works(trainer.run.settings.batch_size * trainer.run.settings.max_length)
        return take_step(trainer)

    def slow_evaluation(trainer: Trainer) -> float:
        machine.works(trainer.run.settings.batch_size * trainer.run.settings.max_length * 6 / 2)
        return evaluate(trainer)

    monkeypatch.setattr(windrow.cli.demo, "time", machine)
    monkeypatch.setattr(Trainer, "take_step", slow_step)
    monkeypatch.setattr(Trainer, "evaluate", slow_evaluation)
    (tmp_path / "story.txt").write_text("The hay was cut on Monday. " * 40)
    settings = Settings(max_length=8, batch_size=4, width=8, num_heads=1, num_layers=1, eval_batches=6)

    def build(folder: Path) -> Run:
        return run_of_text(tmp_path / "story.txt", folder, settings, valid_fraction=0.1, tokenizer="bytes")

    run = _that_fits(start_run(tmp_path / "run", build), seconds)
    trained = _train_in_two_halves(Story(), run, seconds)
    assert trained is not None
    trainer, digests = trained
    machine.now += 3  # checkpoints and samples
    assert machine.now <= 1.2 * seconds
    assert machine.now >= 0.8 * seconds or trainer.step == 3000
    assert open_run(tmp_path / "run").settings.steps == trainer.step == len(trainer.log) >= 4
    assert "valid_loss" in trainer.log[-1]
    assert max(digests) == trainer.step - 1


@pytest.mark.parametrize(("seconds_a_step", "batch_size"), [(0.1, 4), (0.5, 4), (2, 2), (5, 1), (50, 1)])
def test_steps_are_made_smaller_where_too_few_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds_a_step: float, batch_size: int
) -> None:
    machine = Machine(seconds_a_step, 1, 0)
    monkeypatch.setattr(windrow.cli.demo, "time", machine)
    take_step = Trainer.take_step
    monkeypatch.setattr(Trainer, "take_step", lambda trainer: (machine.works(32), take_step(trainer))[1])
    (tmp_path / "story.txt").write_text("The hay was cut on Monday. " * 40)
    settings = Settings(max_length=8, batch_size=4, width=8, num_heads=1, num_layers=1)

    def build(folder: Path) -> Run:
        return run_of_text(tmp_path / "story.txt", folder, settings, valid_fraction=0.1, tokenizer="bytes")

    run = _that_fits(start_run(tmp_path / "run", build), 60)
    assert run.settings.batch_size == batch_size
    assert open_run(tmp_path / "run").settings == run.settings
