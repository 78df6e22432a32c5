"""The commands that say what a run will do, and whether it can be trusted and kept up with: plan, check, bench.

Guarantee: nothing is written, neither into a store nor into a run. Cost: importing it imports typer only. It does not
do: any work of its own; each command is a few calls of the library.
"""

import json
from typing import TYPE_CHECKING, Any, Unpack

import typer

from windrow.cli import options as o
from windrow.cli.choose import by_purpose, choose, require_one
from windrow.cli.terminal import command, output_console
from windrow.shown import visible

if TYPE_CHECKING:
    from windrow.loader.loader import Loader

__all__ = ["bench", "check", "plan"]


@command(interrupted="nothing was changed.")
def plan(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    state: o.State = None,
    dp_world_size: o.DpWorldSize = None,
    epochs: o.PlanEpochs = None,
    steps: o.PlanSteps = None,
    mask_targets: o.MaskTargets = None,
    as_json: o.AsJson = False,
    **sizes: Unpack[o.ModelSizes],
) -> None:
    """Say, to the token, what will be trained on, dropped and masked.

    \b
    windrow plan corpus
    windrow plan corpus --max-length 1024 --dp-world-size 8 --policy pack
    windrow plan corpus --width 768 --num-layers 12
    windrow plan --run windrow-run
    """
    from windrow.audit.plan import plan as plan_of
    from windrow.audit.plan_page import fresh_documents, print_memory, print_plan, print_policies
    from windrow.audit.sizes import plans_by_policy, step_memory, suggest

    chosen = choose(store, run, sizes, state=state, mask_targets=mask_targets, dp_world_size=dp_world_size)
    until: dict[str, Any] = {"epochs": epochs or 1, "num_steps": steps or (None if epochs else chosen.num_steps)}
    made, num_ranks = plan_of(chosen.loader, **until), chosen.loader.dp_world_size
    options: dict[str, Any] = {"dp_rank": 0, "dp_world_size": num_ranks, "mask_targets": chosen.loader.mask_targets}
    settings, memory = chosen.run.settings, None
    is_one = len(chosen.loader.members) == 1
    known: dict[str, Any] = {settings.policy: made}
    plans = plans_by_policy(chosen.train, settings, known, until, **options) if is_one else {}
    if chosen.num_steps or {"width", "num_layers"} & {*sizes}:
        memory = step_memory(settings, len(chosen.run.ids), settings.width, settings.num_layers)
    lengths: dict[str, Any] = {name: sizes.get(name) for name in ("max_length", "stride", "batch_size")}
    suggested = []
    if store and None in lengths.values():
        suggested = suggest(chosen.train.num_tokens, num_ranks, **lengths)[1]
    suggested += fresh_documents(chosen.loader, made)
    if as_json:
        by_policy: dict[str, Any] = {n: each if isinstance(each, str) else each.to_json() for n, each in plans.items()}
        facts = {"suggested": suggested, "plan": made.to_json(), "policies": by_policy, "memory": memory}
        typer.echo(json.dumps(facts, indent=1))
        return
    console = output_console()
    console.print(f"plan of {visible(chosen.paths)}", soft_wrap=True)
    console.print(f"recipe: {chosen.recipe}", soft_wrap=True)
    console.print(f"in Python: {chosen.python}", soft_wrap=True)
    print_plan(console, made)
    if plans:
        print_policies(console, plans)
    if memory:
        said = f"width {settings.width:,}, {settings.num_layers:,} layers, vocabulary {len(chosen.run.ids):,}"
        print_memory(console, memory, said)
    for line in suggested:
        console.print(line, soft_wrap=True)


@command(interrupted="nothing was changed.")
def check(
    store: o.CheckStore = None,
    run: o.RunPath = None,
    tokenizer: o.CheckTokenizer = None,
    verbose: o.Verbose = False,
    as_json: o.AsJson = False,
    **sizes: Unpack[o.Sizes],
) -> None:
    """Look for eighteen silent bugs; exit code 1 if one is found.

    Each check prints a line that says what is well. FAILED comes with what was seen and what to do, "-" with why the
    check cannot be made, and advice with what could be better.

    \b
    windrow check corpus
    windrow check corpus --verbose
    windrow check train.bin --dtype uint16 --tokenizer gpt2 --json
    windrow check --run windrow-run
    """
    from windrow.audit.check import certify, certify_loader, print_certificate
    from windrow.audit.sizes import RunSizes

    require_one(store, run, sizes)
    kind, given = by_purpose(sizes)
    meant, parts = RunSizes(**given), dict[str, Any]()
    if store:
        made = certify(store, meant, tokenizer=tokenizer, **kind)
    else:
        chosen = choose(None, run, sizes, tokenizer=tokenizer)
        loader, valid, meant = chosen.loader, chosen.run.valid_loader(), chosen.run.settings
        made = certify_loader(loader, valid, subject=chosen.paths, tokenizer=tokenizer)
        parts = {f"train {name}".strip(): member.store for name, member in loader.members.items()}
        parts |= {f"valid {name}".strip(): part for name, part in chosen.run.valid.items()}
    if as_json:
        typer.echo(json.dumps(made.to_json(), indent=1))
    else:
        console = output_console()
        print_certificate(console, made, meant.batch_size, verbose=verbose)
        for name, part in parts.items():
            console.print(f"{name} of the run: {visible(str(part.path))}, {part.num_tokens:,} tokens", soft_wrap=True)
    if not made.ok:
        raise SystemExit(1)


@command(interrupted="nothing was changed.")
def bench(
    store: o.OptionalStore = None,
    run: o.RunPath = None,
    seconds: o.BenchSeconds = 10,
    as_json: o.AsJson = False,
    **sizes: Unpack[o.Sizes],
) -> None:
    """Measure what this machine, this disk and this recipe can do.

    \b
    windrow bench corpus --max-length 1024 --batch-size 16
    """
    from windrow.audit.bench import as_lines, measure, verdict

    chosen = choose(store, run, sizes)
    seed = chosen.loader.seed

    def make(more: int) -> "Loader":
        return chosen.run.changed(seed=seed + more).loader(dp_rank=0, dp_world_size=1)

    figures = measure(make, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
        return
    typer.echo(f"bench of {visible(chosen.paths)}\nrecipe: {chosen.recipe}")
    for name, value in as_lines(figures):
        typer.echo(f"  {name:<14}{value}")
    output_console().print(verdict(figures), soft_wrap=True)
