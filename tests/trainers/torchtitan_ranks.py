"""Runs of torchtitan's own Trainer on CPU ranks, for test_torchtitan.py.

``torchtitan_ranks.py FOLDER STORE RUN:STEPS...``: a run goes on from its last checkpoint in ``FOLDER/RUN``, to
``STEPS``, and each rank adds the digests of what it received to ``FOLDER/RUN-rank`` and of the last weights to the same
with ``.weights``. torchtitan 0.3.0 wants an accelerator, Triton and a torch of tomorrow: here stand what a CPU lacks.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
import torch.distributed
import torchtitan.tools.utils as titan

accelerator = MagicMock()
accelerator.get_device_properties.return_value.total_memory = 1 << 30
accelerator.device_count.return_value, accelerator.current_device.return_value = 1, 0
accelerator.get_device_name.return_value, accelerator.memory_stats.return_value = "cpu", {}
titan.device_type, titan.device_module = "cpu", accelerator
torch.distributed.set_timeout = lambda *_: None
sys.modules["torchtitan.distributed.minimal_async_ep.kernels"] = MagicMock()  # of experts, in Triton

from torchtitan.components.tokenizer import BaseTokenizer  # noqa: E402
from torchtitan.models.common.attention import ScaledDotProductAttention  # noqa: E402
from torchtitan.models.llama3.config_registry import llama3_debugmodel  # noqa: E402

from trainer_helpers import digest  # noqa: E402
from windrow.trainers.torchtitan import WindrowDataLoader  # noqa: E402


class NoTokenizer(BaseTokenizer):
    """The store is of ids already."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseTokenizer.Config):
        pass

    def __init__(self, config: Any, **_: Any) -> None:
        super().__init__()

    def encode(self, *_: Any, **__: Any) -> list[int]:
        return []

    def decode(self, *_: Any, **__: Any) -> str:
        return ""

    def get_vocab_size(self) -> int:
        return 2048


class Logged(WindrowDataLoader):
    """Keeps the digests of what it gave."""

    Config = WindrowDataLoader.Config

    def __iter__(self) -> Iterator[Any]:
        self.__dict__["given"] = []
        for inputs, targets in super().__iter__():
            self.given.append(digest(inputs["input"], targets, inputs["positions"]))
            yield inputs, targets


def config_of(folder: Path, store: str) -> Any:
    """A Llama of one layer, its checkpoints in ``folder``: one every 2 steps of 8."""
    config = llama3_debugmodel()
    layers = config.model_spec.model.layers
    del layers[1:]
    layers[0].attention.inner_attention = ScaledDotProductAttention.Config()
    config.tokenizer, config.dump_folder = NoTokenizer.Config(), str(folder)
    config.dataloader = WindrowDataLoader.Config(dataset_path=store, seed=7)
    config.training.local_batch_size, config.training.seq_len, config.training.steps = 4, 16, 8
    config.training.mixed_precision_param, config.training.disable_cuda_graphs = "float32", True
    config.checkpoint.enable, config.checkpoint.interval, config.checkpoint.async_mode = True, 2, "disabled"
    config.validator.enable = config.debug.enable_structured_logging = False
    config.debug.seed = 0
    config.parallelism.spmd_backend = "partial_dtensor"  # and no shards: they want what Gloo has not
    config.parallelism.data_parallel_replicate_degree = int(os.environ["WORLD_SIZE"])
    config.parallelism.data_parallel_shard_degree = 1
    return config


def run(folder: Path, name: str, store: str, num_steps: int) -> None:
    trainer = config_of(folder / name, store).build()
    trainer.config.training.steps = num_steps  # not before: the schedule of the learning rate is that of the whole run
    trainer.train()
    rank = torch.distributed.get_rank()
    with Path(folder, f"{name}-{rank}").open("a") as log:
        log.write("".join(f"{given}\n" for given in trainer.dataloader.given))
    whole = [getattr(tensor, "full_tensor", lambda own=tensor: own)() for tensor in trainer.model_parts[0].parameters()]
    Path(folder, f"{name}-{rank}.weights").write_text(digest(*(tensor.detach().view(torch.int32) for tensor in whole)))
    trainer.close()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    WindrowDataLoader.Config._owner = Logged
    for asked in sys.argv[3:]:
        run(Path(sys.argv[1]), asked.split(":")[0], sys.argv[2], int(asked.split(":")[1]))
