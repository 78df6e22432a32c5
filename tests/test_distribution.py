"""What windrow is called where packages are installed, and what is said where another project's has its name."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import windrow
from windrow.cli.main import app
from windrow.distribution import DISTRIBUTION, __version__, install_line, name_clash


def install(folder: Path, name: str, version: str) -> None:
    """As an installer leaves it."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, the only one."""
    importlib.metadata.version("pytest")  # imports what it needs while it can
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    return tmp_path


def test_a_remedy_names_the_distribution_and_the_extra() -> None:
    assert install_line("torch") == f'pip install "{DISTRIBUTION}[torch]"'


def test_the_version_is_that_of_the_code_whatever_is_installed(site: Path) -> None:
    install(site, "windrow", "9.9")
    assert windrow.__version__ == __version__
    assert CliRunner().invoke(app, ["--version"]).stdout == f"windrow {__version__}\n"


@pytest.mark.parametrize("names", [[], [DISTRIBUTION], ["windrow"]])
def test_one_distribution_is_no_clash(names: list[str], site: Path) -> None:
    for name in names:
        install(site, name, "0.1.0")
    assert name_clash() == ""
    assert CliRunner().invoke(app, ["--version"]).stderr == ""


def test_another_projects_distribution_beside_ours_is_said_with_how_to_mend_it(site: Path) -> None:
    install(site, "windrow", "0.0.1rc0")
    install(site, DISTRIBUTION, "0.1.0")
    said = name_clash()
    for part in (
        f"{DISTRIBUTION} 0.1.0 and another project's distribution, windrow 0.0.1rc0, are both installed",
        "both own the folder `windrow`",
        f"pip uninstall -y windrow {DISTRIBUTION}",
        f"pip install {DISTRIBUTION}",
        "pip install .",
    ):
        assert part in said
    done = CliRunner().invoke(app, ["--version"])
    assert (done.stdout, done.stderr) == (f"windrow {__version__}\n", f"{said}\n")


def test_prepare_says_it_too_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "windrow", "0.0.1rc0")
    install(site, DISTRIBUTION, "0.1.0")
    monkeypatch.syspath_prepend(site)
    (tmp_path / "hay.txt").write_text("The hay was cut on Monday.", encoding="utf-8")
    words = ["prepare", str(tmp_path / "hay.txt"), str(tmp_path / "corpus"), "--tokenizer", "bytes"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert done.stderr.startswith(name_clash())
    assert (tmp_path / "corpus" / "train" / "manifest.json").exists()
