"""Documentation runs: every Python block, every command line, every example, every figure."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from conftest import ROOT
from doc_helpers import blocks, run_page

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "python")], ids=lambda p: p.name)
def test_every_python_block_runs_from_top_to_bottom_of_its_page(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(path, tmp_path, monkeypatch)


def command_lines() -> list[tuple[str, str]]:
    lines = [(p.name, line) for p in DOCUMENTS for block in blocks(p, "bash") for line in block.splitlines()]
    return [(name, line.split("#")[0].strip()) for name, line in lines if line.startswith("windrow ")]


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_every_command_line_in_the_documents_is_one_that_the_program_takes(page: str, line: str) -> None:
    from windrow.cli.main import app

    program: Any = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    program.commands[name].make_context(name, arguments)  # parses, runs nothing


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name != "train_ddp.py"], ids=lambda p: p.name)
def test_every_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEPS", "20")
    monkeypatch.chdir(tmp_path)
    for _ in range(2 if path.name == "train_and_resume.py" else 1):  # a second time goes on from what the first left
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_example_of_many_ranks_runs_alone_too(tmp_path: Path) -> None:
    environment = {**os.environ, "STEPS": "20", "PYTHONWARNINGS": "error"}
    command = [sys.executable, ROOT / "examples" / "train_ddp.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_figure_is_the_one_of_its_results_file() -> None:
    done = subprocess.run([sys.executable, ROOT / "bench" / "render.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_every_page_is_linked_from_the_readme_or_the_architecture() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ARCHITECTURE.md"))
    missing = [path.name for path in DOCUMENTS[1:] if f"docs/{path.name}" not in text]
    assert not missing


def test_every_file_that_the_architecture_names_is_there() -> None:
    there = {path.name for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")}
    named = re.findall(r"(\w+\.py)\b", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert named
    assert not set(named) - there


def test_every_link_to_a_file_leads_somewhere() -> None:
    others = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*/*.md")]
    for path in [*DOCUMENTS, *others]:
        for target in re.findall(r"\]\(([^)#]+?)\)", path.read_text(encoding="utf-8")):
            assert "://" in target or (path.parent / target).exists(), f"{path.name} links to {target}"
