"""Three runs of Ray Train, for test_ray_train.py: uninterrupted, with a worker that dies once, and on one worker.

Each rank writes what it received to ``FOLDER/run-rank``, a line a step, and its last weights to the same with ``.pt``.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model

from trainer_helpers import VOCAB_SIZE, digest, toy_loader
from windrow.testing import stream

NUM_STEPS, EVERY, DIES_AT = 40, 10, 23


def train(config: dict[str, Any]) -> None:
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    loader = toy_loader(dp_rank=rank, dp_world_size=world_size)
    torch.manual_seed(0)
    bare = torch.nn.Sequential(torch.nn.Embedding(VOCAB_SIZE, 8), torch.nn.Linear(8, VOCAB_SIZE))
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.01)
    if found := ray.train.get_checkpoint() or (config["checkpoint"] and Checkpoint(config["checkpoint"])):
        with found.as_directory() as folder:
            state = torch.load(Path(folder, "state.pt"), weights_only=True)
        loader.load_state_dict(state["loader"])
        bare.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    model = prepare_model(bare)
    log = Path(config["folder"], f"{config['run']}-{rank}")
    for inputs, targets in stream(loader):
        if config["dies"] and rank == 1 and loader.step == DIES_AT and not Path(f"{log}-died").exists():
            Path(f"{log}-died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
        with log.open("a") as lines:
            lines.write(f"{loader.step} {digest(inputs, targets)}\n")
        if loader.step % EVERY == 0:
            save(loader, bare, optimizer, Path(config["folder"], f"{config['run']}.pt"))
        if loader.step == NUM_STEPS:
            return


def save(loader: Any, model: Any, optimizer: Any, last: Path) -> None:
    """A checkpoint of rank 0, reported by all."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            state = {"loader": loader.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder, "state.pt"))
            torch.save(state["model"], last)
            checkpoint = Checkpoint.from_directory(folder)
        ray.train.report({"step": loader.step}, checkpoint=checkpoint)


def run(folder: str, name: str, num_workers: int, *, dies: bool = False, checkpoint: str | None = None) -> Any:
    config = {"folder": folder, "run": name, "dies": dies, "checkpoint": checkpoint}
    return TorchTrainer(
        train,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=num_workers),
        run_config=RunConfig(name=name, storage_path=folder, failure_config=FailureConfig(max_failures=int(dies))),
    ).fit()


if __name__ == "__main__":
    path = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=path)
    whole = run(sys.argv[1], "whole", 2)
    run(sys.argv[1], "killed", 2, dies=True)
    middle = next(kept for kept, metrics in whole.best_checkpoints if metrics["step"] == 20)
    run(sys.argv[1], "alone", 1, checkpoint=middle.path)
    ray.shutdown()
