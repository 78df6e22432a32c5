"""Runs of transformers' Trainer that the tests compare: in one process, or as a script on every rank of torchrun."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from trainer_helpers import BATCH_SIZE, LENGTH, VOCAB_SIZE, digest, stream_digests, toy_loader
from windrow import Loader, TokenStore, Windows
from windrow.trainers.huggingface import StreamDataset

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
STEPS = 50 // RANKS  # an epoch has
SHOWN: list[dict[str, Any]] = []  # what the model was given, step by step


def tiny_model(vocab_size: int = VOCAB_SIZE) -> Any:
    """One layer, and positions for a window and its last target."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    ids = {"bos_token_id": None, "eos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, max_position_embeddings=LENGTH + 1, **sizes, **ids))
    model.register_forward_pre_hook(lambda _, __, given: SHOWN.append(dict(given)), with_kwargs=True)
    return model


def whole_loader(**kwargs: Any) -> Loader:
    """The toy run's loader of all ranks, which is what the Trainer is given."""
    return toy_loader(**{"device": None, "dp_rank": 0, "dp_world_size": 1, **kwargs})


def arguments(folder: Path, **kwargs: Any) -> TrainingArguments:
    """What a run that is compared with another needs; ``max_steps`` as given."""
    needed = {"train_sampling_strategy": "sequential", "dataloader_drop_last": True}
    sizes = {"per_device_train_batch_size": BATCH_SIZE, "per_device_eval_batch_size": BATCH_SIZE}
    quiet = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "use_cpu": True}
    plain = {
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(str(folder), **{**needed, **sizes, **quiet, **plain, **kwargs})


class StopAt(TrainerCallback):
    """Saves after a step, and stops."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = control.should_training_stop = state.global_step == self.step


def train(
    folder: Path, stop: int | None = None, resume: int | None = None, loader: Loader | None = None, **kwargs: Any
) -> tuple[list[Any], Any]:
    """What the model is shown in a run that stops after, or goes on from, a step; and its weights."""
    SHOWN.clear()
    data, model = StreamDataset(loader or whole_loader()), tiny_model()
    callbacks = [data, *([StopAt(stop)] if stop else [])]
    trainer = Trainer(model, arguments(folder, **kwargs), train_dataset=data, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{resume}") if resume else None)
    return list(SHOWN), [p.detach().clone() for p in model.parameters()]


def digests(shown: list[Any]) -> list[str]:
    """Inputs and targets of what was shown, once the model has shifted it."""
    return [digest(one["input_ids"][:, :-1], one["labels"][:, 1:]) for one in shown]


def stop_and_resume(folder: Path, stop: str, accumulation: int, workers: int | str) -> None:
    """A run that stops and one that goes on from there are shown, together, what an uninterrupted run is shown."""
    updates = -(-STEPS // accumulation)
    at = {"middle": updates // 2, "epoch's end": updates, "second epoch": updates + updates // 2}[stop]
    more = {"dataloader_num_workers": 2, "dataloader_persistent_workers": workers == "kept"} if workers else {}
    kwargs = {"max_steps": 2 * updates + 3, "gradient_accumulation_steps": accumulation, **more}
    shown, weights = train(folder, **kwargs)
    before, _ = train(folder, stop=at, **kwargs)
    after, resumed = train(folder, resume=at, **kwargs)
    ranks = {"dp_rank": RANK, "dp_world_size": RANKS}
    assert digests(shown) == stream_digests(2 * STEPS + 3 * accumulation, **ranks)
    assert digests(before) + digests(after) == digests(shown)
    assert all(map(torch.equal, weights, resumed))
    tokens = BATCH_SIZE * LENGTH * RANKS
    left = [STEPS % accumulation or accumulation] * (STEPS % accumulation or accumulation)
    an_epoch = [accumulation] * (STEPS - len(left)) + left
    assert [int(one["num_items_in_batch"]) for one in shown[:STEPS]] == [tokens * n for n in an_epoch]


@torch.no_grad()
def perfect_loss(model: Any, loader: Loader) -> tuple[float, int]:
    """The mean over all targets of an evaluation, and how many they are: by a plain loop, one row at a time."""
    total, count = 0.0, 0
    for batch in loader:
        for inputs, targets in zip(*map(torch.from_numpy, batch), strict=True):
            logits = model(input_ids=inputs[None]).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            count += int((targets != -100).sum())
    return total / count, count


def row_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum of the losses of each row's targets: (rows,)."""
    return torch.nn.functional.cross_entropy(logits[:, :-1].mT, labels[:, 1:], reduction="none").sum(dim=1)


def mean_over_targets(given: Any) -> dict[str, float]:
    """The loss of all rows, over all their targets."""
    return {"target_loss": given.predictions.sum() / (given.label_ids != -100).sum()}


def evaluate(folder: Path) -> None:
    """Each target is scored once, over all ranks, and the page's metric is the mean over them; twice in a row."""
    ids = np.random.default_rng(1).integers(0, VOCAB_SIZE, 41 * LENGTH + 6).astype(np.uint16)  # the last row is short
    valid, whole = Windows(TokenStore.from_ids(ids, eos_id=0), LENGTH), {"dp_rank": 0, "dp_world_size": 1}
    metric = {"compute_metrics": mean_over_targets, "preprocess_logits_for_metrics": row_losses}
    model, data = tiny_model(), StreamDataset(Loader.evaluation(valid, BATCH_SIZE, **whole))
    trainer = Trainer(model, arguments(folder), eval_dataset=data, **metric)
    for _ in range(2):
        SHOWN.clear()
        found = trainer.evaluate()
        labels = [one["labels"] for one in SHOWN]
        scored = torch.tensor(sum(int((one != -100).sum()) for one in labels))
        if RANKS > 1:
            torch.distributed.all_reduce(scored)
        loss, count = perfect_loss(model, Loader.evaluation(valid, 1, **whole))
        assert int(scored) == count == 41 * LENGTH + 5
        assert abs(found["eval_target_loss"] - loss) < 1e-5
        assert [len(one) for one in labels] == [BATCH_SIZE] * -(-42 // (BATCH_SIZE * RANKS))


def resume(folder: Path) -> None:
    """Goes on from step 2."""
    train(folder, resume=2, max_steps=9)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    what, folder, *rest = sys.argv[1:]
    known = {"stop_and_resume": stop_and_resume, "evaluate": evaluate, "resume": resume}
    known[what](Path(folder), *map(json.loads, rest))
