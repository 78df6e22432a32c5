"""What a release is made of: its version and metadata, what is locked, and the files that a project has."""

import re
import tomllib
from typing import Any

from conftest import ROOT
from windrow.distribution import __version__


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(text_of("pyproject.toml"))["project"]
    return table


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    assert re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)[0] == __version__


def test_the_metadata_says_whose_it_is_and_for_whom() -> None:
    assert project()["authors"] == [{"name": "the windrow developers"}]
    said = " ".join(project()["classifiers"])
    assert all(words in said for words in ("Intended Audience", "Operating System", "Topic", "Typing :: Typed"))
