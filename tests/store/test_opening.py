"""Opening stores: what is opened again in another process, and what a fingerprint costs before it is asked for."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from windrow import TokenStore, open_store, prepare
from windrow.errors import StoreError
from windrow.store import store as store_module


def test_a_part_is_opened_again_in_another_process_and_is_the_same_part(tmp_path: Path) -> None:
    prepare(iter(["one text", "and another"]), tmp_path / "corpus", tokenizer="bytes")
    train, valid = open_store(tmp_path / "corpus/train").split(0.4)
    for part in (train, valid, train.select([0])):
        again = pickle.loads(pickle.dumps(part))
        assert np.array_equal(again.tokens(), part.tokens())
        assert again.fingerprint == part.fingerprint
    assert len(pickle.dumps(train)) < 2000


def test_the_content_is_hashed_when_a_fingerprint_is_asked_for_and_not_by_cutting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed = []
    real = store_module.digest
    monkeypatch.setattr(store_module, "digest", lambda *given: (hashed.append(given), real(*given))[1])
    store = TokenStore.from_ids(np.arange(90, dtype=np.uint16), document_ends=[30, 60, 90])
    parts = [*store.split(0.5), store.select([2, 0])]
    assert not hashed
    assert len({part.fingerprint for part in parts}) == 3
    assert len(hashed) == 4


def test_several_prepared_stores_are_no_one_store(tmp_path: Path) -> None:
    prepare((f"hay {n}" for n in range(30)), tmp_path, tokenizer="bytes", valid_fraction=0.5)
    with pytest.raises(StoreError, match="opened one at a time"):
        open_store([tmp_path / "train", tmp_path / "valid"])
    assert open_store([tmp_path / "train"]).num_documents
