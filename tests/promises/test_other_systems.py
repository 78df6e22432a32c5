"""Without what only some systems have, and as Windows refuses: the same bytes, batches and training, end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import STORY
from prepare_helpers import snapshot

pytestmark = pytest.mark.skipif(
    not os.environ.get("WINDROW_EXHAUSTIVE"), reason="half a minute; set WINDROW_EXHAUSTIVE to run it"
)
ELSEWHERE = Path(__file__).parents[1] / "elsewhere"
TINY = "--max-length 16 --batch-size 2 --width 16 --num-heads 2 --num-layers 1"
PREPARE = "prepare in corpus --tokenizer bytes --split tail --valid-fraction 0.1 --workers 2 --keep lang"
COMMANDS = [
    PREPARE,
    PREPARE,  # onto what is finished
    f"train --text story.txt --tokenizer bytes --out run {TINY} --steps 3",
    "train --out run --resume --steps 6",
    "check --run run",
    "show --run run --step 2 --json",
]


def run_all(folder: Path, python_path: str) -> list[str]:
    """What each command prints; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": f"{folder}/cache"}
    printed = []
    for words in COMMANDS:
        command = [sys.executable, "-m", "windrow", *words.split()]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        printed.append(done.stdout)
    return printed


def filled(folder: Path) -> Path:
    """Inputs for two workers, a story, and an empty folder for a run."""
    (folder / "in").mkdir(parents=True)
    for name, number in (("a", 1800), ("b", 100)):
        lines = [json.dumps({"text": f"{name} {n} hay " * 500, "lang": "en"}) for n in range(number)]
        (folder / f"in/{name}.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    (folder / "story.txt").write_text(STORY, encoding="utf-8", newline="\n")
    (folder / "run").mkdir()
    return folder


@pytest.mark.timeout(500)
@pytest.mark.skipif(sys.platform != "linux", reason="what a process has open is read from /proc")
def test_where_much_is_missing_all_comes_out_the_same(tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    here, elsewhere = filled(tmp_path / "here"), filled(tmp_path / "elsewhere")
    printed = run_all(elsewhere, f"{ELSEWHERE}{os.pathsep}{paths}")
    assert printed[-1] == run_all(here, paths)[-1]
    wanted, found = snapshot(here), snapshot(elsewhere)
    same = [name for name in wanted if name.startswith(("corpus", "run/data")) or name == "run/run.json"]
    assert {name: found.get(name) for name in same} == {name: wanted[name] for name in same}
    rows = [(folder / "run/log.jsonl").read_text(encoding="utf-8").splitlines() for folder in (here, elsewhere)]
    assert [json.loads(row)["loss"] for row in rows[0]] == [json.loads(row)["loss"] for row in rows[1]]
    left = found.keys() - wanted.keys()  # Windows removes no file that is open
    assert {name for name in left if not name.endswith("unfinished/lock")} == set()
