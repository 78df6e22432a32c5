"""Executors that break, jobs that can only be asked, and how many workers there are."""

from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from prepare_helpers import Broken, snapshot
from windrow import prepare
from windrow.errors import PrepareError


def test_a_broken_executor_says_so_and_the_next_run_goes_on(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(PrepareError, match="the executor Broken broke"):
        prepare(inputs, tmp_path, valid_fraction=0.1, executor=Broken())
    reports: list[Any] = []
    prepare(inputs, tmp_path, valid_fraction=0.1, on_report=reports.append)
    assert reports[-1].reused_nbytes > 0
    assert snapshot(tmp_path) == undisturbed


def test_small_stores_are_written_without_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("windrow.preparing.workers.subprocess.Popen", lambda *words, **_: started.append(words))
    stores = prepare(iter([f"text {n}" for n in range(300)]), tmp_path, tokenizer="bytes", valid_fraction=0.1)
    assert not started
    assert stores["train"].num_documents + stores["valid"].num_documents == 300


class Job:
    """What submitit gives: no Future, and nothing to wait on."""

    def __init__(self, call: Any) -> None:
        self._call, self._num_asked = call, 0

    def done(self) -> bool:
        self._num_asked += 1
        return self._num_asked > 1

    def result(self) -> Any:
        return self._call()

    def cancel(self) -> None:
        pass


class Jobs:
    def submit(self, call: Any, /, *args: Any) -> Job:
        return Job(partial(call, *args))


def test_jobs_that_can_only_be_asked_are_asked(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windrow.preparing.crew._ASK_EVERY", 0.001)
    prepare(inputs, tmp_path, valid_fraction=0.1, executor=cast(Executor, Jobs()), workers=2)
    assert snapshot(tmp_path) == undisturbed


def test_memory_decides_how_many_workers_there_are(tmp_path: Path) -> None:
    from windrow.preparing.crew import crew_for
    from windrow.tokens.tokenizer import load_tokenizer

    gpt2 = load_tokenizer("gpt2")
    assert crew_for(gpt2, workers=64, memory=1 << 30, executor=None).num_workers == 3
    assert crew_for(gpt2, workers=2, memory=None, executor=None).num_workers == 2
    assert crew_for(gpt2, workers=8, memory=1, executor=None).num_workers == 1
    with pytest.raises(ValueError, match="memory, in bytes, is 0, and it must be"):
        crew_for(gpt2, workers=8, memory=0, executor=None)
