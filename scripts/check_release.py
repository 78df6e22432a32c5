"""Try what a release uploads as users get it: the wheel in clean environments, its tests from the sdist.

    python scripts/check_release.py PYTHON ... [--without EXTRA ...] [--seconds 20]

Takes the wheel and the sdist that ``make dist`` left in ``dist/``; needs uv. For each PYTHON there is an environment
without extras, one with each, and one with all of them that runs the golden files. Says how long each took.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "release"
MOST_BYTES = 1_000_000  # of the wheel
GOLDEN = ("tests/promises/test_golden.py", "tests/order/test_order.py")
NOT_TRIED = ("dev", "all")  # one is for us; the other is the last environment, or a part of it


def main() -> None:
    parser = argparse.ArgumentParser(description="try the wheel of dist/ in clean environments")
    parser.add_argument("pythons", nargs="+", metavar="PYTHON", help="an interpreter")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="EXTRA", help="extras that cannot be installed here"
    )
    parser.add_argument("--seconds", type=int, default=20, help="how long the demo trains, where torch is")
    args = parser.parse_args()

    shutil.rmtree(WORK, ignore_errors=True)
    wheel, sources = checked_files()
    extras = [name for name in extras_of(ROOT / "pyproject.toml") if name not in args.without]
    digests: set[str] = set()
    for python in args.pythons:
        for chosen in [[], *([extra] for extra in extras)]:
            digests |= try_extras(python, wheel, chosen, args.seconds)
        try_golden(python, wheel, sources, extras)
    require(len(digests) == 1, f"one text gave {len(digests)} different tokens and batches: {digests}")


def checked_files() -> tuple[Path, Path]:
    """The wheel, found small enough, and the unpacked sdist, found to hold the tests."""
    (wheel,), (sdist,) = (sorted((ROOT / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    size = wheel.stat().st_size
    require(size < MOST_BYTES, f"{wheel.name} has {size:,} bytes, and {MOST_BYTES:,} are the most")
    print(f"{wheel.name}: {size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    with tarfile.open(sdist) as archive:
        archive.extractall(WORK, filter="data")
    sources = WORK / sdist.name.removesuffix(".tar.gz")
    require(all((sources / name).exists() for name in GOLDEN), f"{sdist.name} has not the tests {GOLDEN}")
    return wheel, sources


def extras_of(path: Path) -> list[str]:
    extras = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return [name for name in extras if name not in NOT_TRIED]


def try_extras(python: str, wheel: Path, extras: Sequence[str], seconds: int) -> set[str]:
    """Digests of the first use of ``wheel`` with ``extras``; with torch also the demo, without it the remedy."""
    with environment(python, wheel, extras) as (scripts, folder):
        said = run(folder, scripts / "python", ROOT / "scripts" / "first_use.py", *extras)
        version = run(folder, scripts / "windrow", "--version").split()[-1]
        require(f"-{version}-" in wheel.name, f"windrow --version is {version}, in {wheel.name}")
        if "torch" in extras:
            run(folder, scripts / "windrow", "demo", "--seconds", str(seconds))
        elif not extras:
            remedy = run(folder, scripts / "windrow", "demo", fails=True)
            require(re.search(r"pip install .*\[torch\]", remedy) is not None, f"no remedy for torch in: {remedy}")
    return set(said.split())


def try_golden(python: str, wheel: Path, sources: Path, extras: Sequence[str]) -> None:
    """All of ``extras`` together, and the golden files of the sdist."""
    with environment(python, wheel, extras, "pytest", "pytest-timeout", "hypothesis") as (scripts, _):
        run(sources, scripts / "python", "-m", "pytest", "-p", "no:cacheprovider", *GOLDEN)


@contextmanager
def environment(python: str, wheel: Path, extras: Sequence[str], *beside: str) -> Iterator[tuple[Path, Path]]:
    """A new environment with ``wheel[extras]``: the folder of its programs, and an empty folder to work in."""
    since, version = time.perf_counter(), run(ROOT, python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    made = WORK / "-".join([version.strip(), *extras, *beside[:1]])
    run(ROOT, "uv", "venv", "--quiet", "--no-python-downloads", "--python", python, made)
    wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    install = ("uv", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", "--python", made)
    run(ROOT, *install, wanted, *beside)
    installed = time.perf_counter() - since
    (made / "empty").mkdir()
    yield made / ("Scripts" if os.name == "nt" else "bin"), made / "empty"
    print(f"{time.perf_counter() - since:6.1f} s, {installed:.1f} s of them to install: {made.name}", flush=True)


def run(folder: Path, *command: object, fails: bool = False) -> str:
    """What ``command`` prints, without this environment's paths; an end other than expected ends this program too."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in command], cwd=folder, env=clean, capture_output=True, text=True)
    said = done.stdout + done.stderr if fails or done.returncode else done.stdout
    require(bool(done.returncode) == fails, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    return said


def require(condition: bool, why: str) -> None:
    if not condition:
        sys.exit(why)


if __name__ == "__main__":
    main()
