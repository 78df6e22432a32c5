"""Loops with Accelerate that the tests compare: in one process, or as a script on every rank of torchrun."""

import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator, skip_first_batches

from trainer_helpers import BATCH_SIZE, LENGTH, VOCAB_SIZE, digest, stream_digests, toy_loader
from windrow import Loader
from windrow.errors import WindrowError
from windrow.gpt import GPT, GPTConfig
from windrow.testing import stream

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
STEPS = 50 // RANKS  # an epoch has


def begin(accumulation: int = 1, **kwargs: Any) -> tuple[Accelerator, Any, Any, Loader]:
    """The whole of a script before its loop."""
    torch.manual_seed(0)
    acc = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    model = GPT(GPTConfig(vocab_size=VOCAB_SIZE, context_length=LENGTH, width=16, num_layers=1, num_heads=2))
    loader = toy_loader(device=acc.device, dp_rank=acc.process_index, dp_world_size=acc.num_processes, **kwargs)
    model, optimizer = acc.prepare(model, torch.optim.AdamW(model.parameters()))
    acc.register_for_checkpointing(loader)
    return acc, model, optimizer, loader


def steps(folder: Path, num_steps: int, *, go_on: bool = False, save: bool = False, **kwargs: Any) -> tuple[Any, Any]:
    """What so many steps are given, from the beginning or from what was saved; and the weights."""
    acc, model, optimizer, loader = begin(**kwargs)
    if go_on:
        acc.load_state(str(folder))
    given = []
    for batch in islice(stream(loader), num_steps):
        given.append(digest(*batch))
        with acc.accumulate(model):
            losses = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten(), reduction="sum")
            num_targets = acc.reduce(torch.tensor(batch.num_targets), "sum")
            acc.backward(losses * acc.num_processes / num_targets)
            optimizer.step()
            optimizer.zero_grad()
    if save:
        acc.save_state(str(folder))
    return given, [p.detach().clone() for p in acc.unwrap_model(model).parameters()]


def stop_and_resume(folder: Path, stop: str, accumulation: int) -> None:
    """A run that stops, after a whole accumulation, and one that goes on are given what one without a stop is."""
    at = {"middle": STEPS // 2, "epoch's end": STEPS, "second epoch": STEPS + STEPS // 2}[stop]
    at, total = -(-at // accumulation) * accumulation, 2 * STEPS + 3
    whole, weights = steps(folder, total, accumulation=accumulation)
    before, _ = steps(folder, at, accumulation=accumulation, save=True)
    after, resumed = steps(folder, total - at, accumulation=accumulation, go_on=True)
    assert whole == stream_digests(total, dp_rank=RANK, dp_world_size=RANKS)
    assert before + after == whole
    assert all(map(torch.equal, weights, resumed))


def save(folder: Path) -> None:
    """Thirteen steps of half the batch size on each rank, and a checkpoint."""
    steps(folder, 13, batch_size=BATCH_SIZE // 2, save=True)


def refusals(_: Path) -> None:
    """What would share the batches out again is refused; the loader itself passes through untouched."""
    acc, _, _, loader = begin()
    message = "would make another DataLoader of this one, .* Give Accelerate and Ray the Loader itself"
    with pytest.raises(WindrowError, match=message):
        acc.prepare(loader.dataloader())
    with pytest.raises(WindrowError, match=message):
        next(iter(skip_first_batches(loader.dataloader(), 3)))
    assert acc.prepare(loader) is loader
    assert [digest(*batch) for batch in acc.prepare(loader)] == stream_digests(STEPS, dp_rank=RANK, dp_world_size=RANKS)


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    known = {"stop_and_resume": stop_and_resume, "save": save, "refusals": refusals}
    known[what](Path(folder), *map(json.loads, rest))
