"""A disk without room: one message with the path, the bytes that are needed and a remedy; nothing is lost or left."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from full_disk import files_no_larger_than, small_disk
from windrow.cli.main import app

TINY = ["--max-length", "16", "--batch-size", "2", "--width", "16", "--num-heads", "2", "--num-layers", "1"]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text("The hay was cut on Monday, and by noon it lay in long rows. " * 30)
    flags = ["--text", tmp_path / "story.txt", "--out", tmp_path / "run", "--tokenizer", "bytes", "--steps", 4]
    assert invoke("train", *flags, *TINY).exit_code == 0
    return tmp_path / "run"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def told(path: Path, nbytes: str) -> str:
    remedy = r"Raise the limit on the size of a file \(ulimit -f\), or choose another folder"
    named = rf"error: {re.escape(str(path))}: File too large, and {nbytes} bytes are needed\. {remedy}"
    return rf"{named}; what was there before is untouched\n"


@pytest.mark.parametrize(
    ("limit", "name", "nbytes"),
    [(400, "run.json", r"1,\d\d\d"), (3_000, "train.html", r"\d,\d\d\d"), (20_000, "checkpoint.pt", r"1\d\d,\d\d\d")],
)
def test_a_file_of_a_run_without_room_is_named_and_stays_as_it_was(
    run: Path, limit: int, name: str, nbytes: str
) -> None:
    before = files(run)
    with files_no_larger_than(limit):
        result = invoke("train", "--out", run, "--resume", "--steps", 6)
    assert result.exit_code == 1
    assert re.search(told(run / name, nbytes), result.stderr), result.stderr
    assert isinstance(result.exception, SystemExit)
    assert files(run)[name] == before[name]
    assert not list(run.glob("*.tmp"))
    assert invoke("train", "--out", run, "--resume", "--steps", 6).exit_code == 0


def test_a_report_without_room_is_named_and_the_one_before_stays(run: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("the one before")
    with files_no_larger_than(20_000):
        result = invoke("report", "--run", run, "--out", tmp_path / "report.html")
    assert result.exit_code == 1
    assert re.search(told(tmp_path / "report.html", r"\d+,\d\d\d"), result.stderr), result.stderr
    assert (tmp_path / "report.html").read_text() == "the one before"
    assert not list(tmp_path.glob("*.tmp"))


def test_training_on_a_full_disk_stops_with_one_message_and_goes_on_where_there_is_room(
    run: Path, tmp_path: Path
) -> None:
    flags = ["--text", tmp_path / "story.txt", "--tokenizer", "bytes", "--steps", 4, "--checkpoint-every", 1]
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        made = invoke("train", *flags, *TINY, "--out", disk / "run", "--steps", 1)
        assert made.exit_code == 0, made.output
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - (64 << 10)))
        before = files(disk / "run")
        result = invoke("train", "--out", disk / "run", "--resume", "--steps", 6)
        assert result.exit_code == 1
        named = rf"error: {re.escape(str(disk / 'run' / 'checkpoint.pt'))}: No space left on device, and 1\d\d,\d\d\d"
        assert re.search(rf"{named} bytes are needed\. Free some space there, or choose another", result.stderr)
        assert files(disk / "run")["checkpoint.pt"] == before["checkpoint.pt"]
        assert not list((disk / "run").glob("*.tmp"))
        assert torch.load(disk / "run" / "checkpoint.pt", weights_only=True)["step"] == 1
        (disk / "filler").unlink()
        assert invoke("train", "--out", disk / "run", "--resume", "--steps", 6).exit_code == 0
        assert len([json.loads(line) for line in (disk / "run" / "log.jsonl").read_text().splitlines()]) == 6
