"""``windrow check --run``: a mixture with pack on four ranks passes, and the faults of some checks are found.

Of each of the eighteen when WINDROW_EXHAUSTIVE is set (as in .ci/run); ``make test`` finds all by the loader.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fault_helpers import FAULTS, prepare_two
from windrow.audit.check import CHECKS
from windrow.cli.main import app

RUN = """
max_length = 32
batch_size = 3
seed = 7
dp_world_size = 4
drop_last = false
mask_targets = "document_edges"

[members.web]
store = "web/train"
weight = 2
policy = "pack"
documents = "epoch"

[members.code]
store = "code/train"
stride = 16
documents = "epoch"

[training.valid]
web = {store = "web/valid"}
"""


def checked(folder: Path, status: int) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["check", "--run", str(folder / "run.toml"), "--json"])
    assert done.exit_code == status, done.output
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_two(tmp_path)
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8", newline="\n")
    return tmp_path


def test_the_run_of_a_mixture_with_pack_on_four_ranks_has_its_certificate(folder: Path) -> None:
    findings = checked(folder, 0)["findings"]
    assert [finding["name"] for finding in findings if finding["status"] == "ok"] == list(CHECKS)
    assert "4 ranks of 3 samples read disjoint parts" in findings[2]["evidence"]


@pytest.mark.parametrize("name", [*CHECKS][:: 1 if os.environ.get("WINDROW_EXHAUSTIVE") else 4])
def test_a_fault_is_found_through_the_run_file(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    FAULTS[name](folder, monkeypatch)
    assert name in [finding["name"] for finding in checked(folder, 1)["findings"] if finding["status"] == "failed"]
