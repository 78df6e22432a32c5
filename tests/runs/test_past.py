"""A state is found in JSON and in a checkpoint of torch under any key, and with it a run stands where it stood."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, Windows, open_run, open_store, prepare
from windrow.errors import ResumeError
from windrow.runs.past import read_past

torch = pytest.importorskip("torch")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run file over a store, of two ranks."""
    store = prepare(iter(f"text {n} of hay" * 9 for n in range(20)), tmp_path / "corpus", tokenizer="bytes", workers=1)
    Loader(Windows(store["train"], 16), 2, dp_rank=0, dp_world_size=2).write_run(tmp_path / "run.json")
    return tmp_path / "run.json"


def lived(run: Path) -> Loader:
    """The loader after steps, a skip and an exclusion on two ranks, and steps of another size on one."""
    loader = open_run(run)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    loader.skip(5)
    loader.exclude(documents=[3, 4])
    next(batches)
    store = open_store(run.parent / "corpus" / "train")
    other = Loader(Windows(store, 16), 5)
    other.load_state_dict(loader.state_dict())
    next(iter(other))
    return other


def as_json(state: Any, file: Path) -> None:
    file.write_text(json.dumps(state))


Save = Callable[[Any, Path], None]


@pytest.mark.parametrize("save", [as_json, torch.save])
@pytest.mark.parametrize("key", ["", "loader", "trainer.data.0"])
def test_a_run_with_its_past_has_the_steps_of_then(run: Path, save: Save, key: str) -> None:
    loader = lived(run)
    state: Any = loader.state_dict()
    nested: dict[str, Any] = {"": state, "loader": {"loader": state, "step": 4}}
    content = nested.get(key, {"trainer": {"data": [state], "other": torch.zeros(2).tolist()}})
    save(content, run.with_name("past"))
    opened = open_run(run, run.with_name("past"))
    assert opened.state_dict()["excluded"] == state["excluded"]
    assert (opened.position, opened.step) == (loader.position, loader.step)
    for step in range(loader.step):
        assert opened.lookup(step) == loader.lookup(step)
        for here, there in zip(opened[step], loader[step], strict=True):
            assert np.array_equal(here, there)


def test_of_two_states_the_key_says_which(run: Path) -> None:
    first, second = open_run(run).state_dict(), lived(run).state_dict()
    file = run.with_name("both.pt")
    torch.save({"a": {"train": first}, "b": [second], "model": torch.zeros(3)}, file)
    with pytest.raises(ResumeError, match=r"holds 2 states.*both\.pt:a\.train', '.*both\.pt:b\.0'"):
        read_past(file)
    assert read_past(f"{file}:a.train") == first
    assert read_past(f"{file}:b.0") == second
    with pytest.raises(ResumeError, match=r"no loader state in .*both\.pt:c"):
        read_past(f"{file}:c")


class Unsafe:
    """What ``weights_only`` does not load."""


def test_what_holds_no_state_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for name, content in (("empty.json", b"{}"), ("deep.json", b"[" * 100_000), ("cut.json", b'{"a'), ("x", b"\xff")):
        (tmp_path / name).write_bytes(content)
    torch.save({"model": torch.zeros(2)}, tmp_path / "model.pt")
    torch.save({"own": Unsafe()}, tmp_path / "unsafe.pt")
    (tmp_path / "folder").mkdir()
    for name in ("empty.json", "deep.json", "cut.json", "x", "model.pt", "unsafe.pt", "folder", "nowhere.json"):
        with pytest.raises(ResumeError, match=name):
            read_past(tmp_path / name)


def test_the_state_of_another_run_is_refused(run: Path) -> None:
    state = open_run(run).state_dict()
    as_json({**state, "recipe": str(state["recipe"]).replace('"seed":0', '"seed":1')}, run.with_name("past.json"))
    with pytest.raises(ResumeError, match="seed: saved 1, here 0"):
        open_run(run, run.with_name("past.json"))


@pytest.mark.timeout(60)
def test_a_checkpoint_whose_parts_hold_each_other_is_looked_through_once(run: Path) -> None:
    round_and_round: dict[str, Any] = {"loader": open_run(run).state_dict()}
    round_and_round["self"] = many = [round_and_round]
    for _ in range(60):
        many = [many, many]  # 2**60 ways to the bottom
    torch.save({"many": many}, run.with_name("past"))
    assert read_past(run.with_name("past"))["position"] == 0


def test_a_name_that_no_file_can_have_is_no_state_and_no_run() -> None:
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(ResumeError):
            read_past(name)
        with pytest.raises(ResumeError):
            open_run(name)


@pytest.mark.parametrize("content", ["3", "[]", "null", '"text"', "[[], {}, [3]]"])
def test_json_that_holds_nothing_holds_no_state(tmp_path: Path, content: str) -> None:
    (tmp_path / "past").write_text(content)
    with pytest.raises(ResumeError):
        read_past(tmp_path / "past")


def test_a_tensor_alone_holds_no_state(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "past")
    with pytest.raises(ResumeError, match="there is no loader state"):
        read_past(tmp_path / "past")
