"""``show`` and ``when`` on the command line: they agree, and what is not there is one message."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from look_helpers import harmful_corpus, invoke
from windrow.cli.main import app


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return harmful_corpus(tmp_path)


def test_when_and_show_agree_on_the_command_line(corpus: Path) -> None:
    sizes = ["--max-length", 32, "--batch-size", 2, "--dp-world-size", 2]
    facts = json.loads(invoke("when", corpus, "--source", "web.jsonl:9", "--epochs", 2, "--json", *sizes))
    assert facts["stretches"][0]["label"].startswith("document 9, ")
    assert len(facts["sightings"]) > 4
    for one in facts["sightings"]:
        if one["step"] is not None:
            words = ["show", corpus, "--step", one["step"], "--dp-rank", one["dp_rank"], "--row", one["row"], "--json"]
            (row,) = json.loads(invoke(*words, *sizes))["rows"]
            assert row["window"] == one["window"]
    text = json.loads(invoke("when", corpus, "--text", "line 9 of", "--json", "--epochs", 2, *sizes))
    assert {s["step"] for s in text["sightings"]} <= {s["step"] for s in facts["sightings"]}
    printed = invoke("when", corpus, "--document", 9, "--epochs", 2, *sizes)
    assert "of the first 2 epochs" in printed
    assert "recipe: " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--document", 99], "document 99 of 40"),
        (["--source", "web.jsonl"], "FILE:LINE"),
        (["--text", "barley"], "stands nowhere"),
        (["--text", ""], "empty"),
    ],
)
def test_what_is_not_there_is_one_message_and_exit_code_1(corpus: Path, words: list[object], message: str) -> None:
    done = CliRunner().invoke(app, ["when", str(corpus), *map(str, words)])
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_when_wants_exactly_one_thing_to_look_for(corpus: Path) -> None:
    assert CliRunner().invoke(app, ["when", str(corpus)]).exit_code == 2
    assert CliRunner().invoke(app, ["when", str(corpus), "--document", "1", "--text", "x"]).exit_code == 2
