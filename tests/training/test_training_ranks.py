"""Many ranks train one run: as one would, ended by a signal to any of them, going on with another number."""

import json
from pathlib import Path
from signal import SIGTERM

import pytest
import torch
from typer.testing import CliRunner

from rank_helpers import assert_is_stream, run_noted, said_once
from trainer_helpers import try_ranks
from windrow import Windows, open_store
from windrow.cli.main import app
from windrow.training.ranks import Ranks, joined
from windrow.training.run import open_run

TEXT = "".join(f"{n} hay makers turn {n * n} windrows before the rain of day {n % 7}.\n" for n in range(120))
MODEL = ["--width", 16, "--num-layers", 1, "--num-heads", 2]
TINY = ["--tokenizer", "bytes", "--max-length", 16, "--batch-size", 2, *MODEL, "--eval-batches", 10**6]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    return Path("text.txt")


def log_of(run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(run, "log.jsonl").read_text().splitlines()]


# -- which ranks, on which device -------------------------------------------------------------------------------------


def test_a_process_that_torchrun_did_not_start_trains_alone_and_sends_nothing() -> None:
    with joined("auto") as ranks:
        assert ranks == Ranks("cuda" if torch.cuda.is_available() else "cpu")
        assert ranks.total(0.1) == 0.1
        gradient = torch.tensor([0.1, 0.2])
        ranks.add_up([gradient])
        assert gradient.tolist() == torch.tensor([0.1, 0.2]).tolist()


@pytest.mark.parametrize(
    ("asked", "has_cuda", "has_mps", "local_rank", "found"),
    [
        ("auto", True, False, None, "cuda"),
        ("auto", True, False, "3", "cuda:3"),
        ("cuda", True, False, "3", "cuda:3"),
        ("cuda:1", True, False, "3", "cuda:1"),
        ("auto", False, True, None, "mps"),
        ("auto", False, True, "0", "cpu"),
        ("auto", False, False, "0", "cpu"),
        ("cpu", True, True, "0", "cpu"),
    ],
)
def test_auto_is_the_gpu_of_this_rank_or_mps_or_the_cpu(
    monkeypatch: pytest.MonkeyPatch, asked: str, has_cuda: bool, has_mps: bool, local_rank: str | None, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    with joined(asked) as ranks:
        assert ranks == Ranks(found)


# -- many ranks -------------------------------------------------------------------------------------------------------


def test_two_ranks_train_as_one_does_stop_together_at_a_signal_to_one_and_go_on_alone(text: Path) -> None:
    end = (SIGTERM, 1, 6)
    first, before = run_noted(2, "windrow", "train", "--text", text, "--out", "run", *TINY, "--steps", 12, end=end)
    assert said_once(first, "stopped after step") == (
        "stopped after step 7 of 12; its checkpoint is saved. Go on with:"
    )
    assert max(before) == 6
    assert json.loads(Path("run/run.json").read_text())["dp_world_size"] == 2
    done, after = run_noted(1, "windrow", "train", "--out", "run", "--resume", "--batch-size", 4, "--device", "auto")
    assert done.returncode == 0, done.stderr
    assert min(after) == 7
    assert_is_stream(Windows(open_store("run/data/train"), 16, 8), 0, before, after)
    flags = ["--text", text, "--out", "one", *TINY, "--batch-size", 4, "--steps", 12]
    whole = CliRunner().invoke(app, ["train", *map(str, flags)])
    assert whole.exit_code == 0, whole.stderr
    for name in ("step", "loss", "lr"):
        assert [row[name] for row in log_of("run")] == pytest.approx([row[name] for row in log_of("one")], rel=1e-5)
    valid = [row["valid_loss"] for row in log_of("run") if "valid_loss" in row]
    assert valid == pytest.approx([row["valid_loss"] for row in log_of("one") if "valid_loss" in row], rel=1e-5)
    assert sorted(path.name for path in Path("run").iterdir()) == sorted(path.name for path in Path("one").iterdir())
    saved = open_run("run")
    assert (saved.file.dp_world_size, saved.settings.steps) == (1, 12)


def test_an_error_that_all_ranks_meet_is_said_once_and_without_a_traceback_of_ours(text: Path) -> None:
    Path("run").mkdir()
    Path("run", "diary.txt").write_text("mine")
    done = try_ranks(2, "-m", "windrow", "train", "--text", text, "--out", "run", *TINY)
    assert done.returncode == 1
    assert said_once(done, "error: ") == (
        "error: the folder run is not empty, and nothing is written over. Choose another folder with --out."
    )
    assert "windrow/training" not in done.stderr
    assert done.stdout == ""
    wrong = try_ranks(2, "-m", "windrow", "train", "--text", text, "--stepps", 3)
    assert wrong.stderr.count("No such option") == 1
