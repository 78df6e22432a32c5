"""The processes that train one run together, as torchrun starts them, and what they tell each other.

Guarantee: a sum is the same number on every rank; alone nothing is sent, and a sum is its only part, bit for bit. Cost:
a step sends its gradients and three numbers; importing it imports torch. It does not do: starting processes.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from windrow.errors import WindrowError

__all__ = ["Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """What ``Loader`` is told of the ranks that train a run together, of which 0 writes and speaks; alone, nothing."""

    device: str = "cpu"
    dp_rank: int | None = None
    dp_world_size: int | None = None

    def total(self, number: float) -> float:
        """The sum of every rank's ``number``, which waits for them all."""
        self.add_up([sums := torch.tensor(number, dtype=torch.float64)])
        return float(sums)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Make each tensor, in place, the sum of every rank's. Raises ``WindrowError`` when another rank has ended."""
        try:
            for tensor in tensors if self.dp_world_size else ():
                dist.all_reduce(tensor)
        except RuntimeError as error:
            raise WindrowError(
                f"rank {self.dp_rank} of {self.dp_world_size} cannot go on, for another one may have ended ({error}). "
                "The last checkpoint, if there is one, stays: go on with --resume, on any number of ranks."
            ) from error


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The ranks that torchrun started, or one alone, on what "auto" or "cuda" is here; an error of all is said once."""
    number = os.environ.get("LOCAL_RANK")
    mps = torch.backends.mps.is_available() and not number
    device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    device = f"cuda:{number}" if number and device == "cuda" else device
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Ranks(device)
        return
    store, rank, size = next(rendezvous("env://"))
    backend, patience = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timedelta(days=1)
    dist.init_process_group(backend, timeout=patience, store=store, rank=rank, world_size=size)
    try:
        yield Ranks(device, rank, size)
    except Exception as error:
        if store.add("windrow: errors", 1) > 1:
            raise SystemExit(1) from error
        sys.stderr = sys.__stderr__  # others than the first rank are silent
        raise
