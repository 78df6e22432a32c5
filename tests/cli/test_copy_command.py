"""``windrow copy``, on files through the client of far stores."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import windrow as wr
from windrow.cli.main import app

pytest.importorskip("obstore")


def test_a_store_is_copied_there_and_back_and_what_went_wrong_is_one_message(tmp_path: Path) -> None:
    wr.prepare(iter(["The hay was cut on Monday."]), tmp_path / "corpus", tokenizer="bytes")
    (tmp_path / "far").mkdir()
    url = (tmp_path / "far").as_uri()
    up = CliRunner().invoke(app, ["copy", str(tmp_path / "corpus"), url])
    assert up.exit_code == 0
    assert up.stdout == f"{url}/train\n"
    assert "have their sums" in up.stderr
    down = CliRunner().invoke(app, ["copy", f"{url}/train", str(tmp_path / "back")])
    assert down.exit_code == 0
    assert wr.open_store(tmp_path / "back").decode() == wr.open_store(tmp_path / "corpus/train").decode()
    wrong = CliRunner().invoke(app, ["copy", str(tmp_path / "corpus"), str(tmp_path / "there")])
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("error: ")
    assert "are both here" in wrong.stderr
