"""Accelerate and the loader itself: stops and resumes, other ranks, and what is refused."""

import json
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

from accelerate_ranks import refusals, steps, stop_and_resume

from trainer_helpers import BATCH_SIZE, cases, run_ranks, stream_digests

SCRIPT = Path(__file__).parent / "accelerate_ranks.py"
STOPS = {"stop": ["middle", "epoch's end", "second epoch"], "accumulation": [1, 4], "ranks": [1, 2]}


@pytest.mark.parametrize(list(STOPS), cases(**STOPS))
def test_a_stopped_and_resumed_loop_is_the_uninterrupted_one_in_batches_and_weights(
    stop: str, accumulation: int, ranks: int, tmp_path: Path
) -> None:
    if ranks == 1:
        stop_and_resume(tmp_path, stop, accumulation)
    else:
        run_ranks(ranks, SCRIPT, "stop_and_resume", tmp_path, json.dumps(stop), json.dumps(accumulation))


def test_a_checkpoint_of_two_ranks_goes_on_with_one_of_another_batch_size(tmp_path: Path) -> None:
    run_ranks(2, SCRIPT, "save", tmp_path)
    given, _ = steps(tmp_path, 60, go_on=True, batch_size=BATCH_SIZE)
    assert given == stream_digests(73)[13:]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_dataloader_is_refused_by_prepare_and_by_skipping_and_the_loader_itself_is_not(
    ranks: int, tmp_path: Path
) -> None:
    if ranks == 1:
        refusals(tmp_path)
    else:
        run_ranks(ranks, SCRIPT, "refusals", tmp_path)
