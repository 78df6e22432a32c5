"""JSON that is none of ours, of other types or nested too deep for its reader: each file says so by its own error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows, open_store, prepare
from windrow.errors import ResumeError, StoreError, read_json
from windrow.store.origins import Origins
from windrow.training.run import Settings, open_run, run_of_store, start_run

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
    with pytest.raises(ResumeError, match=r"run\.json is no run .*nested too deep"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.update(split="0.1"), "its split is '0.1', and it must be a number"),
        (lambda run: run.pop("store"), "it has no store"),
        (lambda run: run.update(training=[]), r"its training is \[\], and it must be an object"),
        (lambda run: run["training"].update(state=3), "training.state is 3, and it must be an object"),
        (lambda run: run["training"].update(valid=3), "training.valid is 3, and it must be an object"),
        (lambda run: run["training"].update(valid={"store": 3}), "training.valid.store is 3"),
        (lambda run: run["training"].update(step=3), "training has 'step', .* did you mean 'steps'"),
        (lambda run: run["training"].update(lr="high"), "lr is 'high', and it must be a number"),
    ],
)
def test_a_run_of_other_types_is_none(tmp_path: Path, change: Any, message: str) -> None:
    prepare(iter(["a text of some words"] * 9), tmp_path / "corpus", tokenizer="bytes")
    sizes = Settings(max_length=8, batch_size=2)
    start_run(tmp_path / "run", lambda folder: run_of_store(tmp_path / "corpus", folder, sizes, valid_fraction=0.0))
    content = json.loads((tmp_path / "run/run.json").read_text())
    change(content)
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    with pytest.raises(ResumeError, match=rf"run\.json is no run of this windrow \(\w+: {message}"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("field", ["recipe", "data", "segments", "excluded"])
def test_a_state_nested_too_deep_is_refused_and_changes_nothing(field: str) -> None:
    loader = Loader(Windows(TokenStore.from_ids(np.arange(100)), 4), 2)
    before: dict[str, Any] = loader.state_dict()
    with pytest.raises(ResumeError, match=r"nested too deep|no JSON"):
        loader.load_state_dict({**before, field: DEEP})
    assert json.dumps(loader.state_dict()) == json.dumps(before)
