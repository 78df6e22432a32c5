"""Numbers that are none, or too large for the order: each names itself and what is wanted; nothing is cut or wraps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from windrow import Loader, Mixture, TokenStore, Windows, plan, prepare, sightings
from windrow.cli.main import app

STORE = TokenStore.from_ids(np.arange(1001), eos_id=0, document_ends=np.arange(91, 1002, 91))
WINDOWS = Windows(STORE, 4)
END = r"0 to 2\*\*63 - 1: the order of samples ends there"


def loader_of(**kwargs: Any) -> Loader:
    return Loader(WINDOWS, 4, seed=1, **kwargs)


MISTAKES: dict[str, Callable[[], Any]] = {
    r"step is 1.5, and it must be a whole number": lambda: loader_of()[1.5],  # type: ignore[index]
    r"step is 'x', and it must be a whole number": lambda: loader_of()["x"],  # type: ignore[index]
    r"step is None, and": lambda: loader_of().lookup(None),  # type: ignore[arg-type]
    r"slice\(0, 2, None\) are several. Give \[loader\[step\] for step in": lambda: loader_of()[0:2],  # type: ignore[index]
    rf"position is \d{{31}}, and it must be a whole number, {END}": lambda: loader_of()[10**30],
    rf"position is \d{{20}}, and it must be a whole number, {END}": lambda: loader_of().lookup(2**63 - 1),
    rf"position is \d{{19}}, .*{END}": lambda: [*map(loader_of().skip, [2**62] * 3)],
    r"windows are \[1.5\], and they must be whole numbers below 2\*\*63": lambda: loader_of().positions_of(1.5),  # type: ignore[arg-type]
    r"windows are \[9223372036854775808\], and": lambda: loader_of().positions_of(2**63),
    r"1000000000000000000 times 250 samples reach beyond position": lambda: loader_of().positions_of(0, 10**18),
    r"epoch is 9223372036854775808, and it must be a whole number": lambda: loader_of().positions_of(0, 2**63),
    r"count is -5, and it must be a whole number, 0 or more": lambda: loader_of().samples_at(0, -5),
    rf"first \+ count is 9223372036854775812, .*{END}": lambda: loader_of().samples_at(2**63 - 1, 5),
    r"num_workers is -1, and it must be a whole number, 0 or more": lambda: loader_of(device="cpu").dataloader(-1),
    r"starts are \[1.5\], and they must be whole numbers": lambda: STORE.gather([1.5], 4),  # type: ignore[arg-type]
    r"window ids are \[0.5\], and": lambda: WINDOWS.gather([0.5]),  # type: ignore[arg-type]
    r"batch_size is 1000000000000000000000, .* 1 to 2\*\*63 - 1": lambda: Loader(WINDOWS, 10**21),
    r"the position of a stage is 65536.5": lambda: Mixture({"a": (WINDOWS, 1)}, stages={65536.5: {"a": 1}}),  # type: ignore[dict-item]
    r"document is 1.5, and it must be a whole number": lambda: STORE.document(1.5),  # type: ignore[arg-type]
    r"epochs is 0.5, and it must be": lambda: plan(loader_of(), epochs=0.5),  # type: ignore[arg-type]
    r"first_epoch is -1, and it must be": lambda: sightings(loader_of(), 0, 9, first_epoch=-1),
    r"workers is 2.5, and it must be a whole number": lambda: prepare(iter(["text"]), "never-made", workers=2.5),  # type: ignore[arg-type]
    r"memory, in bytes, is '1GB', and": lambda: prepare(iter(["text"]), "never-made", memory="1GB"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_number_that_is_none_or_too_large_names_itself(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        MISTAKES[message]()


def test_a_number_of_any_size_keys_the_shuffle() -> None:
    seeds = [0, 10**26, -(10**26)]
    assert len({tuple(Loader(WINDOWS, 4, seed=seed)[0].inputs[:, 0].tolist()) for seed in seeds}) == 3


def test_whole_numbers_of_any_kind_are_numbers() -> None:
    assert loader_of()[np.uint8(3)].inputs.tolist() == loader_of()[3].inputs.tolist()
    assert loader_of().places_of(np.array([3], dtype=np.uint64), 0) == loader_of().places_of([3], 0)
    assert loader_of().places_of([], 0) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "--step", str(2**63 - 1)], "must be a whole number, 0 to 2**63 - 1: the order of samples ends there"),
        (["show", "--batch-size", "0"], "--batch-size is 0, and it must be a whole number, 1 or more"),
        (["check", "--batch-size", "0"], "--batch-size is 0"),
        (["check", "--max-length", "0"], "--max-length is 0"),
        (["plan", "--batch-size", "0"], "--batch-size is 0"),
        (["plan", "--stride", "0"], "--stride is 0"),
        (["bench", "--stride", "-1"], "--stride is -1"),
        (["train", "--batch-size", str(2**63), "--out", "out"], f"--batch-size is {2**63}, and"),
    ],
)  # fmt: skip
def test_a_flag_that_is_no_number_of_things_counts_as_given(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(iter(["a text of some words " * 99]), "corpus", tokenizer="bytes")
    found = CliRunner().invoke(app, [words[0], "corpus", *words[1:]])
    assert found.exit_code == 1
    assert message in found.output


def test_a_run_takes_a_seed_of_any_size(tmp_path: Path) -> None:
    prepare(iter(["a text of some words " * 99]), tmp_path / "corpus", tokenizer="bytes")
    sizes = ["--max-length", "8", "--width", "8", "--num-heads", "1", "--num-layers", "1", "--steps", "1"]
    words = ["train", str(tmp_path / "corpus"), "--out", str(tmp_path / "out"), "--seed", str(10**26), *sizes]
    assert CliRunner().invoke(app, words).exit_code == 0
