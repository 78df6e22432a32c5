"""The commands that say what a run will do, and whether it can be trusted: plan, check.

Guarantee: nothing is written, neither into a store nor into a run. Cost: importing it imports typer only. It does not
do: any work of its own; each command is a few calls of the library.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windrow.terminal import command, output_console, visible

if TYPE_CHECKING:
    from windrow.store import TokenStore

__all__ = ["plan"]


class PolicyName(StrEnum):
    concat = "concat"
    pad = "pad"
    pack = "pack"
    bos = "bos"


class MaskName(StrEnum):
    document_edges = "document_edges"


Store = Annotated[
    Path | None, typer.Argument(metavar="STORE", help="A store; of a folder with train and valid, train.")
]
RunPath = Annotated[Path | None, typer.Option(help="Take store, recipe and sizes from this run.", metavar="PATH")]
Policy = Annotated[PolicyName, typer.Option(help="How documents become rows.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Inputs in a window.", metavar="TOKENS", show_default="what fits the text")
]
Stride = Annotated[
    int | None,
    typer.Option(help="From one window's start to the next.", metavar="TOKENS", show_default="what fits the text"),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Windows in a batch.", metavar="SAMPLES", show_default="what fits the text")
]
Ranks = Annotated[int, typer.Option(help="Ranks that share a step.", metavar="RANKS", min=1)]
Seed = Annotated[int, typer.Option(help="What the shuffle is keyed by.", metavar="NUMBER")]
Mask = Annotated[MaskName | None, typer.Option(help="Targets that shall not count.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@command(interrupted="nothing was changed.")
def plan(
    store: Store = None,
    run: RunPath = None,
    policy: Policy = PolicyName.concat,
    max_length: MaxLength = None,
    stride: Stride = None,
    batch_size: BatchSize = None,
    dp_world_size: Ranks = 1,
    epochs: Annotated[int, typer.Option(help="Epochs of training.", metavar="EPOCHS", min=1)] = 1,
    steps: Annotated[
        int | None, typer.Option(help="Or so many steps.", metavar="STEPS", min=1, show_default="all of the epochs")
    ] = None,
    seed: Seed = 0,
    mask_targets: Mask = None,
    as_json: AsJson = False,
) -> None:
    """Say before training what will be trained on, dropped, masked and padded, to the token.

    \b
    windrow plan corpus
    windrow plan corpus --max-length 1024 --batch-size 32 --dp-world-size 8 --policy pack
    windrow plan --run windrow-run
    """
    from dataclasses import replace

    from windrow.plan import plan as plan_loader
    from windrow.plan_page import of_run, plan_of, plans_by_policy, print_plan, print_policies, suggest

    given = {"max_length": max_length, "stride": stride, "batch_size": batch_size}
    _one_of(store, run, [name for name, value in given.items() if value])
    if run:
        opened, loader, sizes = of_run(run)
        lines: list[str] = []
        made = plan_loader(loader, num_steps=sizes.num_steps)
    else:
        opened = _train_of(store)
        sizes, lines = suggest(opened.num_tokens, dp_world_size, **given)
        sizes = replace(
            sizes, epochs=epochs, num_steps=steps, seed=seed, mask_targets=mask_targets and str(mask_targets)
        )
        made = plan_of(opened, policy.value, sizes)
    plans = plans_by_policy(opened, sizes)
    lines = [] if all(given.values()) else lines
    if as_json:
        by_policy = {name: each if isinstance(each, str) else each.to_json() for name, each in plans.items()}
        typer.echo(json.dumps({"suggested": lines, "plan": made.to_json(), "policies": by_policy}, indent=1))
        return
    console = output_console()
    for line in lines:
        console.print(f"suggested: {line}", soft_wrap=True)
    console.print(f"policy {policy.value} of {visible(str(store or run))}", soft_wrap=True)
    print_plan(console, made)
    console.print()
    print_policies(console, plans)


def _one_of(store: Path | None, run: Path | None, given: list[str]) -> None:
    if (store is None) == (run is None):
        raise typer.BadParameter("give either STORE or --run PATH")
    if run and given:
        raise typer.BadParameter(f"{', '.join(given)}: --run PATH says that already")


def _train_of(store: Path | None) -> "TokenStore":
    """The store at this path, or of a folder with several the one to train on."""
    from windrow.show import open_splits

    assert store is not None
    stores = open_splits(store)
    return stores.get("train") or next(iter(stores.values()))
