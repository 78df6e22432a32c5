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

from windrow.cli.options import TokenKind
from windrow.shown import visible

if TYPE_CHECKING:
    from windrow.loader.loader import Loader
    from windrow.store.store import TokenStore
    from windrow.training.run import Run

__all__ = ["Chosen", "by_purpose", "choose", "require_one"]


@dataclass(frozen=True)
class Chosen:
    """A run, or what a run over a store would be, and the loader of its batches.

    Of a store the loader is a pass that drops its tail; of a run it is as its file says, and stands where its state
    stood. ``num_steps`` are those of a run of ``windrow train``, else None; ``num_epochs``, rounded up, end with them,
    or where the loader stands. ``python`` makes the loader.
    """

    run: "Run"
    loader: "Loader"
    num_steps: int | None
    num_epochs: int
    python: str

    @property
    def train(self) -> "TokenStore":
        """The store that is trained on; of a mixture, the first member's."""
        return next(iter(self.loader.members.values())).store

    @property
    def paths(self) -> str:
        """Where the stores lie."""
        return ", ".join(dict.fromkeys(str(member.store.path) for member in self.loader.members.values()))

    @property
    def recipe(self) -> str:
        """The recipe in a line."""
        from windrow.audit.sizes import recipe_line

        return visible(recipe_line(json.loads(self.loader.recipe), self.loader.batch_size))


def choose(
    store: Path | None,
    run: Path | None,
    sizes: Mapping[str, Any],
    *,
    state: str | None = None,
    mask_targets: str | None = None,
    tokenizer: str | None = None,
    **ranks: int | None,
) -> Chosen:
    """What these flags mean; ``sizes`` are the fields of ``Settings`` that were given."""
    from windrow.audit.sizes import python_line
    from windrow.runs.past import read_past
    from windrow.training.run import Settings, open_run, run_of_store

    require_one(store, run, {**sizes, **_given(mask_targets=mask_targets)})
    if state and not run:
        raise typer.BadParameter("--state FILE is where a run stood: give its --run PATH")
    if run:
        meant = open_run(run)
    else:
        assert store is not None
        kind, given = by_purpose(sizes)
        options: dict[str, Any] = {"epochs": 1, "kind": kind, **_given(mask_targets=mask_targets)}
        meant = run_of_store(store, Path(), Settings(**given), valid_fraction=0.0, **options)
    loader = meant.loader(tokenizer=tokenizer, outputs=(), **{"dp_rank": 0, **_given(**ranks)})
    past = read_past(state) if state else meant.state
    if past:
        loader.load_state_dict(past)
    python = f"windrow.open_run({', '.join(repr(str(each)) for each in (run, state) if each)})"
    num_steps = meant.num_steps(loader) if meant.state else None
    to_come = (num_steps - loader.step) * loader.sizes.global_batch if num_steps else 0
    num_epochs = max(1, math.ceil((loader.position + to_come) / loader.epoch_samples))
    return Chosen(meant, loader, num_steps, num_epochs, python if run else python_line(loader))


def by_purpose(flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of ``flags`` those that say what token files are, and the others: fields of ``Settings``."""
    kind = {name: value for name, value in flags.items() if name in TokenKind.__annotations__}
    return kind, {name: value for name, value in flags.items() if name not in kind}


def require_one(store: Path | None, run: Path | None, recipe: Mapping[str, Any]) -> None:
    """Raise ``typer.BadParameter`` unless one of ``store`` and ``run`` is named, and with a run no ``recipe``."""
    if (store is None) == (run is None):
        raise typer.BadParameter("give either STORE or --run PATH")
    if run and recipe:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in recipe)
        raise typer.BadParameter(f"{flags}: --run PATH says that already")


def _given(**flags: object) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}
