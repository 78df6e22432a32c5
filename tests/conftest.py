"""What every test may use: the reference texts when they are there, small built-in text otherwise."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("windrow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("windrow")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # texts that lie beside some checkouts
STORY = (
    "The hay was cut on Monday, and by noon it lay in long rows across the field. "
    '"Rake it before the rain," said the farmer; nobody moved. It did not rain on Tuesday, nor on Wednesday.\n\n'
    "On Thursday the children came, took the rows apart, and built a castle with four towers and a moat. "
) * 12


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Reference values, computed with tiktoken and the plain textbook loop."""
    path = SHARED / "golden.json"
    if not path.exists():
        pytest.skip(f"the reference values are not at {path}")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def story() -> str:
    """The Verdict when it is there, else a small text of our own."""
    path = SHARED / "data" / "the-verdict.txt"
    return path.read_text(encoding="utf-8") if path.exists() else STORY


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
