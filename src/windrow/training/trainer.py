"""Training a small GPT on a loader, so that it can stop anywhere and go on as if it had not.

Guarantee: a checkpoint holds all that the next step depends on (model, optimizer, random state, the loader's
position), so a run that was stopped and resumed has the losses and weights of one that was not, bit for bit on one
CPU. The loss of a step is the sum over the targets that count, divided by ``max(num_targets, 1)``, of all ranks, which
have the same weights. However training ends, its page says so. Cost: a checkpoint (``checkpoint.py``) every so often.
It does not do: mixed precision, or any loop but this one. Importing it imports torch.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from windrow.arrays import IGNORE_INDEX
from windrow.batches.batch import Batch
from windrow.errors import ResumeError, StoreError, TokenizerError
from windrow.gpt import GPT, GPTConfig
from windrow.loader.loader import Loader
from windrow.store.whole import append_whole, write_whole
from windrow.system import stop_signals
from windrow.training.checkpoint import CHECKPOINT, REMEDY, check_parts, read_checkpoint, write_checkpoint
from windrow.training.ranks import Ranks
from windrow.training.run import Run, Settings
from windrow.training.train_page import SECONDS, curve_of, write_train_page

__all__ = ["CURVE", "LOG", "Trainer", "model_config", "stop_asked", "train"]

LOG, CURVE = "log.jsonl", "loss.svg"
Row = dict[str, float]
_ROW = {"step": int, "loss": float, "lr": float, "tokens_per_second": float}


def train(trainer: "Trainer", *, on_step: Callable[[Row], None], should_stop: Callable[[], bool]) -> bool:
    """Train to the last step, with checkpoints, log and curve in the run's folder; True when it was reached.

    ``on_step`` gets each step's row: step, loss, lr, tokens_per_second and, where it was measured, what ``evaluate``
    returns.
    ``should_stop`` is asked after each step, and says the same on every rank; there the run has a checkpoint.
    """
    if trainer.ranks.dp_rank:
        while trainer.step < trainer.num_steps and not should_stop():
            trainer.take_step()
        return trainer.step >= trainer.num_steps
    every, log = trainer.run.settings.checkpoint_every, trainer.run.folder / LOG
    lines = "".join(map(_line, trainer.log)).encode()  # those after the checkpoint are done again
    write_whole(log, lambda file: file.write(lines))
    try:
        shown = trainer.write_page()
        while trainer.step < trainer.num_steps and not should_stop():
            row = trainer.take_step()
            append_whole(log, _line(row).encode())
            on_step(row)
            if time.perf_counter() - shown > SECONDS:
                shown = trainer.write_page()
            if trainer.step % every == 0 and trainer.step < trainer.num_steps:
                trainer.save()
        trainer.save()
    except BaseException:
        with suppress(OSError):  # a full disk, of which the error tells
            trainer.write_page(is_done=True)
        raise
    trainer.write_page(is_done=True)
    return trainer.step >= trainer.num_steps


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


class Trainer:
    """Model, optimizer and loader of a run. Making one seeds torch's global random state with the run's seed.

    Attributes: ``model``, ``ids`` (those it knows, int64), ``rows`` (the row of each id in it, -100
    where there is none), ``loader``, ``step`` (the number of the next step), ``num_steps`` (where training ends),
    ``log`` (a row a step). ``on_batch``, when set, gets ``(step, batch)`` before each step.
    """

    def __init__(self, run: Run, ranks: Ranks | None = None) -> None:
        self.run = run
        self.ranks: Ranks = (ranks := ranks or Ranks())
        self.loader: Loader = run.loader(**vars(ranks))
        self.valid: Loader | None = _valid_loader(run, ranks.device)
        self.num_steps: int = run.num_steps(self.loader)
        torch.manual_seed(run.settings.seed % 2**64)  # torch takes no more
        self.ids: Tensor = torch.from_numpy(run.ids).to(ranks.device)
        num_places = run.vocab_size - IGNORE_INDEX  # the last hundred, so that -100 stays -100
        self.rows: Tensor = torch.full((num_places,), IGNORE_INDEX, device=ranks.device)
        self.rows[self.ids] = torch.arange(len(self.ids), device=ranks.device)
        self.config: GPTConfig = model_config(run.settings, len(self.ids))
        self.model: GPT = GPT(self.config).to(ranks.device)
        self.optimizer: torch.optim.AdamW = _optimizer(self.model, run.settings.lr)
        self.step: int = 0
        self.log: list[Row] = []
        self.on_batch: Callable[[int, Batch], None] | None = None
        self._marks: list[tuple[float, str]] = []
        self._batches = iter(self.loader)

    @property
    def num_parameters(self) -> int:
        """Numbers that are learned; the tied head counts once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    # -- learning --------------------------------------------------------------------------------------------------

    def take_step(self) -> Row:
        """One batch, one update; and the valid loss after the first step, every ``eval_every`` and at the end."""
        start = time.perf_counter()
        batch, lr = next(self._batches), self.learning_rate(self.step)
        waited = time.perf_counter() - start
        if self.on_batch:
            self.on_batch(self.step, batch)
        num_targets = self.ranks.total(batch.num_targets)
        loss = self._update(batch, num_targets, lr)
        seconds = time.perf_counter() - start
        row: Row = {"step": self.step, "loss": loss, "lr": lr}
        row["tokens_per_second"] = round(num_targets / seconds, 1)
        row["wait_share"] = round(waited / seconds, 6)  # of the step's time, waiting for data
        done = self.step + 1
        if self.valid and (done in (1, self.num_steps) or done % self.run.settings.eval_every == 0):
            row |= self.evaluate()
        self.log.append(row)
        self.step = done
        return row

    def _update(self, batch: Batch, num_targets: float, lr: float) -> float:
        loss = self.model.loss_sum(*(self.rows[ids] for ids in batch)) / max(num_targets, 1)
        if not math.isfinite(value := self.ranks.total(loss.item())):
            raise ValueError(
                f"the loss of step {self.step} is {value}: training has diverged. The last checkpoint is from before; "
                f"start again with a smaller --lr (it was {self.run.settings.lr:g})."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.add_up(parameter.grad for parameter in self.model.parameters() if parameter.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        return value

    def learning_rate(self, step: int) -> float:
        """Up in a straight line over the first tenth (at most 100 steps), then down a cosine to a tenth."""
        warmup = min(100, max(1, self.num_steps // 10))
        if step < warmup:
            return self.run.settings.lr * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.num_steps - warmup))
        return self.run.settings.lr * (0.55 + 0.45 * math.cos(math.pi * done))

    @torch.no_grad()
    def evaluate(self) -> Row:
        """``valid_loss``, nats per target, and ``valid_bits_per_byte``; of a mixture ``valid_loss/NAME`` and so on too.

        They are of the first ``eval_batches`` valid batches, which the ranks share. A tokenizer that does not tell its
        bytes, or cannot be loaded, leaves the bits out.
        """
        assert self.valid is not None
        self.model.eval()
        sums = torch.zeros(len(self.valid.members), 3, dtype=torch.float64)  # nats, targets, bytes
        numbers = range(min(self.run.settings.eval_batches, len(self.valid)))
        for number in numbers[self.ranks.dp_rank :: self.ranks.dp_world_size]:
            batch = self.valid[number]
            all_bytes = (batch.outputs or {}).get("num_bytes", torch.zeros_like(batch.member_ids))
            for member in batch.member_ids.unique().tolist():
                rows = batch.member_ids == member
                nats = self.model.loss_sum(self.rows[batch.inputs[rows]], targets := self.rows[batch.targets[rows]])
                found = (nats, torch.count_nonzero(targets >= 0), all_bytes[rows].sum())
                sums[member] += torch.tensor([one.item() for one in found], dtype=torch.float64)
        self.model.train()
        self.ranks.add_up([sums])
        members = dict(zip((f"/{name}" for name in self.valid.members), sums, strict=True)) if len(sums) > 1 else {}
        row: Row = {}
        for name, (nats, num_targets, num_bytes) in {"": sums.sum(0), **members}.items():
            row |= {f"valid_loss{name}": float(nats / num_targets)} if num_targets else {}
            row |= {f"valid_bits_per_byte{name}": float(nats / math.log(2) / num_bytes)} if num_bytes else {}
        return row

    # -- stopping and going on ---------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write checkpoint and curve."""
        write_checkpoint(self.run.folder, self._parts())
        curve = curve_of(self.log, "Loss of the run", self._marks)
        write_whole(self.run.folder / CURVE, lambda file: file.write(curve.encode()))

    def _parts(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "config": asdict(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
            "loader": self.loader.state_dict(),
            "log": self.log,
        }

    def restore(self) -> None:
        """Go on from the run's checkpoint. Raises ``ResumeError`` when it is of another run, or damaged.

        A run that was stopped before its first checkpoint begins again.
        """
        content = read_checkpoint(self.run.folder, self.ranks.device)
        if content is None:
            if self.run.state is not None:
                self.run.loader(**vars(self.ranks)).load_state_dict(self.run.state)  # refuses other data
            return
        self._check(content)
        self.model.load_state_dict(content["model"])
        groups = self.optimizer.state_dict()["param_groups"]  # ours: the rate is set at each step, the rest is fixed
        self.optimizer.load_state_dict({"state": content["optimizer"]["state"], "param_groups": groups})
        torch.set_rng_state(content["random"]["cpu"].cpu())
        if content["random"]["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in content["random"]["cuda"]])
        self.step, self.log, self.num_steps = content["step"], content["log"], self.run.num_steps(self.loader)
        self._marks = [(self.step, "resumed")]
        self._batches = iter(self.loader)

    def _check(self, content: Mapping[str, Any]) -> None:
        """Raise ``ResumeError`` unless ``content`` fits; the loader takes its state here, for it checks it itself."""
        folder, here = self.run.folder, self._parts()
        here |= {"loader": dict, "random": {**here["random"], "cuda": [torch.Tensor]}, "log": [_ROW]}
        check_parts(folder, content, {**here, "model": dict, "optimizer": dict})
        try:
            self.loader.load_state_dict(content["loader"])
            _check_config(content["config"], here["config"])
        except ResumeError as error:
            raise ResumeError(f"{folder / CHECKPOINT}: {error}") from error
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments = [{"step": torch.tensor(0.0), "exp_avg": each, "exp_avg_sq": each} for each in parameters]
        state = dict(enumerate(moments)) if content["step"] else {}  # AdamW has none before its first step
        check_parts(folder, content, {**here, "optimizer": {"state": state, "param_groups": [dict]}})
        if not content["step"] == len(content["log"]) == self.loader.step:
            raise ResumeError(
                f"{folder / CHECKPOINT} is of step {content['step']}, its log of {len(content['log'])} steps and its "
                f"loader at step {self.loader.step}, and these are one number. {REMEDY}"
            )

    def write_page(self, *, is_done: bool = False) -> float:
        """Write ``train.html``; returns when, by ``time.perf_counter``."""
        write_train_page(self.run.folder, self.log, self.num_steps, marks=self._marks, is_done=is_done)
        return time.perf_counter()


def model_config(settings: Settings, vocab_size: int) -> GPTConfig:
    """The sizes of the model that ``settings`` ask for. Raises ``ValueError`` when they make no model."""
    return GPTConfig(vocab_size, settings.max_length, settings.width, settings.num_layers, settings.num_heads)


def _valid_loader(run: Run, device: str) -> Loader | None:
    try:
        return run.valid_loader(device, outputs=("member_ids", "num_bytes"))
    except (TokenizerError, StoreError):  # the tokens can be trained on without it
        return run.valid_loader(device, outputs=("member_ids",))


def _optimizer(model: GPT, lr: float) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def _check_config(saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    others = [f"  {name}: saved {saved[name]!r}, here {size!r}" for name, size in here.items() if saved[name] != size]
    if others:
        remedy = "Either give --resume without these flags, or start a new run with another --out."
        raise ResumeError("\n".join(["it is of a model with other sizes:", *others, remedy]))


@contextmanager
def stop_asked(trainer: Trainer, say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within, a first Ctrl-C or SIGTERM makes the yielded function true on all ranks and cuts no step in two.

    ``say`` gets the answer to it, at once; a second is raised.
    """
    seen = False

    def note(*_: object) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True
        with suppress(RuntimeError):  # it came while a message was being written
            say(f"finishing step {trainer.step + 1}; again to stop now")

    with stop_signals(note):
        yield lambda: trainer.ranks.total(seen) > 0
