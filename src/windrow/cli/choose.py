"""Which stores, sizes and loader the flags of a command mean: one answer for show, when, plan, check, report, bench.

Guarantee: a store with the flags of ``windrow train`` has the recipe that ``windrow train`` would have; a run has its
own. Nothing is written. Cost: importing it imports typer only.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from windrow.loader.loader import Loader
    from windrow.store.store import TokenStore
    from windrow.training.run import Run

__all__ = ["Chosen", "choose", "require_one"]


@dataclass(frozen=True)
class Chosen:
    """A run, or what a run over a store would be; its store to train on, and the loader of its batches.

    Of a store the loader is a pass that drops its tail, and ``num_steps`` is None; of a run the endless stream with
    the state of its last start, and ``num_steps`` are those of the whole run. ``num_epochs`` are rounded up.
    """

    run: "Run"
    train: "TokenStore"
    loader: "Loader"
    num_steps: int | None
    num_epochs: int

    @property
    def stores(self) -> "dict[str, TokenStore]":
        """Train and, where there is one, valid."""
        return {"train": self.train, **({"valid": self.run.valid.open()} if self.run.valid else {})}

    @property
    def recipe(self) -> str:
        """The recipe in a line."""
        from windrow.audit.sizes import recipe_line

        return recipe_line(json.loads(self.loader.recipe), self.loader.batch_size)


def choose(
    store: Path | None,
    run: Path | None,
    sizes: Mapping[str, Any],
    *,
    policy: str | None = None,
    mask_targets: str | None = None,
    tokenizer: str | None = None,
    **ranks: int | None,
) -> Chosen:
    """What these flags mean; ``sizes`` are the fields of ``Settings`` that were given."""
    from windrow.audit.sizes import loader_of
    from windrow.training.run import open_run

    require_one(store, run, {**sizes, **_given(policy=policy, mask_targets=mask_targets)})
    meant = open_run(run) if run else _run_over(store, sizes)
    settings, train = meant.settings, meant.train.open(tokenizer)
    options = {"dp_rank": 0, "dp_world_size": meant.dp_world_size, **_given(**ranks), "mask_targets": mask_targets}
    loader = loader_of(train, settings, policy or "concat", epochs=None if run else 1, **options)
    if meant.state:
        loader.load_state_dict(meant.state)
    num_steps = meant.num_steps(loader)
    num_samples = loader.position + (num_steps - loader.step) * loader.sizes.global_batch
    return Chosen(meant, train, loader, num_steps if run else None, math.ceil(num_samples / loader.epoch_samples))


def require_one(store: Path | None, run: Path | None, recipe: Mapping[str, Any]) -> None:
    """Raise ``typer.BadParameter`` unless one of ``store`` and ``run`` is named, and with a run no ``recipe``."""
    if (store is None) == (run is None):
        raise typer.BadParameter("give either STORE or --run PATH")
    if run and recipe:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in recipe)
        raise typer.BadParameter(f"{flags}: --run PATH says that already")


def _given(**flags: object) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _run_over(store: Path | None, sizes: Mapping[str, Any]) -> "Run":
    """What a run over the whole of ``store`` would be."""
    from windrow.training.run import Settings, run_of_store

    assert store is not None
    return run_of_store(store, Path(), Settings(**sizes), valid_fraction=0.0)
