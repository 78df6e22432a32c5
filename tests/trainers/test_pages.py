"""The pages of docs/trainers run, each from top to bottom, where their packages are."""

import importlib.util
from pathlib import Path

import pytest

from conftest import ROOT
from doc_helpers import run_page

PAGES = sorted((ROOT / "docs" / "trainers").glob("*.md"))
NEEDS = {"torch": "torch"}  # what each page imports, where its own name does not say it


@pytest.mark.filterwarnings("ignore")  # what a framework warns of is its own
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_python_block_of_a_page_runs_from_its_top_to_its_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = NEEDS.get(path.stem, path.stem)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    run_page(path, tmp_path, monkeypatch)
