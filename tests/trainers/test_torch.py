"""Plain PyTorch on many ranks: the example and ``windrow train``, ended by a signal, go on exactly."""

import importlib.util
import os
from functools import cache
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from conftest import ROOT
from rank_helpers import Steps, assert_is_stream, run_noted, said_once
from trainer_helpers import cases
from windrow import Windows, open_store
from windrow.training.run import open_run

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("accelerate") is None and not {"WINDROW_ALL", "WINDROW_EXHAUSTIVE"} & set(os.environ),
        reason="many processes, so only in the environment of trainers",
    ),
    pytest.mark.timeout(300),
]
EXAMPLE = ROOT / "examples" / "train_ddp.py"
TEXT = "".join(f"{n} hay makers turn {n * n} windrows before the rain of day {n % 7}.\n" for n in range(120))
MODEL = ["--width", "16", "--num-layers", "1", "--num-heads", "2"]
NEW = ["train", "--text", "text.txt", "--out", "run", "--tokenizer", "bytes", "--max-length", "16", "--batch-size", "2"]
Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_example(num_ranks: int, num_steps: int, *flags: object, end: tuple[int, int, int] = (0, 0, 0)) -> Steps:
    """The example's steps so far, on ``num_ranks``; it must succeed where no rank was killed."""
    os.environ["STEPS"] = str(num_steps)
    done, steps = run_noted(num_ranks, EXAMPLE, *flags, end=end)
    assert (done.returncode == 0) == (end[0] != SIGKILL), done.stderr
    return steps


def example_weights(num_steps: int) -> Weights:
    dcp_to_torch_save(f"ddp-example/step-{num_steps:06}", "whole.pt")
    weights: Weights = torch.load("whole.pt", weights_only=False)["training"]["model"]
    return weights


def example_windows() -> Windows:
    return Windows(open_store("ddp-example/corpus/train"), 64)


@cache
def uninterrupted(folder: Path, num_steps: int, *flags: object) -> Weights:
    """What the example learns on two ranks without a stop."""
    before = Path.cwd()
    os.chdir(folder)
    run_example(2, num_steps, *flags)
    weights = example_weights(num_steps)
    os.chdir(before)
    return weights


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_distributed_checkpoint_goes_on_with_other_ranks_and_batch_sizes() -> None:
    runs = [run_example(2, 5, "--batch-size", 4), run_example(1, 10, "--batch-size", 3)]
    runs.append(run_example(2, 15, "--batch-size", 5))
    assert [min(run) for run in runs] == [0, 5, 10]
    assert_is_stream(example_windows(), 1, *runs)


@pytest.mark.parametrize(
    ("number", "accumulate", "wrapped", "then"),
    cases(number=[SIGTERM, SIGKILL], accumulate=[1, 4], wrapped=["DDP", "FSDP2"], then=["2 ranks", "1 rank"]),
)
def test_ddp_and_fsdp2_go_on_exactly_after_a_signal_to_one_rank(
    tmp_path_factory: pytest.TempPathFactory, number: int, accumulate: int, wrapped: str, then: str
) -> None:
    flags = ["--accumulate", accumulate, *(["--fsdp"] if wrapped == "FSDP2" else [])]
    before = run_example(2, 9, *flags, end=(number, 1, 6 * accumulate))  # in step 6, one after a checkpoint
    after = run_example(int(then[0]), 9, *flags)
    assert min(after) == accumulate * (7 if number == SIGTERM else 5)
    assert_is_stream(example_windows(), 1, before, after)
    if then == "2 ranks":
        assert_same(example_weights(9), uninterrupted(tmp_path_factory.mktemp("uninterrupted"), 9, *flags))


@pytest.mark.parametrize(
    ("number", "at_rank", "then"),
    cases(number=[SIGTERM, SIGKILL], at_rank=[1, 0], then=["2 ranks", "1 rank", "3 ranks"]),
)
def test_windrow_train_goes_on_exactly_after_a_signal_to_one_rank(number: int, at_rank: int, then: str) -> None:
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    new = [*NEW, *MODEL, "--steps", 9, "--checkpoint-every", 4]
    ended, before = run_noted(2, "windrow", *new, end=(number, at_rank, 5))
    assert ended.returncode == 1
    if number == SIGTERM:
        said_once(ended, "stopped after step 6 of 9;")
    assert ended.stderr.count("error: rank ") <= (number == SIGKILL)  # torchrun may end the other before it has spoken
    assert ended.stderr.count("Traceback (most") == 1  # torchrun's own
    done, after = run_noted(int(then[0]), "windrow", "train", "--out", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert min(after) == (6 if number == SIGTERM else 4)
    assert_is_stream(Windows(open_store("run/data/train"), 16, 8), 0, before, after)
    assert open_run("run").file.dp_world_size == int(then[0])
    if then == "2 ranks":
        run_noted(2, "windrow", *new, "--out", "whole")
        saved, whole = (torch.load(f"{name}/checkpoint.pt", weights_only=True) for name in ("run", "whole"))
        assert_same(saved["model"], whole["model"])
        assert [row["loss"] for row in saved["log"]] == [row["loss"] for row in whole["log"]]
