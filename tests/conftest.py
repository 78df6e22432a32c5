"""What every test may use: the reference texts when they are there, small built-in text otherwise."""

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
