"""The state of a run: a flat dict of ints and strings, the same on every rank.

Guarantee: a state loads only where recipe and data are the same, those of a mixture before the state's position;
otherwise ``ResumeError`` says what differs, with both values. It loads with ``torch.load(weights_only=True)`` and
survives JSON. Version 1: ``version``, ``position``, ``recipe`` (JSON), ``data`` (JSON: name, num_tokens and fingerprint
of each member), ``segments`` (JSON: position, step, batch_size, dp_world_size and tail of each stretch with its own
sizes, and epoch_samples where they are not the last one's) and ``excluded`` (JSON: position, member, documents and
windows of each exclusion).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from windrow.errors import LARGEST, ResumeError, brief
from windrow.loader.exclusions import Exclusion, dump_exclusions, load_exclusions
from windrow.loader.future import going_on
from windrow.loader.recipe import Recipe
from windrow.order.steps import Segments

__all__ = ["STATE_VERSION", "dump_state", "read_state"]

STATE_VERSION = 1
_FIELDS = {"version": int, "position": int, "recipe": str, "data": str, "segments": str, "excluded": str}


def dump_state(
    position: int, recipe: Recipe, segments: Segments, excluded: Sequence[Exclusion]
) -> dict[str, int | str]:
    """The state as a flat dict."""
    return {
        "version": STATE_VERSION,
        "position": position,
        "recipe": recipe.to_json(),
        "data": recipe.data_json(),
        "segments": segments.to_json(),
        "excluded": dump_exclusions(excluded),
    }


def read_state(state: Mapping[str, Any], recipe: Recipe) -> tuple[int, Segments, list[Exclusion], Recipe]:
    """``(position, segments, excluded, recipe)`` of ``state`` for a loader of ``recipe``, which may go on otherwise.

    Raises ``ResumeError`` when the state is not of this run.
    """
    _check_shape(state)
    try:
        excluded = load_exclusions(state["excluded"])
        recipe, epoch_samples = going_on(recipe, state, {one.member for one in excluded})
        segments = Segments.from_json(state["segments"], epoch_samples)
        if segments.parts[-1][0] > state["position"]:
            raise ValueError(f"position {state['position']} lies before the last stretch, {segments.parts[-1]}")
        for one in (one for one in excluded if one.member not in recipe.gone):
            if one.member not in recipe.members:
                raise ValueError(f"the excluded member {brief(one.member)} is not there")
            one.require_there(recipe.members[one.member])
    except ResumeError:
        raise
    except (ValueError, TypeError) as error:
        raise ResumeError(f"the state is damaged ({brief(error)}). Use an older checkpoint.") from error
    return int(state["position"]), segments, excluded, recipe


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
