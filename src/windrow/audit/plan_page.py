"""The ledger as a person reads it, and the policies side by side.

Guarantee: every figure is ``plan``'s. Cost: a plan for each policy. It does not do: the arithmetic.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from windrow.audit.plan import MemberPlan, Plan
from windrow.loader.loader import Loader
from windrow.shown import counted, pairs, table, visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["fresh_documents", "print_memory", "print_plan", "print_policies"]


def print_plan(console: "Console", made: Plan) -> None:
    """The whole ledger, a column for each member."""
    console.print(
        f"{counted(made.num_steps, 'step')} of {made.batch_size:,} x {made.dp_world_size:,} samples; an epoch is "
        f"{counted(made.steps_per_epoch, 'step')}, {counted(made.num_samples, 'sample')}"
    )
    if made.steps_not_counted:
        left_out = f"{counted(made.steps_not_counted, 'step')} more are not counted: rows move, or others are dropped"
        console.print(f"these are {made.num_steps // made.steps_per_epoch:,} epochs, and {left_out}", soft_wrap=True)
    if made.stages:
        begins = ", ".join(f"{step:,} (position {start:,})" for start, step in made.stages.items())
        console.print(f"stages begin at steps {begins}", soft_wrap=True)
    columns = [[*_lines(member), *_shares(member, made)] for member in made.members.values()]
    console.print(table(["", *(visible(name) or "tokens" for name in made.members)], _aligned(columns), left=[0]))
    if made.rows_without_data:
        console.print(f"and {counted(made.rows_without_data, 'row')} of padding to keep the ranks in step")


def fresh_documents(loader: Loader, made: Plan) -> list[str]:
    """The line that recommends other neighbours, for a plan beyond the first epoch of documents that keep theirs."""
    lying = [one for one in loader.members.values() if one.document_order == "store" and one.store.num_documents > 1]
    if made.num_steps <= made.steps_per_epoch or not any(one.policy in ("concat", "pack") for one in lying):
        return []
    why = "from the second epoch on each document has other neighbours; as stored it has the same ones in all"
    return [f"suggested: documents epoch: {why}"]


def print_policies(console: "Console", plans: Mapping[str, Plan | str]) -> None:
    """What each policy would make of the store, a row each: shares of tokens, places, documents."""
    headings = ["policy", "rows", "steps", "trained", "dropped", "masked", "padded", "cut"]
    rows = [[policy, *_figures(made)] for policy, made in plans.items() if isinstance(made, Plan)]
    console.print()
    console.print(table(headings, rows, left=[0]))
    for policy, made in plans.items():
        if isinstance(made, str):
            console.print(f"{policy}: {visible(made)}", soft_wrap=True)


def print_memory(console: "Console", memory: Mapping[str, int], model: str) -> None:
    """What a step of ``model`` takes, as ``step_memory`` counts it."""
    console.print(f"memory of a step on a rank, windrow.gpt's model in float32: {model}", soft_wrap=True)
    nbytes = ((name, f"{memory[name] / 1e6:,.1f} MB") for name in ("weights", "gradients", "optimizer", "activations"))
    facts = [("parameters", f"{memory['parameters']:,}"), *nbytes, ("in all", f"{memory['total'] / 1e6:,.1f} MB")]
    console.print(pairs(facts))
    console.print(
        "the optimizer holds AdamW's two moments, activations are what the way back needs; not counted: the batch, "
        "what one operation needs in passing, torch itself",
        soft_wrap=True,
    )


def _figures(made: Plan) -> list[str]:
    (member,) = made.members.values()
    dropped = f"{sum(member.dropped.values()) / member.num_tokens:.1%}"
    masked, padded = f"{sum(member.masked.values()) / made.places:.1%}", f"{made.padded / made.places:.1%}"
    cut = f"{member.documents_cut / member.num_documents:.1%}"
    return [f"{made.num_samples:,}", f"{made.steps_per_epoch:,}", f"{member.trained:,}", dropped, masked, padded, cut]


def _lines(member: MemberPlan) -> Iterator[tuple[str, str]]:
    """Label and figure; an indented label is a part of the one before."""
    n, places = member.num_tokens, member.num_rows * member.max_length
    targets = n - member.times_target[0]
    yield "tokens of the store", f"{n:,}"
    yield "= target once or more", _share(targets, n)
    yield "+ context only", _share(member.context_only, n)
    yield "+ dropped", _share(sum(member.dropped.values()), n)
    yield from ((f"    {reason}", f"{count:,}") for reason, count in member.dropped.items() if count)
    yield "rows x max_length", f"{member.num_rows:,} x {member.max_length:,} = {places:,}"
    yield "= trained", _share(member.trained, places)
    yield "+ masked", _share(sum(member.masked.values()), places)
    yield from ((f"    {reason}", f"{count:,}") for reason, count in member.masked.items() if count)
    yield "+ padded", _share(member.padded, places)
    for times, count in _few(member.times_target):
        yield f"target {times}", _share(count, n)
    yield "documents cut", _share(member.documents_cut, member.num_documents)
    yield "epochs of its own", f"{member.repeats:.4g}"
    yield "bytes read", f"{member.nbytes_read:,}"


def _shares(member: MemberPlan, made: Plan) -> Iterator[tuple[str, str]]:
    """Of a mixture, the member's part of all rows and of all that is trained."""
    if len(made.members) > 1:
        num_rows = sum(each.num_rows for each in made.members.values())
        yield "share of the samples", f"{member.num_rows / num_rows:.1%}"
        yield "share of the targets", f"{member.trained / max(made.trained, 1):.1%}"


def _few(times_target: Mapping[int, int], most: int = 6) -> Iterator[tuple[str, int]]:
    """The counts of the fewest times, and all others together."""
    levels = sorted(times_target)
    yield from ((f"{level}x", times_target[level]) for level in levels[:most])
    if rest := levels[most:]:
        yield f"{rest[0]}x to {rest[-1]}x", sum(times_target[level] for level in rest)


def _aligned(columns: list[list[tuple[str, str]]]) -> Iterator[list[str]]:
    """Rows of a label and a cell for each column, labels in the order in which they come; not all have all."""
    labels: list[str] = []
    for column in columns:
        place = 0
        for label, _ in column:
            place = labels.index(label) + 1 if label in labels else place + 1
            if label not in labels:
                labels.insert(place - 1, label)
    for label in labels:
        yield [label, *(dict(column).get(label, "") for column in columns)]


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"
