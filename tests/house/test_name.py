"""The name: the distribution is not called like the project, for another project's is; nothing installs that one."""

import json
import re
import tomllib
from typing import Any
from urllib.parse import urlparse

import pytest

import windrow
from conftest import ROOT
from windrow.distribution import DISTRIBUTION

FOLDERS = ("src", "docs", "notebooks", "examples", "scripts", ".ci", ".github")
FILES = ("Makefile", "constraints.txt", "pyproject.toml")
SUFFIXES = {".py", ".md", ".ipynb", ".toml", ".txt", ".yml", ".cff", ""}
INSTALLS_THE_OTHER = re.compile(r"\bwindrow\[|pip install[^\n]*[ \"'`]windrow(?![\w/-]|\.\w)|#egg=windrow(?!-)")


def pages() -> dict[str, str]:
    """Everything that a user reads or runs, by its path."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    beside = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / name for name in FILES)]
    paths = [path for path in [*found, *beside] if path.is_file()]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def project() -> dict[str, Any]:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = whole["project"]
    return table


def cell_that_installs() -> str:
    notebook = json.loads((ROOT / "notebooks" / "quickstart.ipynb").read_text(encoding="utf-8"))
    return next("".join(cell["source"]) for cell in notebook["cells"] if "%pip" in "".join(cell["source"]))


def test_nothing_installs_the_other_distribution() -> None:
    assert not [name for name, text in pages().items() if INSTALLS_THE_OTHER.search(text)]


@pytest.mark.parametrize(
    "wrong",
    ['pip install "windrow[torch]"', "pip install windrow", "pip install --no-deps windrow.", 'all = ["windrow[hf]"]'],
)
def test_the_guard_sees_what_would_install_it(wrong: str) -> None:
    assert INSTALLS_THE_OTHER.search(wrong)


@pytest.mark.parametrize(
    "right", ["pip install windrow-data", 'install "windrow-data[io] @ git+URL"', 'pip install ".[io]"']
)
def test_the_guard_lets_what_installs_ours_pass(right: str) -> None:
    assert not INSTALLS_THE_OTHER.search(right)


def test_the_code_names_the_distribution_in_one_place() -> None:
    package = ROOT / "src" / "windrow"
    named = [path for path in package.rglob("*.py") if DISTRIBUTION in path.read_text(encoding="utf-8")]
    assert named == [package / "distribution.py"]


def test_the_project_is_distributed_under_that_name_and_its_extras_refer_to_it() -> None:
    assert project()["name"] == DISTRIBUTION
    assert list(project()["scripts"]) == ["windrow"]
    extras = project()["optional-dependencies"]
    own = [wanted for wants in extras.values() for wanted in wants if wanted.startswith("windrow")]
    assert own == [f"{DISTRIBUTION}[torch,fast,hf,io,cloud]", f"{DISTRIBUTION}[all]"]


def test_every_extra_that_a_remedy_names_is_one() -> None:
    text = "".join(pages().values())
    named = set(re.findall(r"install_line\([\"'](\w+)[\"']\)", text)) | set(
        re.findall(rf"{DISTRIBUTION}\[(\w+)\]", text)
    )
    assert named >= {"torch", "fast", "hf", "io", "cloud", "ray"}
    assert named <= set(project()["optional-dependencies"])


def test_the_version_is_in_one_place() -> None:
    assert "version" in project()["dynamic"]
    assert "version" not in project()
    assert re.fullmatch(r"\d+\.\d+\.\d+", windrow.__version__)


def address() -> str:
    """Where the repository is, as the README says it: a placeholder until it is known."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^REPOSITORY=(\S+)", readme, re.MULTILINE)
    return str(found)


def test_the_repositorys_address_stands_in_the_readme_once_and_the_notebook_has_the_same() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'pip install "{DISTRIBUTION}[torch] @ git+$REPOSITORY"' in readme
    assert "git clone $REPOSITORY" in readme
    assert f'REPOSITORY = "{address()}"' in cell_that_installs()
    assert [name for name, text in pages().items() if address() in text] == ["notebooks/quickstart.ipynb", "README.md"]


def test_every_link_of_the_metadata_leads_into_that_repository() -> None:
    home = address().removesuffix(".git")
    assert set(project()["urls"]) >= {"Source", "Documentation", "Changelog", "Issues"}
    assert all(f"{link}/".startswith(f"{home}/") for link in project()["urls"].values())


def test_no_link_leads_to_a_package_indexs_page() -> None:
    """Whose page of the name ``windrow`` is another project's."""
    home = address().removesuffix(".git")
    ours = (home, f"https://colab.research.google.com/github{urlparse(home).path}/")  # which opens our notebooks
    for name, text in pages().items():
        links = re.findall(r"https?://[^\s)\"'<>\\]+", text)
        assert not [link for link in links if "windrow" in link.lower() and not link.startswith(ours)], name
