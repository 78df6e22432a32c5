"""Where a run stood: a state, found in a JSON file or in a checkpoint of torch, under whatever key it was put.

Guarantee: nothing is unpickled but by ``torch.load(weights_only=True)``. Cost: tensors of a checkpoint stay on disk. It
does not do: asking whether the state is of this run (``Loader.load_state_dict`` does).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windrow.errors import ResumeError, brief, read_json

__all__ = ["read_past"]

_MARKS = {"version", "position", "recipe", "data", "segments"}  # by which a state is known, of whatever version


def read_past(given: str | Path) -> Mapping[str, Any]:
    """The state in the file ``given``, or at a key of it: ``FILE:key``, as ``checkpoint.pt:trainer.loader``.

    Raises ``ResumeError`` where there is none, and with the keys where there are several.
    """
    path, key = Path(given), None
    if not path.exists() and ":" in str(given):
        name, key = str(given).rsplit(":", 1)
        path = Path(name)
    found = {where: state for where, state in _states_in(_content(path)) if key in (None, where)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        keys = ", ".join(repr(f"{path}:{where}") for where in found)
        raise ResumeError(f"{path} holds {len(found)} states. Say which is meant: {keys}.")
    raise ResumeError(
        f"there is no loader state in {path}{f' at {key}' if key else ''}. Save what loader.state_dict() returns, with "
        "torch.save as a part of a checkpoint, or as JSON."
    )


def _states_in(content: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each state in ``content`` and the key that it lies at, ``""`` for all of it."""
    parts: Mapping[Any, Any] = dict(enumerate(content)) if isinstance(content, list | tuple) else content
    if not isinstance(parts, Mapping):
        return
    if parts.keys() >= _MARKS:
        yield where, parts
        return
    for name, part in parts.items():
        yield from _states_in(part, f"{where}.{name}" if where else str(name))


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip()[:1]
        return read_json(path.read_bytes(), object) if head in (b"{", b"[") else _of_torch(path)
    except OSError as error:
        raise ResumeError(f"the state {path} cannot be read ({error.strerror or error}). Give a file.") from error
    except ValueError as error:
        raise ResumeError(f"{path} is no JSON with a state in it ({brief(error)}).") from error


def _of_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ResumeError(f"{path} is no JSON, and a checkpoint of torch needs torch to be read.") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the bytes made torch stumble over
        reason = str(error).strip().split("\n")[0][:200]
        raise ResumeError(
            f"{path} is neither JSON nor a checkpoint that torch reads with weights_only ({type(error).__name__}: "
            f"{reason}). Save the loader's state_dict() on its own as well, as JSON."
        ) from error
