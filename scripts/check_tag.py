"""Refuse a release that is not ready, by its tag, version and changelog, and the address of the repository.

python scripts/check_tag.py v0.2.0
"""

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "/OWNER/"
ADDRESSED = ("pyproject.toml", "README.md", "CITATION.cff", "notebooks/quickstart.ipynb")


def main() -> None:
    wrong = list(reasons(sys.argv[1], ROOT))
    sys.exit("\n".join(wrong) if wrong else None)


def reasons(tag: str, root: Path) -> list[str]:
    """Why ``tag`` cannot be released from ``root``; nothing when it can."""
    version = runpy.run_path(str(root / "src" / "windrow" / "distribution.py"))["__version__"]
    headings = re.findall(r"^## (.*)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    wrong = []
    if tag != f"v{version}":
        wrong.append(f"The tag is {tag}, and the code is version {version}: tag v{version}, or change the version.")
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", headings[0]):
        wrong.append(f'CHANGELOG.md begins with "{headings[0]}". Write "{version} (the day of the release)".')
    for name in ADDRESSED:
        if PLACEHOLDER in (root / name).read_text(encoding="utf-8"):
            wrong.append(f"{name} names HOST/OWNER. Write where the repository is.")
    return wrong


if __name__ == "__main__":
    main()
