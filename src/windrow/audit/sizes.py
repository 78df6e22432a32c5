"""The sizes of a run, with the defaults of every command; the loader that they mean; sizes for an unknown text.

Guarantee: the same sizes are the same recipe wherever they are asked for; every figure of a plan is ``plan``'s. Cost: a
plan for each policy; a text too short for its sizes is tried with smaller ones.
"""

import json
import math
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, cast

from windrow.audit.plan import Plan, plan
from windrow.errors import NotEnoughTokensError, whole_number
from windrow.loader.loader import Loader
from windrow.store.store import TokenStore
from windrow.windows.windows import POLICIES, Policy, Windows

__all__ = ["RunSizes", "loader_of", "plans_by_policy", "python_line", "recipe_line", "step_memory", "suggest"]

_STEPS_WORTH_HAVING = 100  # in an epoch: fewer updates learn little
_WINDOWS_WORTH_HAVING = 32  # in a text, however small


@dataclass(frozen=True)
class RunSizes:
    """Windows and batches of a run: lengths in tokens, ``batch_size`` in samples; ``stride`` None is half a window.

    ``documents``, ``phase`` and ``tail`` are those of ``Windows``, ``shuffle_block`` is that of ``Loader``.
    """

    max_length: int = 256
    stride: int | None = None
    batch_size: int = 4
    seed: int = 0
    shuffle_block: int | None = None
    documents: Literal["store", "epoch"] = "store"
    phase: Literal[0, "epoch"] = 0
    tail: Literal["drop", "pad"] = "drop"

    @property
    def resolved_stride(self) -> int:
        """The stride in tokens."""
        return max(1, self.max_length // 2) if self.stride is None else self.stride


# -- the loader ----------------------------------------------------------------------------------------------------


def loader_of(store: TokenStore, sizes: RunSizes, policy: str = "concat", **options: Any) -> Loader:
    """The loader of ``store`` under these sizes; ``options`` are ``Loader``'s own.

    Raises ``NotEnoughTokensError`` that names flags which fit, when ``store`` is too short.
    """
    try:
        return _loader(store, sizes, policy, **options)
    except NotEnoughTokensError as error:
        num_ranks = options.get("dp_world_size") or 1
        if not (flags := _fitting_flags(store, sizes, policy, num_ranks)):
            raise
        if policy != "concat":
            raise NotEnoughTokensError(f"{error} On the command line: {flags}.") from error
        raise NotEnoughTokensError(f"{_too_short(store, sizes, num_ranks)} Use {flags}, or add text.") from error


def _loader(store: TokenStore, sizes: RunSizes, policy: str, **options: Any) -> Loader:
    """The stride is concat's alone."""
    stride = sizes.resolved_stride if policy == "concat" else None
    made = cast(Policy, policy)  # a wrong name raises
    rows: dict[str, Any] = {"documents": sizes.documents, "phase": sizes.phase, "tail": sizes.tail}
    windows = Windows(store, sizes.max_length, stride, policy=made, **rows)
    return Loader(windows, sizes.batch_size, seed=sizes.seed, shuffle_block=sizes.shuffle_block, **options)


def _too_short(store: TokenStore, sizes: RunSizes, num_ranks: int) -> str:
    length, stride = sizes.max_length, sizes.resolved_stride
    needed = (sizes.batch_size * num_ranks - 1) * stride + length + 1
    ranks = f" on {num_ranks:,} ranks" if num_ranks > 1 else ""
    return (
        f"the store has {store.num_tokens:,} tokens, and a step of --max-length {length:,}, --stride {stride:,}, "
        f"--batch-size {sizes.batch_size:,}{ranks} takes {needed:,}."
    )


def _fitting_flags(store: TokenStore, sizes: RunSizes, policy: str, num_ranks: int) -> str:
    """Flags under which an epoch of ``store`` has a step, windows halved until it has; "" when there are none."""
    lengths = [sizes.max_length >> halvings for halvings in range(sizes.max_length.bit_length())]
    together = [(sizes.batch_size, num_ranks), (1, num_ranks), (1, 1)]
    for (batch_size, ranks), length in product(together, lengths):
        with warnings.catch_warnings(action="ignore"), suppress(NotEnoughTokensError):
            smaller = replace(sizes, max_length=length, batch_size=batch_size)
            _loader(store, smaller, policy, dp_rank=0, dp_world_size=ranks)
            flags = {"--max-length": length, "--batch-size": batch_size, "--dp-world-size": ranks}
            given = (sizes.max_length, sizes.batch_size, num_ranks)
            return " ".join(f"{flag} {n}" for (flag, n), was in zip(flags.items(), given, strict=True) if n != was)
    return ""


# -- what is said of it --------------------------------------------------------------------------------------------


def recipe_line(recipe: Mapping[str, Any], batch_size: int) -> str:
    """A recipe in a readable line: ``concat, max_length 256, stride 128, batch_size 4, seed 0``."""
    told = []
    for name, member in recipe["members"].items():
        policy, windows = _windows_told(member)
        told.append(", ".join([f"{name}: {policy}" if name else policy, *_words(windows)]))
    return ", ".join(["; ".join(told), *_words(_loader_told(recipe, batch_size))])


def python_line(loader: Loader) -> str:
    """The Python that makes ``loader``, of one member and one epoch, over ``store``."""
    recipe = json.loads(loader.recipe)
    policy, windows = _windows_told(recipe["members"][""])
    windows |= {} if policy == "concat" else {"policy": policy}
    options = _loader_told(recipe, loader.batch_size)
    ranks = {"dp_rank": loader.dp_rank, "dp_world_size": loader.dp_world_size} if loader.dp_world_size > 1 else {}
    inner, outer = (", ".join(f"{n}={v!r}" for n, v in each.items()) for each in (windows, {**options, **ranks}))
    return f"windrow.Loader(windrow.Windows(store, {inner}), {outer})"


def _words(told: Mapping[str, Any]) -> list[str]:
    return [f"{name} {value}" for name, value in told.items()]


def _windows_told(member: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Policy and lengths of a member's windows; what is usual is not told."""
    lengths = {name: member[name] for name in ("max_length", "stride", "documents") if name in member}
    usual: dict[str, Any] = {"phase": 0, "tail": "drop"}
    told = {name: member[name] for name in usual if member.get(name, usual[name]) != usual[name]}
    return member["policy"], lengths | told


def _loader_told(recipe: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    told = {name: recipe[name] for name in ("shuffle_block", "mask_targets") if recipe.get(name)}
    return {"batch_size": batch_size, "seed": recipe["seed"], **told}


# -- plans ---------------------------------------------------------------------------------------------------------


def suggest(
    num_tokens: int,
    dp_world_size: int = 1,
    *,
    max_length: int | None = None,
    stride: int | None = None,
    batch_size: int | None = None,
) -> tuple[RunSizes, list[str]]:
    """Sizes for a text of ``num_tokens``, those that are given kept; a reason for each other, and the arithmetic."""
    kind = next(kind for kind in _KINDS if num_tokens < kind.below)
    fitting = min(_within(kind.lengths, num_tokens // _WINDOWS_WORTH_HAVING), _power_of_two((num_tokens - 1) // 2))
    length = max_length or fitting
    step = stride or max(1, length // kind.parts)
    num_windows = max(0, (num_tokens - length - 1) // step + 1)
    worth = _within(kind.batches, num_windows // (_STEPS_WORTH_HAVING * dp_world_size))
    batch = batch_size or min(worth, _power_of_two(num_windows // dp_world_size))
    given = {"max_length": max_length, "stride": stride, "batch_size": batch_size}
    kept = " and ".join(f"{name} {value:,}" for name, value in given.items() if value)
    made = (
        f"these make: ({num_tokens:,} - {length:,} - 1) // {step:,} + 1 = {num_windows:,} windows, {num_windows:,} // "
        f"({batch:,} x {dp_world_size:,} ranks) = {num_windows // (batch * dp_world_size):,} steps an epoch"
    )
    sizes = RunSizes(length, step, batch)
    lines = [f"suggested: {name} {why}" for name, why in kind.reasons(sizes).items() if not given[name]]
    return sizes, [*lines, made + (f", with {kept} as given" if kept else "")]


@dataclass(frozen=True)
class _Kind:
    """A row of the courses' table: texts ``below`` so many tokens, their sizes from least to most, and why."""

    name: str
    below: float
    lengths: tuple[int, int]
    parts: int  # of a max_length, one of which is the stride
    batches: tuple[int, int]
    why: tuple[str, str, str]  # of the length, the stride, the batch

    def reasons(self, sizes: RunSizes) -> dict[str, str]:
        """The value of each size, and why."""
        length, stride, batch = sizes.max_length, sizes.resolved_stride, sizes.batch_size
        part = {4: "a quarter", 2: "half", 1: "the whole"}[self.parts]
        times = f"about {length / stride:g} times" if length > stride else "once"
        return {
            "max_length": f"{length:,}, {self._told(self.lengths, length)}: {self.why[0]}",
            "stride": f"{stride:,}, {part} of max_length: each token is a target {times} an epoch; {self.why[1]}",
            "batch_size": f"{batch:,}, {self._told(self.batches, batch)}: {self.why[2]}",
        }

    def _told(self, bounds: tuple[int, int], value: int) -> str:
        short = ", which this one is too short for" if value < bounds[0] else ""
        return f"of {bounds[0]:,} to {bounds[1]:,} for a {self.name} text{short}"


_OVERFITS = "so much overlap on a small text invites overfitting, so watch the valid loss"
_KINDS = (
    _Kind("small", 1e6, (128, 256), 4, (2, 4), ("many short windows", _OVERFITS, "more updates in an epoch")),
    _Kind("medium", 1e8, (256, 512), 2, (8, 16), ("more context", "once late in a window", "steadier gradients")),
    _Kind("large", math.inf, (512, 1024), 1, (32, 64), ("long context", "no need to repeat", "steady gradients")),
)


def _within(bounds: tuple[int, int], wanted: int) -> int:
    return max(bounds[0], min(bounds[1], _power_of_two(wanted)))


def _power_of_two(most: int) -> int:
    """The largest power of two that is at most ``most``, 1 at least."""
    return 1 << max(most, 1).bit_length() - 1


def plans_by_policy(
    store: TokenStore, sizes: RunSizes, known: Mapping[str, Plan], until: Mapping[str, Any], **options: Any
) -> dict[str, Plan | str]:
    """The plan of ``store`` under each policy, ``options`` being the loader's, or why there is none.

    Those that are ``known`` are not made again; ``until`` is when the others end, as ``plan`` takes it.
    """
    found = dict[str, Plan | str]()
    for policy in POLICIES:
        here = sizes if policy == "concat" else replace(sizes, phase=0, tail="drop")
        try:
            found[policy] = known.get(policy) or plan(_loader(store, here, policy, **options), **until)
        except ValueError as error:  # too few tokens, or a choice that this policy does not take
            found[policy] = str(error)
    return found


def step_memory(sizes: RunSizes, vocab_size: int, width: int, num_layers: int) -> dict[str, int]:
    """Bytes that a step of ``windrow.gpt``'s model takes on a rank, by what they hold; and its ``parameters``.

    In float32 with AdamW, two moments a parameter, as ``windrow train`` has it. ``activations`` are what the way back
    needs: 16 numbers of ``width`` for a token and layer, 2 at the end, and the head's gradient, which is known by then.
    Not counted: the batch, what one operation needs in passing, torch itself.
    """
    whole_number("width", width)
    whole_number("num_layers", num_layers)
    parameters = (vocab_size + sizes.max_length + 2) * width + num_layers * (12 * width + 13) * width
    kept = (sizes.batch_size * sizes.max_length * (16 * num_layers + 2) + vocab_size) * width
    held = {"weights": parameters, "gradients": parameters, "optimizer": 2 * parameters, "activations": kept}
    nbytes = {name: 4 * count for name, count in held.items()}
    return {"parameters": parameters, **nbytes, "total": sum(nbytes.values())}
