"""The torch DataLoader over a loader's stream, and two real processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from windrow import Loader, TokenStore, Windows, prepare
from windrow.errors import WindrowError
from windrow.testing import assert_resumes, stream


def make(num_workers: int = 0, **kwargs: Any) -> Any:
    windows = Windows(TokenStore.from_ids(np.arange(70)), 3)
    return Loader(windows, **{"batch_size": 4, "seed": 2, "drop_last": False, **kwargs}).dataloader(num_workers)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_it_is_a_real_dataloader_with_the_loaders_batches(num_workers: int) -> None:
    loader = make(num_workers)
    assert isinstance(loader, DataLoader)
    assert len(loader) == 6
    plain = Loader(Windows(TokenStore.from_ids(np.arange(70)), 3), 4, seed=2, drop_last=False)
    for _ in range(2):
        for batch, expected in zip(loader, plain, strict=True):
            inputs, targets = batch
            assert isinstance(inputs, torch.Tensor)
            assert np.array_equal(inputs.numpy(), expected.inputs)
            assert np.array_equal(targets.numpy(), expected.targets)
            assert batch.num_targets == expected.num_targets


@pytest.mark.parametrize(("num_workers", "num_batches"), [(0, 20), (1, 8), (2, 4)])  # an epoch has 6
def test_a_state_counts_what_was_received_not_what_was_fetched(num_workers: int, num_batches: int) -> None:
    assert_resumes(lambda: make(num_workers), num_batches)


def test_a_state_loads_with_another_number_of_workers() -> None:
    reference = [batch.inputs.tolist() for _, batch in zip(range(12), stream(make()), strict=False)]
    first = make(2)
    batches = stream(first)
    seen = [next(batches).inputs.tolist() for _ in range(4)]
    for num_workers in (1, 0):
        following = make(num_workers)
        following.load_state_dict(first.state_dict())
        rest = stream(following)
        assert seen + [next(rest).inputs.tolist() for _ in range(8)] == reference


def test_a_plain_loader_and_its_dataloader_share_one_position() -> None:
    plain = Loader(Windows(TokenStore.from_ids(np.arange(70)), 3), 4)
    wrapped = plain.dataloader()
    next(iter(wrapped))
    assert plain.step == 1
    assert wrapped.state_dict() == plain.state_dict()


def test_an_exclusion_reaches_the_workers() -> None:
    plain = Loader(Windows(TokenStore.from_ids(np.arange(70)), 3), 4)
    wrapped = plain.dataloader(1)
    plain.exclude(documents=[0])
    assert [batch.num_targets for batch in wrapped] == [0] * 5


RANK = """
import json, os, sys, time
from pathlib import Path
import torch.distributed as dist
import windrow as wr

out, steps, wait = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", init_method=f"file://{out}/meeting-{world}", rank=rank, world_size=world)  # no port
loader = wr.Loader(wr.Windows(wr.open_store(out / "store" / "train"), 8), 3, seed=4, epochs=None,
                   dp_rank=rank, dp_world_size=world)
state = out / "state.json"
if state.exists():
    loader.load_state_dict(json.loads(state.read_text()))
with open(out / f"seen-{world}-{rank}.jsonl", "a") as seen:
    for batch in loader:
        if loader.step > steps:
            break
        rows = [[loader.step - 1, s.position, int(x[0])]
                for s, x in zip(loader.lookup(loader.step - 1), batch.inputs)]
        seen.write(json.dumps(rows) + "\\n")
        seen.flush()
        dist.barrier()
        if rank == 0:
            state.with_suffix(".tmp").write_text(json.dumps(loader.state_dict()))
            os.replace(state.with_suffix(".tmp"), state)
        dist.barrier()
        time.sleep(wait)
dist.destroy_process_group()
"""


def run_ranks(folder: Path, world: int, steps: int, wait: float) -> list[subprocess.Popen[bytes]]:
    """The processes of so many ranks, with the environment that torchrun gives them."""
    command = [sys.executable, str(folder / "rank.py"), str(folder), str(steps), str(wait)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "WORLD_SIZE": str(world)}
    return [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(world)
    ]


@pytest.mark.timeout(180)
def test_two_processes_killed_in_the_middle_go_on_as_one_and_as_three(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    store = prepare(
        iter(["A short text to be read by several processes. " * 20]), tmp_path / "store", tokenizer="bytes"
    )
    reference = Loader(Windows(store["train"], 8), 1, seed=4, epochs=None)
    running = run_ranks(tmp_path, 2, 10**6, 0.05)
    while not (tmp_path / "state.json").exists() or json.loads((tmp_path / "state.json").read_text())["position"] < 60:
        assert all(process.poll() is None for process in running), "the ranks ended early"
        time.sleep(0.05)
    for process in running:
        process.kill()
    for process in running:
        process.wait()
    killed_at = json.loads((tmp_path / "state.json").read_text())["position"]
    for world, more in ((1, 5), (3, 4)):
        steps = Loader(Windows(store["train"], 8), 3, seed=4, epochs=None)
        steps.load_state_dict(json.loads((tmp_path / "state.json").read_text()))
        assert [rank.wait(timeout=90) for rank in run_ranks(tmp_path, world, steps.step + more, 0)] == [0] * world
    read: dict[int, int] = {}
    for path in tmp_path.glob("seen-*.jsonl"):
        for line in path.read_text().splitlines():
            for _, position, first in json.loads(line):
                known_twice = path.name.startswith("seen-2") and position >= killed_at
                assert position not in read or known_twice, f"position {position} was trained on twice"
                if not known_twice:
                    read[position] = first
    assert sorted(read) == list(range(killed_at + 5 * 3 + 4 * 9))
    assert all(int(reference[position].inputs[0, 0]) == first for position, first in read.items())
    num = len(reference)
    assert sorted(s.window for p in range(num) for s in reference.lookup(p)) == list(range(num))


REFUSAL = "would make another DataLoader of this one, .* the Loader itself, made with dp_rank= and dp_world_size="


@pytest.mark.parametrize(
    "take",
    [
        lambda ours: next(iter(DataLoader(ours.dataset))),
        lambda ours: next(iter(DataLoader(ours.dataset, batch_size=None, sampler=range(3)))),
        lambda ours: next(iter(DataLoader([0], batch_sampler=ours.batch_sampler))),
        lambda ours: next(iter(DataLoader([0], sampler=ours.sampler))),
        lambda ours: DistributedSampler(ours.dataset, num_replicas=2, rank=0),
        lambda ours: len(ours.dataset),
        lambda ours: ours.drop_last,
    ],
)
def test_what_would_make_another_dataloader_of_it_is_refused_and_it_goes_on(take: Any) -> None:
    loader = make()
    with pytest.raises(WindrowError, match=REFUSAL):
        take(loader)
    assert len(list(loader)) == len(loader) == 6


def test_ray_is_refused_where_it_would_share_the_batches_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray.train.torch.train_loop_utils")
    for name, value in {"get_world_size": 2, "get_world_rank": 0}.items():
        monkeypatch.setattr(ray.session, name, lambda value=value: value)
    monkeypatch.setattr(ray, "get_torch_device_manager_by_context", lambda: None)  # it would start a cluster
    with pytest.raises(WindrowError, match=REFUSAL):
        ray._TorchAccelerator().prepare_data_loader(make(), move_to_device=False)
