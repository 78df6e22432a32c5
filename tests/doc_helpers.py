"""What the tests of documents share: the blocks of a page, and running them."""

import re
from pathlib import Path

import pytest


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_page(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Python blocks of ``path`` from its top to its bottom, in ``folder``."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(path, "python")):
        exec(compile(block, f"{path.name}, block {number}", "exec"), names)
