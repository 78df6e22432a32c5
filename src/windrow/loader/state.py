"""The state of a run: a flat dict of ints and strings, the same on every rank.

Guarantee: a state loads only where recipe and data are the same; otherwise ``ResumeError`` says which fields differ,
with both values. It loads with ``torch.load(weights_only=True)`` and survives JSON. Version 1:
``version``, ``position``, ``recipe`` (JSON), ``data`` (JSON: name, num_tokens and fingerprint of each member),
``segments`` (JSON: position, step, batch_size, dp_world_size and tail of each stretch with its own sizes) and
``excluded`` (JSON: position, member, documents and windows of each exclusion).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from windrow.errors import LARGEST, ResumeError, brief, read_json
from windrow.loader.exclusions import Exclusion, dump_exclusions, load_exclusions
from windrow.loader.recipe import Recipe
from windrow.order.steps import Segments
from windrow.windows.windows import Windows

__all__ = ["STATE_VERSION", "dump_state", "read_state"]

STATE_VERSION = 1
_FIELDS = {"version": int, "position": int, "recipe": str, "data": str, "segments": str, "excluded": str}
_REMEDIES = {
    "recipe": "build the loader with the saved recipe",
    "data": "open the stores that the state was saved with",
}


def _data_of(members: Mapping[str, Windows]) -> str:
    """What the members draw from, as canonical JSON."""
    rows = {name: {"num_tokens": m.num_tokens, "fingerprint": m.fingerprint} for name, m in members.items()}
    return json.dumps(rows, sort_keys=True, separators=(",", ":"))


def dump_state(
    position: int, recipe: Recipe, segments: Segments, excluded: Sequence[Exclusion]
) -> dict[str, int | str]:
    """The state as a flat dict."""
    return {
        "version": STATE_VERSION,
        "position": position,
        "recipe": recipe.to_json(),
        "data": _data_of(recipe.members),
        "segments": segments.to_json(),
        "excluded": dump_exclusions(excluded),
    }


def read_state(state: Mapping[str, Any], recipe: Recipe, epoch_samples: int) -> tuple[int, Segments, list[Exclusion]]:
    """``(position, segments, excluded)`` of ``state``. Raises ``ResumeError`` when it is not of this run."""
    _check_shape(state)
    _check_same("recipe", state["recipe"], recipe.to_json())
    _check_same("data", state["data"], _data_of(recipe.members))
    try:
        segments = Segments.from_json(state["segments"], epoch_samples)
        if segments.parts[-1][0] > state["position"]:
            raise ValueError(f"position {state['position']} lies before the last stretch, {segments.parts[-1]}")
        excluded = load_exclusions(state["excluded"], recipe.members)
    except (ValueError, TypeError) as error:
        raise ResumeError(f"the state is damaged ({brief(error)}). Use an older checkpoint.") from error
    return int(state["position"]), segments, excluded


def _check_shape(state: Mapping[str, Any]) -> None:
    if not isinstance(state, Mapping) or set(state) != set(_FIELDS):
        found = brief(list(state)) if isinstance(state, Mapping) else type(state).__name__
        raise ResumeError(f"this is no loader state: it has {found}. Give load_state_dict what state_dict returned.")
    for name, kind in _FIELDS.items():
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            raise ResumeError(f"the state's {name} is {brief(state[name])}, and it must be {kind.__name__}.")
    if state["version"] != STATE_VERSION or not 0 <= state["position"] <= LARGEST:
        raise ResumeError(
            f"the state is of version {brief(state['version'])} at position {brief(state['position'])}, and this "
            f"windrow reads version {STATE_VERSION} and positions from 0 to 2**63 - 1. Resume with the windrow that "
            "saved it."
        )


def _check_same(what: str, saved: str, here: str) -> None:
    if saved == here:
        return
    try:
        found = _differences(read_json(saved, dict), json.loads(here))
        lines = [f"  {path}: saved {brief(a)}, here {brief(b)}" for path, a, b in found]
    except ValueError:
        lines = [f"  the saved {what} is no JSON: {brief(saved)}"]
    raise ResumeError(
        f"the state was saved with another {what}, so its position means other samples:\n"
        + "\n".join([*lines, f"Either {_REMEDIES[what]}, or start a new run."])
    )


_MISSING = "nothing"


def _differences(saved: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(here, dict):
        for name in sorted({*saved, *here}):
            step = name or '""'
            inner = f"{path}.{step}" if path else step
            yield from _differences(saved.get(name, _MISSING), here.get(name, _MISSING), inner)
    elif saved != here or type(saved) is not type(here):
        yield path, saved, here
