"""The commands that say what a run will do, and whether it can be trusted: plan, check.

Guarantee: nothing is written, neither into a store nor into a run. Cost: importing it imports typer only. It does not
do: any work of its own; each command is a few calls of the library.
"""

import json
from dataclasses import replace
from typing import Any

import typer

from windrow.cli import options as o
from windrow.cli.choose import one_of, train_of
from windrow.cli.terminal import command, output_console
from windrow.shown import visible

__all__ = ["check", "plan"]


@command(interrupted="nothing was changed.")
def plan(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    policy: o.Policy = "concat",
    max_length: o.PlanMaxLength = None,
    stride: o.PlanStride = None,
    batch_size: o.PlanBatchSize = None,
    dp_world_size: o.DpWorldSize = 1,
    epochs: o.PlanEpochs = 1,
    steps: o.PlanSteps = None,
    seed: o.Seed = None,
    mask_targets: o.MaskTargets = None,
    as_json: o.AsJson = False,
) -> None:
    """Say before training what will be trained on, dropped, masked and padded, to the token.

    \b
    windrow plan corpus
    windrow plan corpus --max-length 1024 --batch-size 32 --dp-world-size 8 --policy pack
    windrow plan --run windrow-run
    """
    from windrow.audit.plan_page import print_plan, print_policies
    from windrow.audit.sizes import plan_of, plans_by_policy, suggest
    from windrow.cli.choose import of_run, plan_of_run

    sizes_given = {"max_length": max_length, "stride": stride, "batch_size": batch_size}
    one_of(store, run, [name for name, value in {**sizes_given, "seed": seed}.items() if value is not None])
    lines: list[str] = []
    if run:
        opened, sizes = of_run(run)
        made = plan_of_run(run, sizes)
    else:
        opened = train_of(store)
        sizes, lines = suggest(opened.num_tokens, dp_world_size, **sizes_given)
        sizes = replace(sizes, epochs=epochs, num_steps=steps, seed=seed or 0, mask_targets=mask_targets)
        made = plan_of(opened, policy, sizes)
    plans = plans_by_policy(opened, sizes)
    suggested = lines if None in sizes_given.values() else []
    if as_json:
        by_policy: dict[str, Any] = {n: each if isinstance(each, str) else each.to_json() for n, each in plans.items()}
        typer.echo(json.dumps({"suggested": suggested, "plan": made.to_json(), "policies": by_policy}, indent=1))
        return
    console = output_console()
    for line in suggested:
        console.print(f"suggested: {line}", soft_wrap=True)
    console.print(f"policy {policy} of {visible(str(store or run))}", soft_wrap=True)
    print_plan(console, made)
    print_policies(console, plans)


@command(interrupted="nothing was changed.")
def check(
    store: o.CheckStore = None,
    run: o.RunPath = None,
    tokenizer: o.CheckTokenizer = None,
    max_length: o.PlanMaxLength = None,
    stride: o.PlanStride = None,
    batch_size: o.PlanBatchSize = None,
    seed: o.Seed = None,
    as_json: o.AsJson = False,
) -> None:
    """Look for sixteen silent bugs in a store and its batches; print a certificate, exit 1 if one is found.

    \b
    windrow check corpus
    windrow check train.bin --tokenizer gpt2 --json
    windrow check --run windrow-run
    """
    from windrow.audit.check import certify, print_certificate
    from windrow.cli.choose import of_run

    sizes: dict[str, Any] = {"max_length": max_length, "stride": stride, "batch_size": batch_size, "seed": seed}
    one_of(store, run, [name for name, value in sizes.items() if value is not None])
    if run:
        opened, of = of_run(run)
        store = opened.path
        sizes = {name: getattr(of, name) for name in sizes}
    assert store is not None
    made = certify(store, tokenizer=tokenizer, **{**sizes, "seed": sizes["seed"] or 0})
    if as_json:
        typer.echo(json.dumps(made.to_json(), indent=1))
    else:
        print_certificate(output_console(), made)
    if not made.ok:
        raise SystemExit(1)
