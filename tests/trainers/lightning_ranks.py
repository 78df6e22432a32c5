"""Two ranks in Lightning, for test_lightning.py: under torchrun, or in processes that Lightning spawns or forks.

``lightning_ranks.py STRATEGY FOLDER``: each rank writes the digests of its steps to ``FOLDER/STRATEGY-rank``. Where
Lightning makes the processes, a loader that was made before them must be refused.
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from trainer_helpers import VOCAB_SIZE, digest, toy_loader
from windrow import Loader
from windrow.trainers.lightning import WindrowDataModule

NUM_STEPS = 11
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.simplefilter("ignore")


class Toy(lightning.LightningModule):
    """A bigram model that writes what it received at its end; ``made_before`` is a loader that knows of no rank."""

    def __init__(self, log: str, made_before: Loader | None) -> None:
        super().__init__()
        self.made_before = made_before
        self.log_path, self.received = log, []
        self.net = torch.nn.Sequential(torch.nn.Embedding(VOCAB_SIZE, 8), torch.nn.Linear(8, VOCAB_SIZE))

    def training_step(self, batch: Any, _: int) -> Any:
        self.received.append(digest(*batch))
        return torch.nn.functional.cross_entropy(self.net(batch.inputs).flatten(0, 1), batch.targets.flatten())

    def on_train_end(self) -> None:
        if self.made_before:
            with pytest.raises(ValueError, match="every rank would read the same data"):
                iter(self.made_before)
        Path(f"{self.log_path}-{self.global_rank}").write_text(" ".join(self.received))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.01)


def endless(**rank: int) -> Loader:
    return toy_loader(epochs=None, **rank)


def trainer(strategy: str, folder: str) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    place = {"accelerator": "cpu", "devices": 2, "strategy": strategy, "default_root_dir": folder}
    return lightning.Trainer(max_steps=NUM_STEPS, enable_checkpointing=False, **quiet, **place)


def main(strategy: str, folder: str) -> None:
    one = trainer(strategy, folder)
    made_before = None if strategy == "ddp" else toy_loader()
    one.fit(Toy(f"{folder}/{strategy}", made_before), datamodule=WindrowDataModule(endless))
    if strategy == "ddp":
        one.save_checkpoint(f"{folder}/two.ckpt")


if __name__ == "__main__":
    main(*sys.argv[1:])
