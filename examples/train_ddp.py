"""Training on many ranks, with DDP or FSDP2, that stops anywhere and goes on with any other number of them.

Run: torchrun --nproc-per-node 2 examples/train_ddp.py [--fsdp] [--batch-size 4] [--accumulate 1]
     (again, to go on where it stopped; without torchrun it is one process)
"""

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import windrow as wr
from windrow.gpt import GPT, GPTConfig
from windrow.text.demo import demo_documents

FOLDER, STEPS, SAVE_EVERY = Path("ddp-example"), int(os.environ.get("STEPS", "40")), 5


class Training:
    """Model, optimizer and the number of the next step, as torch.distributed.checkpoint wants them."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer, self.step = model, optimizer, 0

    def state_dict(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        states = {"model_state_dict": state["model"], "optim_state_dict": state["optimizer"]}
        set_state_dict(self.model, self.optimizer, **states)
        self.step = state["step"]


def join() -> torch.device:
    """Meet the other ranks; returns the device of this one."""
    alone = {} if "RANK" in os.environ else {"store": dist.HashStore(), "rank": 0, "world_size": 1}
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", **alone)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cuda", torch.cuda.current_device())


def open_train() -> wr.TokenStore:
    if dist.get_rank() == 0 and not (FOLDER / "corpus" / "train" / "manifest.json").exists():
        wr.prepare(iter(demo_documents()[:20]), FOLDER / "corpus", tokenizer="bytes")
    dist.barrier()
    return wr.open_store(FOLDER / "corpus" / "train")


def take_step(model: Any, optimizer: torch.optim.Optimizer, batches: list[wr.Batch], num_targets: int) -> float:
    """An update by the mean over the targets of all ranks and micro-batches; returns this rank's part of the mean."""
    mine = 0.0
    for batch in batches:
        is_last = batch is batches[-1]  # gradients are sent once a step
        if isinstance(model, DistributedDataParallel):
            model.require_backward_grad_sync = is_last
        else:
            model.set_requires_gradient_sync(is_last)
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=batch.inputs.is_cuda):
            logits = model(batch.inputs).flatten(0, 1).float()
        loss = F.cross_entropy(logits, batch.targets.flatten(), reduction="sum") / max(num_targets, 1)
        (loss * dist.get_world_size()).backward()  # DDP and FSDP divide by it
        mine += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return mine


def train(given: argparse.Namespace, device: torch.device) -> None:
    """To the last step, or until SIGTERM; what DDP holds of the process group is gone with this function."""
    asked: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    mesh = init_device_mesh(device.type, (dist.get_world_size(),), mesh_dim_names=("dp",))
    ranks = {"dp_rank": mesh["dp"].get_local_rank(), "dp_world_size": mesh["dp"].size()}
    windows = wr.Windows(open_train(), 64)
    loader = wr.Loader(windows, given.batch_size, seed=1, epochs=None, device=device, **ranks)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=257, context_length=64, width=32, num_layers=1, num_heads=2)).to(device)
    model = fully_shard(model, mesh=mesh["dp"]) if given.fsdp else DistributedDataParallel(model)
    training = Training(model, optimizer := torch.optim.AdamW(model.parameters(), lr=3e-3))
    if saved := sorted(FOLDER.glob("step-*/.metadata")):  # the last thing that a checkpoint gets
        dcp.load({"training": training, "loader": loader}, checkpoint_id=saved[-1].parent)
        print(f"rank {dist.get_rank()} goes on from step {training.step}", flush=True)
    batches = iter(loader)
    while training.step < STEPS:
        micro = [next(batches) for _ in range(given.accumulate)]
        told = torch.tensor([sum(batch.num_targets for batch in micro), len(asked)])
        dist.all_reduce(told)  # the targets of all ranks, and whether one was asked to stop
        loss = torch.tensor(take_step(model, optimizer, micro, int(told[0])))
        dist.all_reduce(loss)
        training.step += 1
        if dist.get_rank() == 0:
            print(f"step {training.step}: loss {loss.item():.3f}", flush=True)
        if told[1] or training.step % SAVE_EVERY == 0 or training.step == STEPS:
            folder = FOLDER / f"step-{training.step:06}"  # a new one: a kill while it is written leaves the one before
            dcp.save({"training": training, "loader": loader}, checkpoint_id=folder)
        if told[1]:
            break


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=1)
    train(parser.parse_args(), join())
    dist.destroy_process_group()  # a DDP that outlives it can wait for ever
