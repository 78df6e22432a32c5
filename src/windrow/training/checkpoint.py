"""A checkpoint on disk: written whole, and looked at before anything of it is used.

Guarantee: it is read with ``weights_only=True``; each part that is missing, or is not as the run at hand has it, is an
error that names file and part, with both values. Cost: it is three times the model (parameters and AdamW's two
moments). It does not do: what the loader's state says (``Loader.load_state_dict``). Importing it imports torch.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from windrow.errors import ResumeError
from windrow.store.whole import write_whole

__all__ = ["CHECKPOINT", "REMEDY", "check_parts", "read_checkpoint", "write_checkpoint"]

CHECKPOINT = "checkpoint.pt"
_ABOUT = {"format": "windrow-checkpoint", "version": 1}
REMEDY = "Restore it from a copy, or remove it to train the run again from its beginning."


def write_checkpoint(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write ``parts``; what was there before stays until all of it is on disk."""

    def write(file: BinaryIO) -> None:
        try:
            torch.save({**_ABOUT, **parts}, file)
        except RuntimeError as error:  # torch's own, in place of a Ctrl-C that met the file's write
            raise error.__context__ or error from None

    write_whole(folder / CHECKPOINT, write)


def read_checkpoint(folder: Path, device: str) -> dict[str, Any] | None:
    """What was written; None when there is no checkpoint. Raises ``ResumeError`` when it is damaged."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or {name: content.get(name) for name in _ABOUT} != _ABOUT:
            raise ValueError("its format or version is another one")
    except Exception as error:  # whatever the bytes made torch stumble over
        reason = str(error).strip().split("\n")[0][:200]
        raise ResumeError(f"{path} is no whole checkpoint ({type(error).__name__}: {reason}). {REMEDY}") from error
    return {name: part for name, part in content.items() if name not in _ABOUT}


def check_parts(folder: Path, content: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise ``ResumeError`` unless ``content`` has the parts of ``here``, of their types and with tensors as large.

    A type in ``here`` stands for anything of it, a list for any number of its first part. Else only numbers may come.
    """
    if faults := list(islice(_faults(content, here), 5)):
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ResumeError(f"{folder / CHECKPOINT} does not hold what this run goes on from:\n{lines}\n{REMEDY}")


def _faults(saved: Any, here: Any, where: str = "") -> Iterator[str]:
    if isinstance(here, Mapping) and isinstance(saved, Mapping):
        for name, part in here.items():
            path = f"{where}.{name}".strip(".")
            yield from _faults(saved[name], part, path) if name in saved else [f"{path} is missing"]
        others = {name: part for name, part in saved.items() if name not in here and not isinstance(part, int | float)}
        yield from (f"{where}.{name} has no place here".strip(".") for name in others)
    elif isinstance(here, list) and isinstance(saved, list):
        for number, part in enumerate(saved):
            yield from _faults(part, here[0], f"{where}.{number}")
    elif isinstance(here, Tensor) and isinstance(saved, Tensor):
        if _form(saved) != _form(here):
            yield f"{where} is {_form(saved)}, and here it is {_form(here)}"
    elif not isinstance(saved, kind := here if isinstance(here, type) else type(here)):
        yield f"{where} is of the type {type(saved).__name__}, and here it is {kind.__name__}"


def _form(tensor: Tensor) -> str:
    return f"a tensor {tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
