"""What tests share: reference values, the texts they are of (where those are), inputs of prepare, a browser."""

import gzip
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import object_server

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of a thousand processes compiles what it imports
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads, waiting for each other on busy cores, take minutes

settings.register_profile("windrow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("windrow")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # texts that lie beside some checkouts
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
)
STORY = "".join(
    f"On day {day} the farmer raked {day * 7 % 50} rows of hay; the {name} watched, and it didn't rain.\n"
    for day, name in zip(range(90), itertools.cycle(["fox", "heron", "dog", "crow", "naïve goat"]), strict=False)
)


def reference_values(name: str = "reference") -> dict[str, Any]:
    """Values computed with tiktoken and the plain textbook loop, of texts that lie beside some checkouts only."""
    path = ROOT / "tests" / "golden" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def shared_text(name: str) -> str:
    """The whole text ``name``; skips the test where it is not."""
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"the text is not at {path}")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return reference_values()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB: a file of many documents, a long one, a compressed one and a hundred small ones."""
    from prepare_helpers import real_texts

    folder = tmp_path_factory.mktemp("inputs")
    texts = real_texts(12_000_000)
    lines = [json.dumps({"text": text}) for text in texts[:400]]
    (folder / "a.jsonl").write_text("\n".join(lines + lines[:50]), encoding="utf-8")  # 50 duplicates
    (folder / "b.txt").write_text("".join(texts)[:9_000_000], encoding="utf-8")
    (folder / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[100:]).encode(), 1))
    for number, text in enumerate(texts[:100]):
        (folder / f"d{number:03d}.txt").write_bytes(text.encode())
    return folder


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes that every run of prepare over ``inputs`` with a tenth for valid must write."""
    from prepare_helpers import snapshot
    from windrow import prepare

    dest = tmp_path_factory.mktemp("undisturbed")
    prepare(inputs, dest, workers=1, valid_fraction=0.1)
    return snapshot(dest)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS.split(), "--no-first-run"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_server.Server]:
    """A real server of objects with the bucket ``corpora``, started once, where it is asked for."""
    if not os.environ.get("WINDROW_SERVERS"):
        pytest.skip("WINDROW_SERVERS=1 runs the tests on a real server")
    if lost := object_server.missing():
        pytest.skip(f"the server's programs are not installed: {', '.join(lost)}")
    with object_server.running(tmp_path_factory.mktemp("ceph")) as running:
        running.make_bucket("corpora")
        yield running
