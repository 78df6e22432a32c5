"""windrow's batches in Lightning: a data module that makes loaders once ranks are known, and whose state comes back.

Guarantee: after any stop comes the batch after the last one that the checkpoint's weights have learned from. Lightning
gives back a data module's state always, and that of a loader only in the middle of an epoch.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lightning.pytorch import LightningDataModule

from windrow.batches.batch import Batch
from windrow.errors import ResumeError, WindrowError, brief, require_shape
from windrow.loader.loader import Loader

__all__ = ["WindrowDataModule"]


class WindrowDataModule(LightningDataModule):  # type: ignore[misc]  # Any, where Lightning is not installed
    """The batches of ``train(**rank)``, and for validation those of ``valid(**rank)``, a ``Loader.evaluation``.

    Both make a loader of the ``dp_rank`` and ``dp_world_size`` they are given, whenever Lightning asks; the stream of
    ``train`` goes on over all fits of one module. A checkpoint amid accumulated gradients, which Lightning does not
    save, is of the batch that began them. ``fit`` raises ``WindrowError`` for other functions.
    """

    def __init__(self, train: Callable[..., Loader], valid: Callable[..., Loader] | None = None) -> None:
        super().__init__()
        self._train, self._valid = train, valid
        self._steps: _Steps | None = None
        self._state: dict[str, Any] = {"loader": {}, "done": 0}  # what the next loader goes on from

    def train_dataloader(self) -> "_Steps":
        loader, state = self._made("train", self._train), self.state_dict()
        if state["loader"]:
            loader.load_state_dict(state["loader"])
        if self.trainer.fit_loop.is_resuming:
            _count_on(self.trainer.fit_loop.epoch_loop.batch_progress, loader, state)
        self._steps = _Steps(loader, self.trainer)
        return self._steps

    def val_dataloader(self) -> Loader | list[Any]:
        return self._made("valid", self._valid) if self._valid else []

    def state_dict(self) -> dict[str, Any]:
        """The loader's state, and how many batches of Lightning's epoch are done."""
        return self._steps.learned() if self._steps else self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        require_shape(state, {"loader": dict, "done": int}, "the data module's state")
        self._state, self._steps = dict(state), None

    def _made(self, name: str, make: Callable[..., Loader]) -> Loader:
        ranks = self.trainer.distributed_sampler_kwargs or {"rank": 0, "num_replicas": 1}
        rank = {"dp_rank": ranks["rank"], "dp_world_size": ranks["num_replicas"]}
        made = make(**rank) if callable(make) else None
        if not isinstance(made, Loader) or (made.dp_rank, made.dp_world_size) != tuple(rank.values()):
            raise WindrowError(
                f"{name} is {brief(make)}, and it must be a function that makes a Loader of {rank}: ranks are known "
                f"only when Lightning runs. Use {name}=lambda **rank: Loader(..., **rank)."
            )
        return made


class _Steps:
    """What Lightning trains on: the batches of a loader, and where the gradients of now began."""

    def __init__(self, loader: Loader, trainer: Any) -> None:
        self._loader, self._trainer = loader, trainer
        self._progress = trainer.fit_loop.epoch_loop.batch_progress.current
        self._begun = {**self._now(), "step": -1}

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        now = self._now()
        for batch in self._loader:
            if self._begun["step"] < 0 or now["done"] % self._trainer.accumulate_grad_batches == 0:
                self._begun = now
            yield batch
            now = self._now()

    def learned(self) -> dict[str, Any]:
        """The state after the last batch whose gradient the weights have taken."""
        now, done = self._now(), self._progress.processed
        whole = done == now["done"] and done % self._trainer.accumulate_grad_batches == 0
        return now if whole or now["step"] != self._begun["step"] else self._begun

    def _now(self) -> dict[str, Any]:
        return {"loader": self._loader.state_dict(), "done": self._progress.ready, "step": self._trainer.global_step}


def _count_on(progress: Any, loader: Loader, state: Mapping[str, Any]) -> None:
    """Let Lightning count the batches of an epoch on from ``state``, or in ``loader``'s sizes where it had others."""
    if progress.total.ready and not state["loader"]:
        raise ResumeError(
            "the checkpoint has no state of this class of data module. Resume with the one that saved it."
        )
    done, sizes = state["done"], loader.sizes
    if loader.position % loader.epoch_samples and loader.state_dict() != state["loader"]:
        done = len(loader) - sizes.steps_in(sizes.left(loader.position))
    if progress.current.processed != done:
        for counts in (progress.total, progress.current):
            whole = counts.ready - progress.current.ready + done
            counts.ready = counts.started = counts.processed = counts.completed = whole
