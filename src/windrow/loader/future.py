"""What a loader may do otherwise than the state that it goes on from: the future of a mixture, and nothing else.

Guarantee: the stream before the state's position stays the same, sample by sample; otherwise ``ResumeError`` says which
fields differ, with both values, and where the streams part. Cost: arithmetic on stages and names.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from windrow.errors import ResumeError, brief, read_json, require_shape, whole_number
from windrow.loader.recipe import Recipe
from windrow.windows.mixture import Mixture

__all__ = ["going_on"]


def going_on(recipe: Recipe, state: Mapping[str, Any], excluded: Collection[str]) -> tuple[Recipe, int]:
    """``recipe`` as it goes on from ``state``, and how many samples an epoch had where the state was saved.

    Of the ``excluded`` members something is excluded. Raises ``ResumeError`` where the past would be another.
    """
    mixture, here = recipe.data, {"recipe": recipe.to_json(), "data": recipe.data_json()}
    saved: _Told | None = None
    if any(state[what] != here[what] for what in here):
        with suppress(ValueError):  # saved by a loader of no mixture, or damaged
            saved = _Told(state["recipe"], state["data"])
    if saved is None or not isinstance(mixture, Mixture):
        _check_same("recipe", state["recipe"], here["recipe"], "build the loader with the saved recipe")
        _check_same("data", state["data"], here["data"], "open the stores that the state was saved with")
        return recipe, mixture.epoch_samples
    names = _check_past(saved, _Told(**here), state["position"], excluded)
    _check_given(mixture, state["position"])
    gone: dict[str, Any] = {name: saved.members.get(name) for name in names if name not in recipe.members}
    require_shape([*gone.values()], [{"recipe": dict, "data": dict}], "what is gone")
    known = [start for start in mixture.stages if start < state["position"] and mixture.weights == "targets"]
    counts = _held(saved.counts, known)
    if any(sum(whole_number("samples", n) for n in held.values()) != mixture.block for held in counts.values()):
        raise ValueError(f"its stages do not fill blocks of {mixture.block}")
    return replace(recipe, data=mixture.going_on(counts, saved.epoch_samples), gone=gone), saved.epoch_samples


class _Told:
    """What a state or a loader says of a mixture: of each member, of its stages, and of all else."""

    def __init__(self, recipe: str, data: str) -> None:
        self.rest: dict[str, Any] = read_json(recipe, {"members": dict, "mixture": {"block": int, "stages": dict}})
        known, members, mixture = read_json(data, dict), self.rest.pop("members").items(), self.rest["mixture"]
        self.members: dict[str, Any] = {name: {"recipe": one, "data": known.get(name)} for name, one in members}
        self.epoch_samples: int = whole_number("epoch_samples", mixture.pop("epoch_samples", None))
        self.counts: _Stages = _positive(mixture.pop("stages"))
        mixture["weights"] = "targets" if "targets" in mixture else "samples"
        self.stages: _Stages = _positive(mixture.pop("targets")) if "targets" in mixture else self.counts


_Stages = dict[int, dict[str, Any]]  # position -> weights, or samples in a block, of each member that has any


def _positive(stages: Any) -> _Stages:
    require_shape(stages, dict, "stages")
    require_shape([*stages.values()], [dict], "stages")
    return {int(start): {n: count for n, count in counts.items() if count} for start, counts in stages.items()}


def _held(stages: _Stages, starts: Sequence[int]) -> _Stages:
    """What holds from each of the rising ``starts`` on, whether from a stage there or from an earlier one."""
    out: _Stages = {}
    for start in starts:
        out[start] = stages.get(start, next(reversed(out.values()), {}))
    return out


def _check_past(saved: _Told, here: _Told, position: int, excluded: Collection[str]) -> Collection[str]:
    """The members that are drawn from before ``position``, and the ``excluded``.

    Raises ``ResumeError`` unless what is said of them, and of all else before ``position``, is the same.
    """
    starts = sorted(start for start in {*saved.stages, *here.stages} if start < position)
    before, now = _held(saved.stages, starts), _held(here.stages, starts)
    drawn = dict.fromkeys(excluded, 0) | {name: start for start in reversed(starts) for name in before[start]}
    compared = [name for name in drawn if name in here.members]
    changed = [start for start in starts if before[start] != now[start]][:1]
    sides: list[dict[str, Any]] = [
        side.rest
        | {"stages": {str(start): counts[start] for start in changed}}
        | {"members": {name: side.members.get(name, _MISSING) for name in compared}}
        for side, counts in ((saved, before), (here, now))
    ]
    if lines := [*_differences(sides[0], sides[1])]:
        parts = [0] * (saved.rest != here.rest) + changed
        parts += [drawn[name] for name in compared if saved.members.get(name) != here.members[name]]
        remedy = (
            f"They part at position {min(parts)}, and only from the state's own on, {position}, a Mixture may go on "
            "otherwise: stages on the edges of blocks, other members; one that is gone is given as (None, weight). "
            "Either build the mixture as it was before, or start a new run."
        )
        raise _refused("mixture", lines, remedy)
    return drawn


def _check_given(mixture: Mixture, position: int) -> None:
    """Raise ``ResumeError`` when the ``mixture`` draws from a member that is gone, from ``position`` on."""
    in_force = max(start for start in mixture.stages if start <= position)
    edge = -(-position // mixture.block) * mixture.block
    for start in mixture.stages[mixture.stages.index(in_force) :]:
        lost = [name for name, count in mixture.counts[start].items() if count and name not in mixture.members]
        if lost:
            raise ResumeError(
                f"from position {max(start, position)} on the mixture draws from {lost[0]!r}, whose windows are not "
                f"given. Give them, or a stage that leaves it out: it can begin at {edge}, the next edge of a block."
            )


def _check_same(what: str, saved: str, here: str, remedy: str) -> None:
    """Raise ``ResumeError`` unless both are the same JSON."""
    if saved == here:
        return
    try:
        lines = [*_differences(read_json(saved, dict), json.loads(here))]
    except ValueError:
        lines = [f"  the saved {what} is no JSON: {brief(saved)}"]
    raise _refused(what, lines, f"Either {remedy}, or start a new run. Only a Mixture may go on otherwise.")


def _refused(what: str, lines: Sequence[str], remedy: str) -> ResumeError:
    head = f"the state was saved with another {what}, so its position means other samples:"
    return ResumeError("\n".join([head, *lines, remedy]))


_MISSING = "nothing"


def _differences(saved: Any, here: Any, path: str = "") -> Iterator[str]:
    """A line for each field that is not the same, with both values."""
    if isinstance(saved, dict) and isinstance(here, dict):
        for name in sorted({*saved, *here}):
            step = name or '""'
            inner = f"{path}.{step}" if path else step
            yield from _differences(saved.get(name, _MISSING), here.get(name, _MISSING), inner)
    elif saved != here or type(saved) is not type(here):
        yield f"  {path}: saved {brief(saved)}, here {brief(here)}"
