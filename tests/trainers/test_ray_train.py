"""Ray Train: the world rank of its context, a checkpoint of rank 0; other workers, and a worker that dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_helpers import stream_digests

pytest.importorskip("ray.train")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.timeout(300)
NUM_STEPS, EVERY, DIES_AT = 40, 10, 23  # of ray_ranks.py


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the three runs."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    command = [sys.executable, str(Path(__file__).with_name("ray_ranks.py")), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def received(runs: Path, name: str) -> list[tuple[int, str]]:
    lines = (runs / name).read_text().splitlines()
    return [(int(step), found) for step, found in map(str.split, lines)]


def test_two_workers_receive_the_streams_of_two_ranks(runs: Path) -> None:
    for rank in range(2):
        expected = stream_digests(NUM_STEPS, dp_rank=rank, dp_world_size=2)
        assert received(runs, f"whole-{rank}") == list(enumerate(expected, start=1))


def test_one_worker_goes_on_with_the_samples_that_two_had_not_seen(runs: Path) -> None:
    seen = 20 * 2  # steps of the checkpoint, as one rank would have made them
    assert [found for _, found in received(runs, "alone-0")] == stream_digests(seen + 20)[seen:]


def test_after_a_worker_has_died_the_restarted_run_is_the_uninterrupted_one(runs: Path) -> None:
    whole, killed = (torch.load(runs / f"{name}.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    for rank in range(2):
        steps = received(runs, f"killed-{rank}")
        numbers = [step for step, _ in steps]
        again = numbers.index(DIES_AT - 1) + 1  # where the second attempt begins
        assert numbers[:again] == list(range(1, DIES_AT))
        assert numbers[again] % EVERY == 1  # after a checkpoint, the last that Ray had stored
        assert numbers[again:] == list(range(numbers[again], NUM_STEPS + 1))
        assert steps == [(step, dict(received(runs, f"whole-{rank}"))[step]) for step in numbers]
