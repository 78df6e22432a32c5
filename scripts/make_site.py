"""Builds the site: README.md, docs/ and the pages that are made from the code, side by side, by Zensical.

Run: .venv-docs/bin/python scripts/make_site.py [FOLDER]

FOLDER, ``build`` unless given, gets ``pages`` (what the site is made of) and ``site``. Files lie in ``pages`` as they
do in the repository, so that a link that works there works on the site. Zensical stops at a link or an anchor that
leads nowhere.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from command_page import command_page
from reference_pages import reference_pages

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "examples", "notebooks")
IMAGES = "https://HOST/OWNER/windrow/raw/main/docs/images/"  # in the README, whole for the page at the package index


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
    pages = folder / "pages"
    for old in (pages, folder / "site"):
        shutil.rmtree(old, ignore_errors=True)
    lay_out(pages)
    shutil.copy(ROOT / "mkdocs.yml", folder)
    zensical = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run([*zensical, "--config-file", str(folder / "mkdocs.yml")], cwd=folder)
    return done.returncode


def lay_out(pages: Path) -> None:
    """What is in the repository, at its root what ``mkdocs.yml`` names, and the reference's pages beside it."""
    named = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, pages / name, ignore=shutil.ignore_patterns(".*"))
    for path in ROOT.glob("*.md"):
        if path.name in named:
            text = path.read_text(encoding="utf-8").replace(IMAGES, "docs/images/")
            (pages / path.name).write_text(text, encoding="utf-8")
    reference = pages / "docs" / "reference"
    reference.mkdir()
    for name, text in {**reference_pages(), "commands": command_page()}.items():
        (reference / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
