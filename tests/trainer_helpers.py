"""What the tests of trainers share: a small run, its batches as hashes, the cases of a matrix, several processes."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha1
from itertools import combinations, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows
from windrow.testing import stream

NUM_WINDOWS, LENGTH, BATCH_SIZE, VOCAB_SIZE = 203, 16, 4, 97  # 50 steps an epoch, and 3 windows are dropped


def toy_windows(seed: int = 0, num_windows: int = NUM_WINDOWS) -> Windows:
    """``num_windows`` windows of ``LENGTH`` random ids below ``VOCAB_SIZE``."""
    ids = np.random.default_rng(seed).integers(0, VOCAB_SIZE, num_windows * LENGTH + 1)
    return Windows(TokenStore.from_ids(ids.astype(np.uint16), eos_id=0), LENGTH)


def toy_loader(**kwargs: Any) -> Loader:
    """A loader of ``toy_windows``, CPU tensors in batches of ``BATCH_SIZE`` unless asked for others."""
    return Loader(toy_windows(), **{"batch_size": BATCH_SIZE, "seed": 7, "device": "cpu", **kwargs})


def digest(*tensors: Any) -> str:
    """Eight hex digits of the numbers in ``tensors``, widened to int64."""
    whole = sha1()
    for tensor in tensors:
        whole.update(np.ascontiguousarray(np.asarray(tensor), dtype=np.int64).tobytes())
    return whole.hexdigest()[:8]


def stream_digests(num_steps: int, **kwargs: Any) -> list[str]:
    """What the first ``num_steps`` steps of ``toy_loader(**kwargs)`` hold, pass after pass: the oracle of all."""
    return [digest(*batch) for batch in islice(stream(toy_loader(**kwargs)), num_steps)]


def cases(**axes: Sequence[Any]) -> list[Any]:
    """The combinations of ``axes`` to run, as parameters; their first values are the defaults.

    Each value of the first axis at the defaults of the others, and as many more as show every two values together;
    with ``WINDROW_ALL`` in the environment, every combination.
    """
    first, *others = axes.values()
    chosen = [(value, *(axis[0] for axis in others)) for value in first]
    combined = list(product(*axes.values()))
    missing = {pair for one in combined for pair in _pairs(one)} - {pair for one in chosen for pair in _pairs(one)}
    while missing:
        chosen.append(max(combined, key=lambda one: len(missing & set(_pairs(one)))))
        missing -= set(_pairs(chosen[-1]))
    ran = combined if "WINDROW_ALL" in os.environ else chosen
    return [pytest.param(*one, id=", ".join(map("{} {}".format, axes, one))) for one in ran]


def _pairs(values: Iterable[Any]) -> list[Any]:
    return list(combinations(enumerate(values), 2))


def run_ranks(num_ranks: int, script: Path | str, *arguments: object, timeout: float = 110) -> str:
    """What ``script`` prints, run under torchrun on ``num_ranks`` CPU processes; it must succeed."""
    done = try_ranks(num_ranks, script, *arguments, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def try_ranks(
    num_ranks: int, script: Path | str, *arguments: object, timeout: float = 110
) -> "subprocess.CompletedProcess[str]":
    """As ``run_ranks``, however it ends."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    whole = [*command, str(script), *map(str, arguments)]
    return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=timeout)
