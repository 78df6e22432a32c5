"""Which store, run and loader the flags of a command mean.

Guarantee: nothing is written. Cost: importing it imports typer only.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from windrow.audit.plan import Plan
    from windrow.audit.sizes import Sizes
    from windrow.loader.loader import Loader
    from windrow.store.store import TokenStore
    from windrow.training.run import Run

__all__ = ["epochs_of", "loader_of", "of_run", "one_of", "plan_of_run", "train_of"]


def of_run(path: Path) -> "tuple[TokenStore, Sizes]":
    """Store and sizes of the run in the folder ``path``."""
    from windrow.audit.sizes import Sizes
    from windrow.training.run import open_run

    run = open_run(path)
    settings = run.settings
    steps = settings.steps or math.ceil(settings.epochs * len(run.loader(dp_rank=0, dp_world_size=1)))
    lengths = (settings.max_length, settings.resolved_stride, settings.batch_size)
    return run.train.open(), Sizes(*lengths, num_steps=steps, seed=settings.seed)


def plan_of_run(path: Path, sizes: "Sizes") -> "Plan":
    """The plan of the run in the folder ``path``, whose batches straddle epochs."""
    from windrow.audit.plan import plan
    from windrow.training.run import open_run

    return plan(open_run(path).loader(dp_rank=0, dp_world_size=1), num_steps=sizes.num_steps)


def epochs_of(run: "Run", loader: "Loader") -> int:
    """Epochs that the run trains in all, rounded up."""
    steps = run.settings.steps
    samples = loader.batch_size * loader.dp_world_size
    return math.ceil(steps * samples / loader.epoch_samples) if steps else math.ceil(run.settings.epochs)


def loader_of(
    store: Path | None, run: Path | None, sizes: dict[str, Any], dp_rank: int, dp_world_size: int
) -> "tuple[Run, Loader]":
    """The run at ``run``, or what a run over ``store`` with these sizes would be; and its loader."""
    from windrow.training.run import Settings, open_run, run_of_store

    given = {name: value for name, value in sizes.items() if value is not None}
    if (store is None) == (run is None):
        raise typer.BadParameter("give either STORE or --run PATH")
    if run and given:
        raise typer.BadParameter(f"{', '.join(given)}: --run PATH says that already")
    if run:
        chosen = open_run(run)
    else:
        assert store is not None
        chosen = run_of_store(store, Path(), Settings(**given), valid_fraction=0.0)
    loader = chosen.loader(endless=run is not None, dp_rank=dp_rank, dp_world_size=dp_world_size)
    if chosen.state:
        loader.load_state_dict(chosen.state)
    return chosen, loader


def one_of(store: Path | None, run: Path | None, given: list[str]) -> None:
    if (store is None) == (run is None):
        raise typer.BadParameter("give either STORE or --run PATH")
    if run and given:
        raise typer.BadParameter(f"{', '.join(given)}: --run PATH says that already")


def train_of(store: Path | None) -> "TokenStore":
    """The store at this path, or of a folder with several the one to train on."""
    from windrow.store.store import open_splits

    assert store is not None
    return next(iter(open_splits(store).values()))
