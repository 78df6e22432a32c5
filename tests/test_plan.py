"""The ledger: every figure against a count over all batches, and always in balance."""

import warnings
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import EOS, corpora, store_of
from windrow import Loader, Mixture, Windows
from windrow.plan import MemberPlan, plan
from windrow.windows import POLICIES, Policy

LENGTHS = [1, 3, 11, 2, 30, 5, 5, 1, 17, 8, 9, 4, 26, 2, 2]


def counted(loaders: list[Loader], num_steps: int, first: int, num_tokens: int) -> dict[str, Any]:
    """The same figures from all batches of all ranks; ids ``first`` ... ``first + num_tokens`` tell their places."""
    targets, inputs, rows, places = Counter[int](), set[int](), 0, 0
    for loader in loaders:
        for step in range(num_steps):
            batch = loader[step]
            hidden = loader_hides(loader, step)
            for row, (x, y) in enumerate(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)):
                if first <= x[0] < first + num_tokens:
                    rows, places = rows + 1, places + len(x)
                    targets.update(target for target in y if target != -100)
                    if not hidden[row]:
                        inputs |= set(x) - {EOS}
    return {
        "num_rows": rows,
        "trained": targets.total(),
        "times_target": dict(sorted(Counter(targets.values()).items())),
        "context_only": len(inputs - set(targets)),
        "dropped": num_tokens - len(inputs | set(targets)),
        "not_trained": places - targets.total(),
    }


def loader_hides(loader: Loader, step: int) -> list[bool]:
    samples = loader.lookup(step)
    hidden = []
    for s in samples:
        ids, epoch, key = np.array([s.window]), np.array([s.epoch]), (loader.seed, s.member)
        member = loader._members[s.member]
        hits = [e.hits(member, ids, epoch, key=key)[0] for e in loader._excluded if e.position <= s.position]
        hidden.append(any(hit for hit, e in zip(hits, loader._excluded, strict=False) if e.member == s.member))
    return hidden + [False] * loader.batch_size


def as_counted(member: MemberPlan) -> dict[str, Any]:
    member.check()
    return {
        "num_rows": member.num_rows,
        "trained": member.trained,
        "times_target": {times: tokens for times, tokens in member.times_target.items() if times},
        "context_only": member.context_only,
        "dropped": sum(member.dropped.values()),
        "not_trained": sum(member.masked.values()) + member.padded,
    }


@st.composite
def recipes(draw: Any) -> tuple[Windows, dict[str, Any]]:
    store, lengths, max_length = draw(corpora())
    policy: Policy = draw(st.sampled_from(POLICIES))
    choices: dict[str, Any] = {"policy": policy}
    if policy == "concat":
        choices["stride"] = draw(st.integers(1, max_length + 3))
        choices |= draw(st.sampled_from([{}, {"tail": "pad"}, {"phase": "epoch"}]))
        if sum(lengths) < max_length + choices["stride"] + 1:
            choices = {"tail": "pad"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        windows = Windows(store, max_length, **choices)
    options = {
        "seed": draw(st.integers(0, 9)),
        "shuffle": draw(st.booleans()),
        "mask_targets": draw(st.sampled_from([None, "document_edges"])),
        **draw(st.sampled_from([{"drop_last": True}, {"drop_last": False}, {"epochs": None}])),
    }
    return windows, options


@given(recipes(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.data())
@settings(max_examples=250)
def test_ledger(recipe: Any, batch_size: int, world: int, epochs: int, data: Any) -> None:
    """It balances, and is what a count over all batches finds, for every policy, stride, tail, phase, size and mask."""
    windows, options = recipe
    if windows.num_samples < batch_size * world:
        options["drop_last"] = False
    loaders = [Loader(windows, batch_size, dp_rank=r, dp_world_size=world, **options) for r in range(world)]
    for _ in range(data.draw(st.integers(0, 2))):
        documents = data.draw(st.sets(st.integers(0, windows.store.num_documents - 1), max_size=2))
        ids = data.draw(st.sets(st.integers(0, windows.num_samples - 1), max_size=2))
        skipped = data.draw(st.integers(0, 5))
        for loader in loaders:
            loader._position += skipped * batch_size * world  # exclude() takes effect from here
            loader.exclude(documents=documents, windows=ids)
    made = plan(loaders[0], epochs=epochs)
    (member,) = made.members.values()
    assert as_counted(member) == counted(loaders, made.num_steps, 0, windows.num_tokens)
    assert made.places == sum(loader[step].inputs.size for loader in loaders for step in range(made.num_steps))


def test_ledger_holds_for_each_member_of_a_mixture() -> None:
    first = {policy: 1000 * i for i, policy in enumerate(POLICIES)}
    members = {p: (Windows(store_of(LENGTHS, first[p]), 6, policy=p), 1.0 + i) for i, p in enumerate(POLICIES)}
    loaders = [Loader(Mixture(members), 3, dp_rank=rank, dp_world_size=2) for rank in range(2)]
    for loader in loaders:
        loader.exclude(documents=[4], member="pack")
    made = plan(loaders[0], epochs=2)
    for policy, member in made.members.items():
        assert as_counted(member) == counted(loaders, made.num_steps, first[policy], sum(LENGTHS))  # type: ignore[index]
