"""Which files a run may train on."""

from pathlib import Path

from conftest import STORY
from windrow.training.run import Settings, run_of_text


def test_a_run_takes_a_file_of_any_name_as_text(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(STORY, encoding="utf-8")
    run = run_of_text(tmp_path / "notes.md", tmp_path / "run", Settings(max_length=8), valid_fraction=0.0)
    assert run.train.num_documents == 1
