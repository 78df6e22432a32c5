"""A loader as the data set of transformers' ``Trainer``, for training and for evaluation. Needs transformers 5.

Guarantee: every rank gets its rows of every step as a loader of that rank would, in every epoch and after the Trainer's
own resume, which reads nothing twice; an evaluation scores each target once. What would break that raises.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TrainerCallback

from windrow.arrays import IGNORE_INDEX
from windrow.errors import ResumeError, WindrowError, brief
from windrow.loader.loader import Loader
from windrow.loader.ranks import world_in_sight
from windrow.order.steps import StepSizes

__all__ = ["StreamDataset"]

_SEQUENTIAL = 'TrainingArguments(train_sampling_strategy="sequential")'


class StreamDataset(Dataset[dict[str, Tensor]], TrainerCallback):  # type: ignore[misc]
    """The samples of ``loader``: ``Trainer(train_dataset=data, callbacks=[data])``; of an evaluation, ``eval_dataset``.

    The loader is that of all ranks, ``dp_rank=0, dp_world_size=1``, with the batch size of one device. The arguments
    need ``train_sampling_strategy="sequential"``, and ``dataloader_drop_last`` as the loader's ``drop_last``. A row is
    ``input_ids`` and ``labels`` of ``Batch.as_hf``, (max_length + 1,) int64 each; rows without a target fill up an
    evaluation's last step. Raises ``WindrowError``, here or as training begins, where other batches would be trained on
    than the loader has, ``ResumeError`` at another recipe, data, batch size, accumulation or number of ranks.
    """

    def __init__(self, loader: Loader) -> None:
        where, rank = loader.device, f"rank {loader.dp_rank} of {loader.dp_world_size}"
        _refuse(
            (loader.dp_world_size > 1, f"its loader is {rank}, and must have all: give it dp_rank=0, dp_world_size=1"),
            (loader.position > 0, "its loader has begun: give a new one, and resume by train(resume_from_checkpoint=)"),
            (where and where.type != "cpu", f"its loader's device is {where}: give it device=None"),
            (loader.batch_at(0, 1).outputs, "its loader's outputs do not go along with labels: give it none"),
        )
        self._loader = loader
        epoch = torch.tensor([0 if loader.is_evaluation else -1])  # none before the Trainer has called us
        self._epoch: Tensor = epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers outlive an epoch

    def __len__(self) -> int:
        num_samples = self._loader.epoch_samples
        step = self._loader.batch_size * (world_in_sight() or (1,))[0]
        return -(-num_samples // step) * step if self._loader.is_evaluation else num_samples

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._rows(range(len(self))[index], 1)[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """The rows of a whole batch, as torch's ``DataLoader`` asks for them."""
        first, count, size = indices[0], len(indices), self._loader.batch_size
        whole = list(indices) == list(range(first, first + count)) and (count == size or first + count == len(self))
        _refuse(
            (not whole, f"rows {brief(indices)} are no batch of {size}: give {_SEQUENTIAL} and that size"),
            (self._epoch < 0, "the Trainer has not called it: give callbacks=[data]; to evaluate, Loader.evaluation"),
        )
        return self._rows(first, count)

    def _rows(self, first: int, count: int) -> list[dict[str, Tensor]]:
        num_samples = self._loader.epoch_samples
        batch = self._loader.batch_at(max(int(self._epoch), 0) * num_samples + first, count)
        batch.targets[max(num_samples - first, 0) :] = IGNORE_INDEX
        arrays = {name: torch.as_tensor(value) for name, value in batch.as_hf().items()}  # (count, L + 1) each
        return [{name: array[row] for name, array in arrays.items()} for row in range(count)]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare the loader with the Trainer's arguments, and with the checkpoint that it goes on from."""
        sizes = replace(self._loader.sizes, dp_world_size=args.world_size)
        _check_arguments(args, sizes, resumed=state.global_step > 0)
        here = {name: getattr(args, name) for name in ("train_batch_size", "world_size", "gradient_accumulation_steps")}
        ours = {"sizes": here, "loader": self._loader.state_dict()}
        saved: Any = state.stateful_callbacks.get("windrow") if state.global_step else ours
        was = saved.get("sizes") if isinstance(saved, dict) else None
        if was != here:
            raise ResumeError(
                f"the checkpoint was saved with {brief(was)} (None: without callbacks=[data]), here is {here}: the "
                "Trainer counts steps, so it would go on with other samples. Resume with the sizes that were saved."
            )
        self._loader.load_state_dict(saved.get("loader"))
        state.stateful_callbacks["windrow"] = {**ours, "loader": self._loader.state_dict()}
        self._epoch[0] = state.global_step // -(-sizes.steps_per_epoch // args.gradient_accumulation_steps) - 1

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Go to the next epoch, as the Trainer does."""
        self._epoch += 1


def _check_arguments(args: Any, sizes: StepSizes, *, resumed: bool) -> None:
    """Raise ``WindrowError`` where ``args`` would not give steps of ``sizes``, one after another."""
    sizes.require_step()
    size, left, last = args.train_batch_size, sizes.epoch_samples % sizes.global_batch, args.dataloader_drop_last
    same_end = (sizes.tail, last) == ("drop", True) or (sizes.tail, last, args.world_size) == ("keep", False, 1)
    drop = "TrainingArguments(dataloader_drop_last=True) and Loader(..., epochs=1, drop_last=True)"
    _refuse(
        (size != sizes.batch_size, f"it takes {size} rows at a time, and the loader {sizes.batch_size}: give one size"),
        (args.train_sampling_strategy != "sequential", f"it would shuffle what is shuffled: give {_SEQUENTIAL}"),
        (left and not same_end, f"an epoch's last {left} samples fill no step of {sizes.global_batch}: give {drop}"),
        (resumed and args.ignore_data_skip, "ignore_data_skip=True would begin the epoch again: give False"),
    )


def _refuse(*found: tuple[Any, str]) -> None:
    """Raise ``WindrowError`` where something was found."""
    if wrong := [why for so, why in found if so]:
        raise WindrowError("the Trainer would train on other batches than this StreamDataset has: " + "; ".join(wrong))
