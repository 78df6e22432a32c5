"""torchtitan: its protocol, and its own Trainer with a small Llama on CPU ranks, stopped and resumed."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from trainer_helpers import digest, run_ranks
from windrow import Loader, Windows, open_store, prepare

pytest.importorskip("torchtitan")

import torch
import torch.distributed.checkpoint as dcp

from windrow.errors import StoreError
from windrow.trainers.torchtitan import WindrowDataLoader

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),  # which is what is meant
]
BATCH_SIZE, LENGTH = 4, 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a store of 300 documents."""
    folder = tmp_path_factory.mktemp("store")
    texts = [f"The row {i} of {7 * i} rows.\n\n" for i in range(300)]
    (folder / "a.jsonl").write_text("".join(f'{{"text": "{text.strip()}"}}\n' for text in texts))
    prepare(folder / "a.jsonl", folder / "corpus", tokenizer="bytes")
    return str(folder / "corpus" / "train")


def built(store: str, *, rank: int = 0, world_size: int = 1, batch_size: int = BATCH_SIZE, **kwargs: Any) -> Any:
    """A dataloader as torchtitan's Trainer builds it."""
    config = WindrowDataLoader.Config(dataset_path=store, seed=7, **kwargs)
    given = {"tokenizer": None, "seq_len": LENGTH, "local_batch_size": batch_size, "snapshot_every_n_steps": None}
    return config.build(dp_world_size=world_size, dp_rank=rank, **given)


def digests(batches: Any, num_steps: int | None = None) -> list[str]:
    return [digest(x["input"], targets, x["positions"]) for x, targets in islice(batches, num_steps)]


def oracle(store: str, num_steps: int, **kwargs: Any) -> list[str]:
    """The first steps of a plain loader of the same sizes."""
    sizes = {"batch_size": BATCH_SIZE, "seed": 7, "epochs": None, "device": "cpu", "outputs": ("position_ids",)}
    batches = islice(Loader(Windows(open_store(store), LENGTH), **{**sizes, **kwargs}), num_steps)
    return [digest(batch.inputs, batch.targets, batch.position_ids) for batch in batches]


def test_the_dataloader_of_the_protocol_gives_the_loader_s_inputs_targets_and_positions(store: str) -> None:
    inputs, targets = next(iter(built(store)))
    assert {tensor.dtype for tensor in (*inputs.values(), targets)} == {torch.int64}
    assert (inputs["input"][:, 1:] == targets[:, :-1]).all()
    assert digests(built(store, rank=1, world_size=2), 500) == oracle(store, 500, dp_rank=1, dp_world_size=2)


def test_a_state_of_two_ranks_goes_on_with_one_through_a_distributed_checkpoint(store: str, tmp_path: Path) -> None:
    ranks = [built(store, rank=rank, world_size=2) for rank in range(2)]
    for one in ranks:
        assert len(digests(one, 11)) == 11
    assert ranks[0].state_dict() == ranks[1].state_dict()
    dcp.save({"dataloader": ranks[0]}, checkpoint_id=tmp_path, no_dist=True)
    alone = built(store)
    dcp.load({"dataloader": alone}, checkpoint_id=tmp_path, no_dist=True)
    assert digests(alone, 40) == oracle(store, 62)[22:]


def test_a_validator_s_dataloader_ends_after_one_epoch_and_leaves_nothing_out(store: str) -> None:
    config = replace(WindrowDataLoader.Config(dataset_path=store), infinite=False)  # as the Validator does
    given = {"dp_world_size": 1, "dp_rank": 0, "tokenizer": None, "seq_len": LENGTH, "local_batch_size": BATCH_SIZE}
    rows = [row for inputs, _ in config.build(**given) for row in inputs["input"].tolist()]
    assert len(rows) == Windows(open_store(store), LENGTH).num_samples
    assert len(digests(config.build(**given))) == -(-len(rows) // BATCH_SIZE)


def test_a_config_without_a_store_is_refused() -> None:
    with pytest.raises(StoreError, match=r"the path of a store is None\. Give its folder"):
        built(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runs(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of torchtitan's Trainer."""
    folder, script = tmp_path_factory.mktemp("runs"), Path(__file__).with_name("torchtitan_ranks.py")
    run_ranks(2, script, folder, store, "ranks:4", timeout=140)
    run_ranks(1, script, folder, store, "whole:8", "parts:5", "parts:8", "ranks:8", timeout=140)
    return folder


def test_torchtitan_s_trainer_resumed_is_the_uninterrupted_one(runs: Path, store: str) -> None:
    assert (runs / "whole-0").read_text().split() == oracle(store, 8)
    assert (runs / "parts-0").read_text().split() == oracle(store, 8)
    assert (runs / "parts-0.weights").read_text() == (runs / "whole-0.weights").read_text()


def test_torchtitan_s_trainer_goes_on_with_one_rank_where_two_stopped(runs: Path, store: str) -> None:
    ranks = [oracle(store, 4, dp_rank=rank, dp_world_size=2) for rank in range(2)]
    assert (runs / "ranks-1").read_text().split() == ranks[1]
    assert (runs / "ranks-0").read_text().split() == ranks[0] + oracle(store, 12)[8:]
