"""``windrow bench``: the figures are there, hang together, and the verdict follows from them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows, prepare
from windrow.audit.bench import as_lines, measure, verdict
from windrow.errors import NotEnoughTokensError


def made(num_tokens: int) -> Callable[[int], Loader]:
    """What makes the loader of a store of so many tokens, with a seed."""
    return lambda seed: Loader(Windows(TokenStore.from_ids(np.arange(num_tokens)), 64, 32), 8, seed=seed)


def test_the_figures_hang_together() -> None:
    figures = measure(made(60_000), seconds=0.3)
    assert figures["num_windows"] == (60_000 - 64 - 1) // 32 + 1
    assert figures["step_nbytes"] == 2 * 8 * 64 * 8
    assert figures["step_seconds"] * figures["tokens_per_second"] == pytest.approx(8 * 64)
    ratio = figures["tokens_per_second"] / figures["bare_gather_tokens_per_second"]
    assert figures["of_bare_gather"] == pytest.approx(ratio)
    assert all(value for _, value in as_lines(figures))


def test_the_verdict_names_a_slow_disk() -> None:
    figures = {"step_seconds": 0.001, "tokens_per_second": 1e6}
    assert "longer than 50 ms" in verdict({**figures, "first_round_tokens_per_second": 9e5})
    assert "disk is the limit" in verdict({**figures, "first_round_tokens_per_second": 1e5})


def test_a_store_too_short_raises() -> None:
    with pytest.raises(NotEnoughTokensError):
        measure(made(10))


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    prepare(iter(["some text to measure. " * 500]), tmp_path, tokenizer="bytes")
    command = [
        sys.executable,
        "-m",
        "windrow",
        "bench",
        str(tmp_path),
        "--stride",
        "32",
        "--max-length",
        "32",
        "--seconds",
        "1",
    ]
    table = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bare gather" in table.stdout
    assert "A batch takes" in table.stdout
    figures = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert figures["num_windows"] == (500 * 22 + 1 - 32 - 1) // 32 + 1
