"""The counts of a run hold no text."""

import pickle
import random
from pathlib import Path
from typing import Any

import pytest

MB = 1_000_000


@pytest.mark.parametrize("form", ["documents", "stream"])
def test_the_text_of_finished_work_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    import gzip

    from windrow.preparing import prepare as module
    from windrow.preparing.tally import Tally

    kept: list[Any] = []
    monkeypatch.setattr(Tally, "require_sizes", lambda tally: kept.extend(tally.results))
    texts = [f"text {number} " * 1000 for number in range(2500)]
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(2 * MB).hex().encode() * 5, 1))
    assert module.prepare(iter(texts) if form == "documents" else tmp_path, tmp_path / "out", tokenizer="bytes")
    assert len(kept) > 2
    assert all(len(pickle.dumps(done)) < 1000 for done in kept)
