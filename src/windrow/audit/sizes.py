"""Sizes for a text of which nothing is known, and the plan of a store under them.

Guarantee: every figure is ``plan``'s. Cost: a plan for each policy.
"""

from dataclasses import dataclass
from typing import Any, cast

from windrow.audit.plan import Plan, plan
from windrow.errors import NotEnoughTokensError
from windrow.loader.loader import Loader
from windrow.store.store import TokenStore
from windrow.windows.windows import POLICIES, Policy, Windows

__all__ = ["Sizes", "plan_of", "plans_by_policy", "suggest"]

_STEPS_WORTH_HAVING = 100  # in an epoch: fewer updates learn little
_WINDOWS_WORTH_HAVING = 32  # in a text, however small


@dataclass(frozen=True)
class Sizes:
    """What a plan of a store is made with; lengths in tokens, ``batch_size`` in samples per rank."""

    max_length: int
    stride: int
    batch_size: int
    dp_world_size: int = 1
    epochs: int = 1
    num_steps: int | None = None
    seed: int = 0
    mask_targets: Any = None


def suggest(
    num_tokens: int,
    dp_world_size: int = 1,
    *,
    max_length: int | None = None,
    stride: int | None = None,
    batch_size: int | None = None,
) -> tuple[Sizes, list[str]]:
    """Sizes for a text of ``num_tokens``, those that are given kept, and the arithmetic, a line each."""
    kind, length, batch = _kind(num_tokens)
    fitting = _power_of_two((num_tokens - 1) // _WINDOWS_WORTH_HAVING)
    chosen = max_length or min(length, fitting)
    step = stride or (max(1, chosen // 2) if kind == "small" and not max_length else chosen)
    num_windows = max(0, (num_tokens - chosen - 1) // step + 1)
    batch = batch_size or min(batch, _power_of_two(num_windows // (_STEPS_WORTH_HAVING * dp_world_size)))
    steps = num_windows // (batch * dp_world_size)
    return Sizes(chosen, step, batch, dp_world_size), [
        f"{num_tokens:,} tokens are a {kind} text",
        f"max_length {chosen:,}, stride {step:,}: each token is a target about {chosen / step:g} times an epoch",
        f"windows: ({num_tokens:,} - {chosen:,} - 1) // {step:,} + 1 = {num_windows:,}",
        f"batch_size {batch:,}: {num_windows:,} // ({batch:,} x {dp_world_size:,} ranks) = {steps:,} steps an epoch",
    ]


def _power_of_two(most: int) -> int:
    """The largest power of two that is at most ``most``, 1 at least."""
    return 1 << max(most, 1).bit_length() - 1


def _kind(num_tokens: int) -> tuple[str, int, int]:
    """Name, max_length and batch_size: small text is read in short windows that overlap, large text once."""
    if num_tokens < 1_000_000:
        return "small", 256, 4
    return ("medium", 1024, 16) if num_tokens < 1_000_000_000 else ("large", 2048, 32)


def plan_of(store: TokenStore, policy: str, sizes: Sizes) -> Plan:
    """The plan of ``store`` under ``policy``; the stride is concat's alone."""
    stride = sizes.stride if policy == "concat" else None
    windows = Windows(store, sizes.max_length, stride, policy=cast(Policy, policy))  # a wrong name raises
    ranks: dict[str, Any] = {"dp_rank": 0, "dp_world_size": sizes.dp_world_size}
    loader = Loader(windows, sizes.batch_size, seed=sizes.seed, mask_targets=sizes.mask_targets, **ranks)
    return plan(loader, epochs=sizes.epochs, num_steps=sizes.num_steps)


def plans_by_policy(store: TokenStore, sizes: Sizes) -> dict[str, Plan | str]:
    """The plan under each policy, or why there is none."""
    found: dict[str, Plan | str] = {}
    for policy in POLICIES:
        try:
            found[policy] = plan_of(store, policy, sizes)
        except NotEnoughTokensError as error:
            found[policy] = str(error)
    return found
