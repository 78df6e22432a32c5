"""The benchmark measures what it says: its contenders deliver true windows, and its ratios are of one round."""

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from conftest import ROOT

SCRIPTS = sorted((ROOT / "bench").rglob("*.py"))


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    folders = [str(ROOT / "bench"), str(ROOT / "bench" / "peers")]
    sys.path[:0] = folders
    yield importlib.import_module("loaders")
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def tokens(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = bench.make_store(tmp_path_factory.mktemp("store"), 200_000)
    return found


def contenders() -> list[Any]:
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        found: list[Any] = importlib.import_module("loaders").CONTENDERS
        return found
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_script_compiles_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    compile(text, path.name, "exec")
    assert text.startswith('"""')


def test_every_benchmark_has_its_results_under_its_own_name() -> None:
    benchmarks = {path.stem for path in (ROOT / "bench").glob("*.py")} - {"render"}
    assert {path.stem for path in (ROOT / "bench" / "results").iterdir()} == benchmarks
    for name in benchmarks:
        text = (ROOT / "bench" / f"{name}.py").read_text(encoding="utf-8")
        assert f'"results" / "{name}.json"' in text


def test_every_contender_has_its_script_and_a_windrow_beside_it() -> None:
    names = {contender.name for contender in contenders()}
    for contender in contenders():
        assert (ROOT / "bench" / "peers" / contender.script).exists()
        assert contender.beside in names


@pytest.mark.parametrize("contender", [c for c in contenders() if c.variant != "copy"], ids=lambda c: c.name)
def test_rows_are_true_windows_of_the_file(
    contender: Any, bench: ModuleType, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(contender.python).exists():
        pytest.skip(f"{contender.name} is installed by make bench only")
    monkeypatch.setattr(bench, "WORK", tmp_path)
    if contender.package:
        bench.run(contender, "prepare", tokens)
    rows = bench.run(contender, "check", tokens)
    assert len(rows) == 3
    assert not [row for row in rows if "failed" in row]
    assert rows[0]["rows"] == 32


def test_a_speed_is_measured_at_every_setting(bench: ModuleType, tokens: Path) -> None:
    rows = bench.run(bench.CONTENDERS[0], "speed", tokens, "--seconds", "0.05")
    assert [row["tokens_per_second"] > 0 for row in rows] == [True] * 3


def test_a_first_batch_comes_within_its_limits_or_the_reason_does(bench: ModuleType, tokens: Path) -> None:
    (row,) = bench.run(bench.CONTENDERS[0], "first", tokens, "--stride", "2", "--memory-gb", "8")
    assert row["windows"] == (200_000 - 257) // 2 + 1
    assert row["milliseconds"] > 0
    (late,) = bench.run(bench.CONTENDERS[0], "speed", tokens, "--seconds", "60", timeout=0.01)
    assert "not in" in late["failed"]


@pytest.mark.parametrize("wrong", ["unshifted", "narrow", "made up", "in order", "twice"])
def test_the_check_finds_wrong_batches(wrong: str, bench: ModuleType, tokens: Path) -> None:
    measure = importlib.import_module("measure")
    setting, source = measure.Setting(8, 4, 8), measure.Source(tokens, tokens.parent)
    ids = np.fromfile(tokens, dtype="<u2").astype(np.int64)

    def batches(starts: list[list[int]]) -> Iterator[tuple[Any, Any]]:
        for row in starts:
            window = np.stack([ids[start : start + 9] for start in row])
            inputs, targets = window[:, :-1].copy(), window[:, 1:].copy()
            if wrong == "unshifted":
                targets = inputs
            if wrong == "narrow":
                targets = targets.astype(np.int32)
            if wrong == "made up":
                inputs[0, 0] = 60_000
            yield inputs, targets

    shuffled = [[80, 8, 400, 160], [16, 8000, 24, 48]]
    starts = {"in order": [[0, 8, 16, 24], [32, 40, 48, 56]], "twice": [[80, 8, 400, 160], [80, 16, 24, 48]]}
    with pytest.raises(AssertionError):
        measure.check(batches(starts.get(wrong, shuffled)), source, setting, 2)
    wrong = "nothing"
    assert measure.check(batches(shuffled), source, setting, 2) == {"rows": 8, "aligned": True}
    assert measure.check(batches(starts["twice"]), source, setting, 2, replacement=True)["rows"] == 8


def test_a_ratio_is_of_one_round_and_the_median_is_of_ratios(bench: ModuleType) -> None:
    windrow, peer = bench.CONTENDERS[5], bench.CONTENDERS[7]
    assert peer.beside == windrow.name
    speeds = [(100, 10), (10, 5), (60, 20)]  # ratios 10, 2, 3: the median is 3; that of medians would be 6
    measured = itertools.chain.from_iterable(
        [
            (number, windrow, 0, [{"setting": "s", "tokens_per_second": ours}]),
            (number, peer, 0, [{"setting": "s", "tokens_per_second": theirs}]),
        ]
        for number, (ours, theirs) in enumerate(speeds)
    )
    table = bench.summary(measured, ["s"])
    assert table[peer.name, 0]["s"]["ratio"] == 3
    assert table[peer.name, 0]["s"]["tokens_per_second"] == 10


def test_a_contender_that_fails_is_named_with_its_reason(bench: ModuleType) -> None:
    table = bench.summary([(0, bench.CONTENDERS[7], 2, [{"failed": "not in 300 s"}])], ["s"])
    assert table[bench.CONTENDERS[7].name, 2]["s"] == {"reason": "not in 300 s"}
