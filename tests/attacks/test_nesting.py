"""JSON nested so deep that its reader gives up: each file of ours that holds some says so, by its own error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows, load_tokenizer, open_store, prepare
from windrow.errors import ResumeError, StoreError, TokenizerError, read_json
from windrow.store.origins import Origins
from windrow.training.run import open_run

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def test_a_value_nested_too_deep_is_no_json_of_ours() -> None:
    for text in (DEEP, DEEP.encode(), "[" * 100_000):
        with pytest.raises(ValueError, match="it is nested too deep"):
            read_json(text, dict)


@pytest.mark.parametrize("content", [DEEP, f'{{"format": "windrow-store", "version": 1, "policy": {DEEP}}}'])
def test_a_manifest_nested_too_deep_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=r"manifest\.json is damaged \(it is nested too deep\)"):
        open_store(tmp_path)


def test_a_list_of_sources_nested_too_deep_is_none(tmp_path: Path) -> None:
    store = prepare(iter(["a text"]), tmp_path, tokenizer="bytes")["train"]
    (tmp_path / "train/sources.jsonl").write_text(DEEP)
    with pytest.raises(StoreError, match=r"sources\.jsonl is no list of sources \(line 1: it is nested too deep\)"):
        Origins(store).of([0])


def test_a_run_nested_too_deep_is_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(DEEP)
    with pytest.raises(ResumeError, match=r"run\.json is no run\.json .*nested too deep"):
        open_run(tmp_path)


def test_a_tokenizer_nested_too_deep_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(DEEP)
    with pytest.raises(TokenizerError, match=r"is not a tokenizer\.json .*nested too deep"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("field", ["recipe", "data", "segments", "excluded"])
def test_a_state_nested_too_deep_is_refused_and_changes_nothing(field: str) -> None:
    loader = Loader(Windows(TokenStore.from_ids(np.arange(100)), 4), 2)
    before: dict[str, Any] = loader.state_dict()
    with pytest.raises(ResumeError, match=r"nested too deep|no JSON"):
        loader.load_state_dict({**before, field: DEEP})
    assert json.dumps(loader.state_dict()) == json.dumps(before)
