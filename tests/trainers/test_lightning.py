"""Lightning's Trainer with the data module: each kind of checkpoint, validation, ranks, other sizes, wrong use."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer_helpers import VOCAB_SIZE, cases, digest, run_ranks, stream_digests, toy_loader, toy_windows
from windrow import Loader
from windrow.errors import ResumeError, WindrowError

pytest.importorskip("lightning")

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint

from windrow.trainers.lightning import WindrowDataModule

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Lightning advises on workers, devices and folders
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
EPOCHS, STEPS = 3, 150  # 50 steps an epoch


class Toy(lightning.LightningModule):
    """A bigram model that keeps what it received; its step ``fails_at`` raises."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Embedding(VOCAB_SIZE, 8), torch.nn.Linear(8, VOCAB_SIZE))
        self.fails_at = fails_at
        self.received: list[str] = []
        self.validated: list[list[str]] = []

    def training_step(self, batch: Any, _: int) -> Any:
        if len(self.received) == self.fails_at:
            raise ArithmeticError("this step fails")
        self.received.append(digest(*batch))
        return torch.nn.functional.cross_entropy(self.net(batch.inputs).flatten(0, 1), batch.targets.flatten())

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])

    def validation_step(self, batch: Any, _: int) -> None:
        self.validated[-1].append(digest(*batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.01)


def trainer(folder: Path, **kwargs: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    place = {"default_root_dir": folder, "accelerator": "cpu", "devices": 1}
    return lightning.Trainer(**{"max_epochs": EPOCHS, "enable_checkpointing": False, **quiet, **place, **kwargs})


def module(**kwargs: Any) -> WindrowDataModule:
    return WindrowDataModule(lambda **rank: toy_loader(**rank, **kwargs), evaluation)


def evaluation(**rank: int) -> Loader:
    return Loader.evaluation(toy_windows(1, 41), 4, device="cpu", **rank)


def weights_of(model: Any) -> list[Any]:
    return [tensor.tolist() for tensor in model.state_dict().values()]


class Fails(Callback):
    """Raises after the batch ``at`` was trained."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Any, model: Any, *_: Any) -> None:
        if len(model.received) == self.at:
            raise ArithmeticError("a callback fails")


# How a run is stopped: Trainer's arguments, the step that fails, the checkpoint's file, and the batches it has learned
# from with gradients accumulated over 1 and over 4. None is the file saved after fit.
KINDS: dict[str, tuple[Callable[[Path], dict[str, Any]], int | None, str | None, tuple[int, int]]] = {
    "every n steps": (
        lambda folder: {"callbacks": [kept(folder, every_n_train_steps=5)], "max_steps": 12},
        None,
        "step=5.ckpt",
        (5, 20),
    ),
    "the epoch's last batch by n steps": (
        lambda folder: {"callbacks": [kept(folder, every_n_train_steps=1)], "max_steps": 60},
        None,
        "epoch=0.ckpt",
        (50, 50),
    ),
    "ModelCheckpoint's defaults": (lambda folder: {"callbacks": [kept(folder)]}, None, "epoch=0.ckpt", (50, 50)),
    "save_on_train_epoch_end": (
        lambda folder: {"callbacks": [kept(folder, save_on_train_epoch_end=True)]},
        None,
        "epoch=1.ckpt",
        (100, 100),
    ),
    "after fit by max_steps": (lambda folder: {"max_steps": 11}, None, None, (11, 44)),
    "after fit by max_epochs": (lambda folder: {"max_epochs": 1}, None, None, (50, 50)),
    "OnException after a step": (
        lambda folder: {"callbacks": [OnExceptionCheckpoint(folder), Fails(23)]},
        None,
        "on_exception.ckpt",
        (23, 20),
    ),
    "exception inside a step": (
        lambda folder: {"callbacks": [OnExceptionCheckpoint(folder)]},
        23,
        "on_exception.ckpt",
        (23, 20),
    ),
    "exception inside an epoch's last step": (
        lambda folder: {"callbacks": [OnExceptionCheckpoint(folder)]},
        49,
        "on_exception.ckpt",
        (49, 48),
    ),
    "exception inside an epoch's first step": (
        lambda folder: {"callbacks": [OnExceptionCheckpoint(folder)]},
        50,
        "on_exception.ckpt",
        (50, 50),
    ),
}


def kept(folder: Path, **kwargs: Any) -> Any:
    """A ModelCheckpoint that keeps all: by epoch, or the first of each number of steps."""
    by_steps = kwargs.get("every_n_train_steps", 1) > 1
    name = "{step}" if by_steps else "{epoch}"
    return ModelCheckpoint(folder, name, save_top_k=-1, enable_version_counter=False, **kwargs)


@pytest.mark.parametrize(
    ("kind", "accumulate", "validates"), cases(kind=[*KINDS], accumulate=[1, 4], validates=[True, False])
)
def test_whatever_the_checkpoint_is_of_the_resumed_run_is_the_uninterrupted_one(
    kind: str, accumulate: int, validates: bool, tmp_path: Path
) -> None:
    given, fails_at, file, learned = KINDS[kind]
    common: dict[str, Any] = {"accumulate_grad_batches": accumulate, "limit_val_batches": 3 if validates else 0}
    if kind == "after fit by max_steps":  # Lightning holds the epoch to be over, but where steps are counted again
        common |= {"max_epochs": -1, "max_steps": STEPS if accumulate == 1 else EPOCHS * 13}
    stopped, rest, whole = Toy(fails_at), Toy(), Toy()
    first = trainer(tmp_path, **{**common, "enable_checkpointing": bool(file), **given(tmp_path)})
    try:
        first.fit(stopped, datamodule=module())
    except ArithmeticError:
        assert file == "on_exception.ckpt"
    path = tmp_path / (file or "after.ckpt")
    if not file:
        first.save_checkpoint(path)
    trainer(tmp_path, **common).fit(rest, datamodule=module(), ckpt_path=path)
    trainer(tmp_path, **common).fit(whole, datamodule=module())
    num_learned = learned[accumulate != 1]
    assert whole.received == stream_digests(STEPS)
    assert stopped.received[:num_learned] + rest.received == whole.received
    assert weights_of(rest) == weights_of(whole)


def test_sanity_steps_and_limits_leave_every_validation_the_same(tmp_path: Path) -> None:
    whole = [digest(*batch) for batch in evaluation()]
    model = Toy()
    trainer(tmp_path, max_epochs=3, num_sanity_val_steps=2, limit_val_batches=5).fit(model, datamodule=module())
    assert model.validated == [whole[:2], whole[:5], whole[:5], whole[:5]]
    model = Toy()
    one, data = trainer(tmp_path, max_epochs=2, num_sanity_val_steps=2), module()
    one.fit(model, datamodule=data)
    one.validate(model, datamodule=data)
    assert model.validated == [whole[:2], whole, whole, whole]
    assert model.received == stream_digests(100)


def test_a_second_fit_of_one_module_goes_on_with_the_stream(tmp_path: Path) -> None:
    data, first, second = module(), Toy(), Toy()
    trainer(tmp_path, max_steps=23).fit(first, datamodule=data)
    trainer(tmp_path, max_steps=40).fit(second, datamodule=data)
    assert first.received + second.received == stream_digests(63)


def test_a_loader_made_anew_for_every_epoch_goes_on_with_the_stream(tmp_path: Path) -> None:
    made = []

    def train(**rank: int) -> Loader:
        made.append(toy_loader(**rank))
        return made[-1]

    model = Toy()
    trainer(tmp_path, reload_dataloaders_every_n_epochs=1).fit(model, datamodule=WindrowDataModule(train))
    assert len(made) == EPOCHS
    assert model.received == stream_digests(STEPS)


def test_half_an_epoch_of_lightning_s_is_half_an_epoch_of_the_stream(tmp_path: Path) -> None:
    model = Toy()
    trainer(tmp_path, limit_train_batches=0.5).fit(model, datamodule=module())
    assert model.received == stream_digests(75)


def saved(folder: Path, step: int, **kwargs: Any) -> Path:
    """The checkpoint of ``step`` of a run in batches of 4."""
    every = kept(folder, every_n_train_steps=step)
    trainer(folder, max_steps=step, callbacks=[every], enable_checkpointing=True).fit(
        Toy(), datamodule=module(**kwargs)
    )
    return folder / f"step={step}.ckpt"


def rows(num_samples: int, skipped: int, **kwargs: Any) -> list[str]:
    """The digests, row by row, of the stream's samples from ``skipped`` on."""
    loader = toy_loader(**{"epochs": None, **kwargs, "batch_size": 1})
    return [digest(*loader[step]) for step in range(skipped, skipped + num_samples)]


class ByRow(Toy):
    """A ``Toy`` that keeps each row that it received."""

    def training_step(self, batch: Any, _: int) -> Any:
        self.received += [digest(*row) for row in zip(batch.inputs, batch.targets, strict=True)]
        return self.net(batch.inputs).mean()


def test_an_endless_stream_goes_on_in_other_batch_sizes(tmp_path: Path) -> None:
    model = ByRow()
    path = saved(tmp_path, 23, epochs=None)
    trainer(tmp_path, max_steps=63).fit(model, datamodule=module(epochs=None, batch_size=7), ckpt_path=path)
    assert model.received == rows(40 * 7, 23 * 4)


def test_an_epoch_goes_on_in_other_batch_sizes_and_lightning_s_epochs_are_the_stream_s(tmp_path: Path) -> None:
    model, data = ByRow(), module(batch_size=8)
    trainer(tmp_path, max_epochs=2).fit(model, datamodule=data, ckpt_path=saved(tmp_path, 23))
    assert model.received[: 13 * 8] == rows(13 * 8, 23 * 4)  # 111 samples are left, and 7 of them fill no step
    assert model.received[13 * 8 :] == rows(25 * 8, 203)


def two_ranks(folder: Path, strategy: str) -> list[str]:
    """What each of two ranks wrote."""
    return [(folder / f"{strategy}-{rank}").read_text() for rank in range(2)]


EACH_RANK = [" ".join(stream_digests(11, epochs=None, dp_rank=rank, dp_world_size=2)) for rank in range(2)]
RANKS = Path(__file__).with_name("lightning_ranks.py")


def test_one_rank_goes_on_where_two_by_ddp_have_stopped(tmp_path: Path) -> None:
    run_ranks(2, RANKS, "ddp", tmp_path)
    assert two_ranks(tmp_path, "ddp") == EACH_RANK
    model, data = ByRow(), module(epochs=None, batch_size=3)
    trainer(tmp_path, max_steps=41).fit(model, datamodule=data, ckpt_path=tmp_path / "two.ckpt")
    assert model.received == rows(30 * 3, 11 * 8)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_that_lightning_makes_have_ranks_and_a_loader_made_before_them_is_refused(
    strategy: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(RANKS), strategy, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert two_ranks(tmp_path, strategy) == EACH_RANK


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ({"train": toy_loader()}, "train"),
        ({"train": lambda **rank: toy_loader(dp_rank=0, dp_world_size=2)}, "train"),
        ({"train": lambda **rank: toy_loader(**rank).dataloader()}, "train"),
        ({"train": toy_loader, "valid": evaluation()}, "valid"),
    ],
)
def test_what_makes_no_loader_of_the_rank_is_refused_with_what_to_give(
    made: dict[str, Any], name: str, tmp_path: Path
) -> None:
    message = rf"{name} is .*must be a function that makes a Loader of {{'dp_rank': 0, .*Use {name}=lambda \*\*rank: "
    with pytest.raises(WindrowError, match=message):
        trainer(tmp_path).fit(Toy(), datamodule=WindrowDataModule(**made))


class Other(WindrowDataModule):
    """Lightning keeps states by the name of the class."""


def test_a_checkpoint_without_the_module_s_state_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, 50)
    with pytest.raises(ResumeError, match=r"no state of this class of data module\. Resume with the one that saved it"):
        trainer(tmp_path).fit(Toy(), datamodule=Other(toy_loader), ckpt_path=path)


def test_a_state_that_is_none_and_one_of_another_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data module's state has no done"):
        module().load_state_dict({"loader": {}})
    with pytest.raises(ResumeError, match="recipe"):
        trainer(tmp_path).fit(Toy(), datamodule=module(seed=8), ckpt_path=saved(tmp_path, 3))
