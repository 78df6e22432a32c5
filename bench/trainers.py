"""What was proven in real trainers: runs tests/trainers and writes down which cases passed, and in which versions.

Run: python bench/trainers.py [--all]        (writes bench/results/trainers.json with --all; else checks only)
Wants an environment with the packages of constraints-trainers.txt; what is not there is skipped, and named.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "trainers.json"
PACKAGES = ("torch", "lightning", "transformers", "accelerate", "torchdata", "grain", "ray", "torchtitan")


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def outcomes(report: Path) -> dict[str, dict[str, Any]]:
    """By framework and by what its test says: how many cases passed, were skipped and why, and failed."""
    found: dict[str, dict[str, Any]] = defaultdict(
        lambda: defaultdict(lambda: {"passed": 0, "skipped": 0, "failed": 0})
    )
    for case in ElementTree.parse(report).iter("testcase"):
        framework = str(case.get("classname")).rsplit(".", 1)[-1].removeprefix("test_")
        if framework in ("cases", "pages"):  # the matrix itself, and the blocks of docs/trainers
            continue
        row = found[framework][str(case.get("name")).split("[")[0].removeprefix("test_").replace("_", " ")]
        skipped, failed = case.find("skipped"), {child.tag for child in case} & {"failure", "error"}
        row["failed" if failed else "passed" if skipped is None else "skipped"] += 1
        if skipped is not None:
            row["why"] = skipped.get("message")
    return found


def main() -> int:
    whole = "--all" in sys.argv
    environment = {**os.environ, **({"WINDROW_ALL": "1"} if whole else {})}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "tests/trainers", f"--junitxml={report}", "-p", "no:cacheprovider"]
        tests = [*command, "-n", "auto", "--maxprocesses", "4", "--timeout", "600", "--durations", "10", "-rs"]
        status = subprocess.run(tests, cwd=ROOT, env=environment).returncode
        found = outcomes(report)
    if whole:  # also where a case failed: the table says so
        versions = {package: installed(package) for package in PACKAGES}
        results = {"date": f"{date.today()}", "python": sys.version.split()[0], "versions": versions, "tests": found}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
