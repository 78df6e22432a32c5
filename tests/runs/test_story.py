"""The story of docs/runs.md: a plain loop leaves two files, and the commands on the page answer about all of it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import windrow as wr
from conftest import ROOT
from doc_helpers import blocks, run_page
from windrow.cli.main import app

PAGE = ROOT / "docs" / "runs.md"


def answered(*words: str) -> str:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_of_the_story_answer_about_each_part_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run_page(PAGE, tmp_path, monkeypatch)
    commands = [shlex.split(line, comments=True)[1:] for line in blocks(PAGE, "bash")[0].splitlines()]
    said: list[Any] = [json.loads(answered(*words, "--json")) for words in commands]
    assert all(answered(*words) for words in commands)
    early, late, seen, phrase, plan, check = said
    loader = wr.open_run("run.json", "checkpoint.pt")
    sizes = [(loader.sizes_of(step).batch_size, len(loader.lookup(step))) for step in (10, 95)]
    assert sizes == [(8, 8), (16, 16)]
    for step, shown in ((10, early), (95, late)):
        assert shown["rows"][0]["inputs"] == loader[step].inputs[0].tolist()
    assert {sample.member for step in range(40) for sample in loader.lookup(step)} == {"web", "books"}
    assert {sample.member for step in range(84, 100) for sample in loader.lookup(step)} == {"books", "math"}
    assert early["rows"][0]["member"] in ("web", "books")
    steps = {one["step"] for one in seen["sightings"]}
    assert min(steps) < 40 <= max(steps)
    for one in seen["sightings"]:
        if one["step"] < 100:
            row = loader[one["step"]].targets[one["row"]]
            assert (row == -100).all() == (one["step"] >= 40)
    assert min(one["position"] for one in phrase["sightings"]) >= 512
    assert set(plan["plan"]["members"]) == {"web", "books", "math"}
    assert check["ok"]


def test_the_file_by_hand_on_the_page_has_keys_that_are_known(tmp_path: Path) -> None:
    for name in ("web", "code"):
        rows = iter([{"text": f"{name} {n} of hay. " * 900, "score": n / 9, "lang": "en"} for n in range(10)])
        wr.prepare(rows, tmp_path / "corpus" / name, tokenizer="bytes", keep=["score", "lang"], workers=1)
    (tmp_path / "mixture.toml").write_text(blocks(PAGE, "toml")[0])
    loader = wr.open_run(tmp_path / "mixture.toml")
    assert {name: windows.store.num_documents for name, windows in loader.members.items()} == {"code": 10, "web": 2}
