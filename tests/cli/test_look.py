"""``show`` and ``when`` on the command line: they agree, and what is not there is one message."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import windrow.look.when
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
    assert "recipe: " in printed


def test_when_says_in_a_sentence_how_many_places_rows_and_steps_and_then_in_a_table_which(corpus: Path) -> None:
    sizes = ["--max-length", 32, "--batch-size", 2]
    for words, where in (
        (["--text", "of hay"], r"'of hay' stands in 39 places\."),
        (["--text", "line 7 of"], r"'line 7 of' stands in 1 place\."),
        (["--document", 9], r"document 9, web\.jsonl:9 \(.*\): \d+ tokens, \d+ to \d+ \(end excluded\)\."),
    ):
        seen = json.loads(invoke("when", corpus, *words, *sizes, "--json"))["sightings"]
        seen.sort(key=lambda one: (one["position"], one["place"]))
        steps = [one["step"] for one in seen if one["step"] is not None]
        rows = len({one["position"] for one in seen if one["step"] is not None})
        first, *rest = invoke("when", corpus, *words, *sizes, "--most", 1).splitlines()
        ends = f"of {len(set(steps))} steps, first at step {min(steps)}, last at step {max(steps)}"
        assert re.fullmatch(rf"{where} In the first epoch it is in {rows} rows {ends}\.", first), first
        assert [row.split()[0] for row in rest[4:5]] == [str(step) for step in steps[:1]]
        assert rest[2].endswith("its tokens,") or "end excluded" in rest[2]
        assert f"... and {len(seen) - 1} more (--most 0 prints all)" in rest


def test_what_no_step_takes_and_what_one_row_holds_are_said_in_the_singular(corpus: Path) -> None:
    sizes = ["--max-length", 64, "--stride", 64, "--batch-size", 1]
    assert re.search(
        r"it is in 1 row at step \d+\.$", invoke("when", corpus, "--text", "line 7 of", *sizes), re.MULTILINE
    )
    last = ["--document", 39, "--max-length", 600, "--stride", 600, "--batch-size", 1]
    assert "No step of the first epoch takes it." in invoke("when", corpus, *last)


def test_a_phrase_that_stands_nowhere_is_a_result(corpus: Path) -> None:
    sizes = ["--max-length", 32]
    assert invoke("when", corpus, "--text", "barley", *sizes).startswith("'barley' stands nowhere in this store")
    assert json.loads(invoke("when", corpus, "--text", "barley", "--json", *sizes))["sightings"] == []


def test_a_phrase_in_more_places_than_a_list_is_good_for_is_refused(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windrow.look.when, "_MOST_PLACES", 38)
    done = CliRunner().invoke(app, ["when", str(corpus), "--text", "of hay", "--max-length", "32"])
    assert done.exit_code == 1
    assert done.stderr == "error: 'of hay' stands in more than 38 places. Give a longer phrase.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--document", 99], "document 99 of 40"),
        (["--source", "web.jsonl"], "FILE:LINE"),
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
