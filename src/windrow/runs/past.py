"""Where a run stood: a state, found in a JSON file or in a checkpoint of torch, under whatever key it was put.

Guarantee: nothing is unpickled but by ``torch.load(weights_only=True)``. Cost: tensors of a checkpoint stay on disk. It
does not do: asking whether the state is of this run (``Loader.load_state_dict`` does).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windrow.errors import ResumeError, read_json

__all__ = ["read_past"]

_MARKS = {"version", "position", "recipe", "data", "segments"}  # by which a state is known, of whatever version
_HOLDERS = (Mapping, list, tuple)


def read_past(given: str | Path) -> Mapping[str, Any]:
    """The state in the file ``given``, or at a key of it: ``FILE:key``, as ``checkpoint.pt:trainer.loader``.

    Raises ``ResumeError`` where there is none, and with the keys where there are several.
    """
    path, key = Path(given), ""
    if not os.path.exists(path):  # False too for a name that no file can have
        name, _, key = str(given).rpartition(":")
        path = Path(name or given)
    found = {where: state for where, state in _states_in(_content(path)) if key in ("", where)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        keys = ", ".join(repr(f"{path}:{where}") for where in found)
        raise ResumeError(f"{path} holds {len(found)} states. Say which is meant: {keys}.")
    raise ResumeError(
        f"there is no loader state in {given}. Save what loader.state_dict() returns, with torch.save as a part of a "
        "checkpoint, or as JSON."
    )


def _states_in(content: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each state in ``content`` and the key that it lies at, ``""`` for all of it; each part is looked at once."""
    waiting, seen = [("", content)] * isinstance(content, _HOLDERS), set[int]()
    for where, part in waiting:  # it grows: parts may hold each other, at any depth
        parts: Mapping[Any, Any] = dict(enumerate(part)) if isinstance(part, list | tuple) else part
        if parts.keys() >= _MARKS:
            yield where, parts
        elif id(part) not in seen:
            seen.add(id(part))
            held = ((name, each) for name, each in parts.items() if isinstance(each, _HOLDERS))
            waiting += [(f"{where}.{name}" if where else str(name), each) for name, each in held]


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            is_json = file.read(64).lstrip()[:1] in (b"{", b"[")
        if is_json:
            return read_json(path.read_bytes(), object)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the bytes made torch stumble over
        reason = str(error).strip().split("\n")[0][:200]
        raise ResumeError(
            f"{path} is read neither as JSON nor as a checkpoint of torch, with weights_only ({type(error).__name__}: "
            f"{reason}). Give a file in which a state lies: save loader.state_dict() as JSON beside a checkpoint."
        ) from error
