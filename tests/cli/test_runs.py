"""Every command takes any run: a mixture with masks and ranks, as JSON that a loop wrote or as TOML, and its past."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import windrow as wr
from windrow.cli.main import app

COMMANDS = {
    "show": ["--step", 1],
    "when": ["--member", "web", "--document", 3],
    "plan": [],
    "check": [],
    "report": [],
    "bench": ["--seconds", 0.1],
    "train": ["--out", "out", "--steps", 1, "--width", 8, "--num-heads", 1, "--num-layers", 1],
}
RUN = """
max_length = 16
batch_size = 2
dp_world_size = 2
seed = 7
mask_targets = "document_edges"

[members.web]
store = "web/train"
weight = 3
policy = "pack"

[members.code]
store = "code/train"
stride = 8
documents = "epoch"
"""
RECIPE = (
    "code: concat, max_length 16, stride 8, documents epoch; web: pack, max_length 16, batch_size 2, seed 7, "
    "mask_targets document_edges"
)


@pytest.fixture(autouse=True)
def _in_a_folder_with_two_stores_and_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("web", "code"):
        texts = iter(f"{name} {n} speaks of hay and of rain. " * (n % 5 + 1) for n in range(40))
        wr.prepare(texts, Path(name), tokenizer="bytes", workers=1)
    Path("run.toml").write_text(RUN)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def said(*words: object) -> str:
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_run_by_hand_and_one_that_is_written(command: str) -> None:
    wr.open_run("run.toml").write_run("run.json")
    for file in ("run.toml", "run.json"):
        words: list[Any] = COMMANDS[command]
        words = [f"out-{file}" if word == "out" else word for word in words]
        assert f"recipe: {RECIPE}" in said(command, "--run", file, *words)


@pytest.mark.parametrize("rank", [0, 1])
def test_show_prints_the_step_of_each_rank_of_a_mixture(rank: int) -> None:
    loader = wr.open_run("run.toml", dp_rank=rank)
    rows = json.loads(said("show", "--run", "run.toml", "--step", 3, "--dp-rank", rank, "--json"))["rows"]
    assert [row["member"] for row in rows] == [sample.member for sample in loader.lookup(3)]
    assert [row["targets"] for row in rows] == loader[3].targets.tolist()
    assert f"dp_rank {rank} of 2" in said("show", "--run", "run.toml", "--step", 3, "--dp-rank", rank)


def lived(state: Path) -> wr.Loader:
    """A loop on two ranks, as of rank 0, that skips, excludes and grows its batch, and what it leaves on disk."""
    loader = wr.open_run("run.toml")
    loader.write_run("run.json")
    next(iter(loader))
    loader.skip(6)
    loader.exclude(member="web", documents=range(40))
    later = wr.open_run("run.json")
    later.load_state_dict(loader.state_dict())
    next(iter(later))
    torch.save({"model": {"weight": torch.zeros(3)}, "data": {"loader": later.state_dict()}}, state)
    return later


@pytest.mark.parametrize("key", ["", ":data.loader"])
def test_a_run_has_the_past_of_its_state(key: str) -> None:
    loader, past = lived(Path("checkpoint.pt")), ["--run", "run.json", "--state", f"checkpoint.pt{key}"]
    for step in range(3):
        rows = json.loads(said("show", *past, "--step", step, "--json"))["rows"]
        assert [row["targets"] for row in rows] == loader[step].targets.tolist()
    assert any(row["member"] == "web" and set(row["targets"]) == {-100} for row in rows)
    positions = [
        one.position for one in wr.sightings(loader, *loader.members["web"].store.document_span(3), member="web")
    ]
    found = json.loads(said("when", *past, "--member", "web", "--document", 3, "--json"))["sightings"]
    assert [one["position"] for one in found] == positions
    python = re.search(r"in Python: (.*)", said("plan", *past))
    assert python is not None
    assert eval(python[1], {"windrow": wr}).state_dict() == loader.state_dict()


def test_when_asks_which_member_is_meant() -> None:
    done = invoke("when", "--run", "run.toml", "--document", 3)
    assert (done.exit_code, "say which member of the mixture is meant: code, web" in done.stderr) == (1, True)
    assert "there is no member" in invoke("when", "--run", "run.toml", "--member", "x", "--document", 3).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "web", "--state", "x.json"], "--state FILE is where a run stood"),
        (["train", "--run", "run.toml", "--batch-size", 3], "--batch-size: --run PATH says that already"),
        (["train", "--run", "run.toml", "--policy", "pack"], "--policy: --run PATH says that already"),
        (["train", "--run", "run.toml", "--resume"], "or --run PATH of a run that starts anew"),
        (["train", "web", "--run", "run.toml"], "or --run PATH of a run that starts anew"),
    ],
)
def test_flags_that_do_not_belong_together_are_answered(words: list[object], message: str) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_file_that_is_wrong_is_an_error_without_a_traceback(command: str) -> None:
    Path("run.toml").write_text(RUN.replace("policy", "polcy"))
    done = invoke(command, "--run", "run.toml", *COMMANDS[command])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: run.toml is no run of this windrow")
    assert "members.web has 'polcy'" in done.stderr


def test_a_run_of_a_mixture_is_trained_and_goes_on_as_itself() -> None:
    expected = wr.open_run("run.toml", dp_rank=0, dp_world_size=1)
    said("train", "--run", "run.toml", *COMMANDS["train"])
    assert "step 3/3" in said("train", "--out", "out", "--resume", "--steps", 3)
    after = wr.open_run("out", "out/checkpoint.pt")
    assert (after.step, after.recipe) == (3, expected.recipe)
    for step in range(3):
        assert np.array_equal(after[step].targets, expected[step].targets)


def test_train_takes_a_policy_and_an_order_of_documents() -> None:
    words = ["--max-length", 16, *COMMANDS["train"]]
    assert "recipe: pack, max_length 16, documents epoch" in said(
        "train", "web", "--policy", "pack", "--documents", "epoch", *words
    )
    assert wr.open_run("out").members[""].policy == "pack"
    assert invoke("train", "--out", "out", "--resume", "--policy", "pad", "--steps", 2).exit_code == 1
