"""``windrow bench``: the figures are there, hang together, and the verdict follows from them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows, copy_store, open_store, prepare
from windrow.audit.bench import as_lines, measure, verdict
from windrow.errors import NotEnoughTokensError
from windrow.store import copying, far_store


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


def test_of_a_far_store_it_says_what_the_link_can_do_and_what_the_cache_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    for module in (copying, far_store):
        monkeypatch.setattr(module, "BLOCK", 1024)
    prepare(iter(["some text to measure. " * 500]), tmp_path / "here", tokenizer="bytes")
    copy_store(tmp_path / "here", f"file://{tmp_path}/far")
    url = f"file://{tmp_path}/far/train"

    def figures(cache_bytes: int, **given: Any) -> dict[str, Any]:
        store = open_store(url, cache=tmp_path / str(cache_bytes), cache_bytes=cache_bytes)
        return measure(lambda seed: Loader(Windows(store, 16), 2, seed=seed, **given), seconds=0.05)

    found = figures(8_000, shuffle_block=32)
    held, num_blocks = found["blocks_held"]
    assert num_blocks == -(-2 * 11_001 // 1024)
    assert 4 <= held < 8
    assert [each for each in found["link_nbytes"] if each > 0] == found["link_nbytes"]
    lines = dict(as_lines(found))
    assert re.fullmatch(r"[\d.,]+ MB/s with 1 block alone, [\d.,]+ MB/s with 4 at once", lines["link"])
    assert lines["cache"].startswith(
        f"holds {held} of {num_blocks} blocks: shuffle_block={found['most_shuffle_block']}"
    )
    figures(8_000, shuffle_block=found["most_shuffle_block"])
    whole = figures(8_000 + found["more_cache_bytes"])
    assert dict(as_lines(whole))["cache"] == f"holds {num_blocks} of {num_blocks} blocks"
