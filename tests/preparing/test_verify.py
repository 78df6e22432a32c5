"""A command onto a finished store: the same one verifies it, and another is refused."""

from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import snapshot
from windrow import prepare
from windrow.errors import PrepareError, StoreError


def test_the_same_command_onto_a_finished_store_verifies_and_returns_it(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):
        stores = prepare(inputs, tmp_path, valid_fraction=0.1)
        assert sorted(stores) == ["train", "valid"]
        assert snapshot(tmp_path) == undisturbed
    tokens = tmp_path / "train/tokens-00000.bin"
    data = bytearray(tokens.read_bytes())
    data[1000] ^= 1
    tokens.write_bytes(data)
    with pytest.raises(StoreError, match=r"tokens-00000\.bin is damaged: its sha256"):
        prepare(inputs, tmp_path, valid_fraction=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": "bytes"}, "made with tokenizer='gpt2, fingerprint \\w{16}', and this command has 'bytes, "),
        ({"valid_fraction": 0.5}, "made with valid_fraction=0.1, and this command has 0.5"),
        ({"dedupe": True}, "made with dedupe=False"),
        ({"literal_eos": "split"}, "made with literal_eos='text'"),
    ],
)
def test_another_recipe_onto_a_finished_store_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    documents = [f"document {n}" for n in range(50)]
    prepare(iter(documents), tmp_path, valid_fraction=0.1)
    before = snapshot(tmp_path)
    with pytest.raises(PrepareError, match=message):
        prepare(iter(documents), tmp_path, **{"valid_fraction": 0.1, **change})
    with pytest.raises(PrepareError, match="iterable is not what it was made of"):
        prepare(iter([*documents, "new"]), tmp_path, valid_fraction=0.1)
    assert snapshot(tmp_path) == before
