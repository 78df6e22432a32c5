"""The commands on a store that is far away, through the client on files."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import windrow as wr
from windrow.cli.main import app

pytest.importorskip("obstore")
SIZES = ["--max-length", "16", "--batch-size", "2"]


def ran(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URL of a store, and the cache to read it through."""
    monkeypatch.chdir(tmp_path)
    wr.prepare((f"Document {n}: hay." for n in range(60)), "corpus", tokenizer="bytes")
    ran("copy", "corpus", f"file://{tmp_path}/far")
    return [f"file://{tmp_path}/far/train", "--cache", "cache", "--cache-bytes", str(68 << 20)]


def test_what_commands_say_of_a_far_store_is_what_they_say_of_it_here(there: list[str]) -> None:
    far, here = (json.loads(ran("info", *given, "--json"))["train"] for given in (there, ["corpus/train"]))
    assert far.pop("path").startswith("file:///")
    assert here.pop("path") == "corpus/train"
    assert far == here
    for command, *more in (["show"], ["when", "--document", "3"], ["plan"]):
        facts = [json.loads(ran(command, *given, *more, *SIZES, "--json")) for given in (there, ["corpus/train"])]
        assert facts[0] == facts[1]
    assert json.loads(ran("bench", *there, *SIZES, "--seconds", "0.1", "--json"))["num_windows"]
    assert json.loads(ran("check", *there, *SIZES, "--json"))["ok"]
    ran("report", *there, *SIZES)


def test_a_run_over_a_far_store_trains_and_resumes(there: list[str], tmp_path: Path) -> None:
    small = [*SIZES, "--width", "16", "--num-heads", "2"]
    ran("train", *there, *small, "--steps", "2", "--valid-fraction", "0.2", "--out", "run")
    ran("train", "--out", "run", "--resume", "--steps", "4")
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == 4


def test_without_a_cache_the_error_says_what_to_give(there: list[str]) -> None:
    said = " ".join(ran("info", there[0], code=1).split())
    assert "is far away, and is read through a cache" in said
    assert "--cache cache and --cache-bytes 64000000000." in said
