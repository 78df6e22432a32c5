"""Checkpoints that are not what a run wrote: each is refused with the file and the part, and nothing is lost."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from windrow.cli.main import app

Edit = Callable[[dict[str, Any]], object]
TINY = ["--max-length", "16", "--batch-size", "2", "--width", "8", "--num-heads", "1", "--num-layers", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    (folder / "story.txt").write_text("The hay was cut on Monday, and by noon it lay in long rows. " * 30)
    flags = ["--text", str(folder / "story.txt"), "--out", str(folder / "run"), "--tokenizer", "bytes", "--steps", "4"]
    result = CliRunner().invoke(app, ["train", *flags, *TINY])
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture(scope="module")
def whole(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoint.pt", weights_only=True)
    return content


def refusal(run: Path, content: object) -> str:
    """What ``--resume`` says about ``content`` as the checkpoint; all files stay as they are."""
    torch.save(content, run / "checkpoint.pt")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = CliRunner().invoke(app, ["train", "--out", str(run), "--resume", "--steps", "6"])
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    return result.stderr


@pytest.mark.parametrize("part", ["config", "step", "model", "optimizer", "random", "loader", "log"])
def test_a_part_that_is_missing_or_nothing_is_named(run: Path, whole: dict[str, Any], part: str) -> None:
    for content, fault in (
        ({name: value for name, value in whole.items() if name != part}, f"  {part} is missing"),
        ({**whole, part: None}, f"  {part} is of the type NoneType, and here it is "),
    ):
        said = refusal(run, content)
        assert f"{run / 'checkpoint.pt'} does not hold what this run goes on from:\n{fault}" in said
        assert "Restore it from a copy, or remove it to train the run again from its beginning." in said


EMBEDDING = "embedding.token.weight"
WRONG: dict[str, tuple[Edit, str]] = {
    "a weight of another shape": (
        lambda c: c["model"].update({EMBEDDING: c["model"][EMBEDDING][:, :1].clone()}),
        r"model\.embedding\.token\.weight is a tensor \(257, 1\) of float32, and here it is a tensor \(257, 8\)",
    ),
    "a weight of another type": (
        lambda c: c["model"].update({EMBEDDING: c["model"][EMBEDDING].half()}),
        r"model\.embedding\.token\.weight is a tensor \(257, 8\) of float16, and here .* of float32",
    ),
    "a weight that is no tensor": (
        lambda c: c["model"].update({EMBEDDING: [1.0]}),
        r"model\.embedding\.token\.weight is of the type list, and here it is Parameter|Tensor",
    ),
    "a weight less": (lambda c: c["model"].pop(EMBEDDING), r"model\.embedding\.token\.weight is missing"),
    "a weight too many": (lambda c: c["model"].update(zz=torch.zeros(1)), r"model\.zz has no place here"),
    "a part too many": (lambda c: c.update(zz="x"), r"  zz has no place here"),
    "no moments": (lambda c: c["optimizer"].update(state={}), r"optimizer\.state\.0 is missing"),
    "no groups": (lambda c: c["optimizer"].pop("param_groups"), r"optimizer\.param_groups is missing"),
    "a moment of another shape": (
        lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
        r"optimizer\.state\.0\.exp_avg is a tensor \(1,\) of float32, and here it is a tensor \(257, 8\) of float32",
    ),
    "random state of another size": (
        lambda c: c["random"].update(cpu=torch.zeros(3, dtype=torch.uint8)),
        r"random\.cpu is a tensor \(3,\) of uint8, and here it is a tensor \(\d+,\) of uint8",
    ),
    "no random state": (lambda c: c["random"].clear(), r"random\.cpu is missing\n  random\.cuda is missing"),
    "sizes that are none": (lambda c: c["config"].update(width="8"), r"config\.width is of the type str, .* it is int"),
    "other sizes": (lambda c: c["config"].update(width=10**6), r"width: saved 1000000, here 8"),
    "steps that are none": (lambda c: c.update(step=4.5), r"step is of the type float, and here it is int"),
    "steps below none": (lambda c: c.update(step=-5), r"is of step -5, its log of 4 steps and its loader at step 4"),
    "too many steps": (lambda c: c.update(step=10**9), r"is of step 1000000000, its log of 4 steps"),
    "a log of numbers": (lambda c: c.update(log=[1, 2, 3, 4]), r"log\.0 is of the type int, and here it is dict"),
    "a log of other rows": (lambda c: c["log"][1].pop("loss"), r"log\.1\.loss is missing"),
    "a log with a word in it": (lambda c: c["log"][1].update(valid_loss="x"), r"log\.1\.valid_loss has no place here"),
    "a log cut short": (lambda c: c["log"].pop(), r"is of step 4, its log of 3 steps and its loader at step 4"),
    "a loader elsewhere": (lambda c: c["loader"].update(position=6), r"its log of 4 steps and its loader at step 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_is_named_with_what_it_is_and_what_it_must_be(run: Path, whole: dict[str, Any], name: str) -> None:
    edit, told = WRONG[name]
    content = copy.deepcopy(whole)
    edit(content)
    said = refusal(run, content)
    assert re.search(told, said), said
    assert str(run / "checkpoint.pt") in said


NONE_AT_ALL = [torch.zeros(3), [1], "x", None, {}, {"format": "windrow-checkpoint", "version": 2}]


@pytest.mark.parametrize("content", NONE_AT_ALL)
def test_what_is_no_checkpoint_at_all_is_named(run: Path, content: object) -> None:
    said = refusal(run, content)
    assert f"{run / 'checkpoint.pt'} is no whole checkpoint (ValueError: its format or version is another one)" in said


def test_a_loader_of_another_recipe_is_refused_with_the_name_of_the_file(run: Path, whole: dict[str, Any]) -> None:
    content = copy.deepcopy(whole)
    content["loader"]["recipe"] = content["loader"]["recipe"].replace('"stride":8', '"stride":3')
    said = refusal(run, content)
    assert f"{run / 'checkpoint.pt'}: the state was saved with another recipe" in said
    assert "stride: saved 3, here 8" in said


def test_the_settings_of_a_hostile_optimizer_are_not_used(tmp_path: Path, run: Path, whole: dict[str, Any]) -> None:
    content = copy.deepcopy(whole)
    content["optimizer"]["param_groups"] = [{"params": [0], "betas": "x", "lr": "y"}]
    shutil.copytree(run, tmp_path / "run")
    torch.save(content, tmp_path / "run" / "checkpoint.pt")
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "run"), "--resume", "--steps", "6"])
    assert result.exit_code == 0, result.output
