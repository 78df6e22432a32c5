"""What the tests of many ranks share: a program whose batches are noted, the stream they are of, what was said."""

import json
import subprocess
from itertools import islice
from pathlib import Path

from trainer_helpers import digest, try_ranks
from windrow import Loader, Windows

SCRIPT = Path(__file__).with_name("trainers") / "noted_ranks.py"
Steps = dict[int, list[str]]


def run_noted(
    num_ranks: int, *program: object, end: tuple[int, int, int] = (0, 0, 0)
) -> "tuple[subprocess.CompletedProcess[str], Steps]":
    """``program`` on ``num_ranks`` ranks, and the rows of each of its steps in the order of the ranks.

    ``end`` is a signal, and the rank and step at which that rank sends it to itself.
    """
    folder = Path("noted")
    folder.mkdir()
    done = try_ranks(num_ranks, SCRIPT, folder, int(end[0]), *end[1:], *program)
    steps: Steps = {}
    for rank in range(num_ranks):
        lines = (folder / f"{rank}.jsonl").read_text().splitlines() if (folder / f"{rank}.jsonl").exists() else []
        for step, rows in map(json.loads, lines):
            steps.setdefault(step, []).extend(rows)
    folder.rename(f"noted-{len(list(Path().glob('noted-*')))}")
    return done, steps


def assert_is_stream(windows: Windows, seed: int, *runs: Steps) -> None:
    """The steps of ``runs``, each of which goes on where one before it was saved, are the stream from its beginning."""
    steps: Steps = {}
    for run in runs:
        steps = {step: rows for step, rows in steps.items() if step < min(run)} | run
    rows = [row for step in sorted(steps) for row in steps[step]]
    assert sorted(steps) == list(range(len(steps)))
    expected = Loader(windows, 1, seed=seed, epochs=None, device="cpu")
    assert rows == [digest(*batch) for batch in islice(expected, len(rows))]


def said_once(done: "subprocess.CompletedProcess[str]", beginning: str) -> str:
    """The only line on stderr that begins so."""
    (line,) = (line for line in done.stderr.splitlines() if line.startswith(beginning))
    return line
