"""Where documents begin and end inside the rows of a batch, as the arrays that attention kernels take; whose rows.

Guarantee: everything about documents comes from the boundaries of the store, never from looking for eos. Rows of
different documents, one-token documents, padding and rows without data are all the same to it. Cost: a few passes over
the (B, L + 1) places of a batch, no loop over samples, nothing when nothing was asked for. Inputs and targets do not
change, except for the targets that ``mask_targets`` takes out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import IGNORE_INDEX, Int64, Mask
from windrow.batches.attention import block_mask, dense_mask
from windrow.batches.batch import Batch
from windrow.errors import TokenizerError, brief
from windrow.tokens.protocol import bytes_per_token
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    import torch

__all__ = ["MASK_TARGETS", "OUTPUTS", "Boundaries", "Held", "MaskTargets"]

MaskTargets = Literal["document_edges"]
MASK_TARGETS = ("document_edges",)
_OF_ROWS = ("member_ids", "num_bytes")
OUTPUTS = ("block_mask", "cu_seqlens", "dense_mask", "document_ids", "max_seqlen", "position_ids", *_OF_ROWS)
_TORCH_ONLY = {"block_mask": block_mask, "dense_mask": dense_mask}


class Held(NamedTuple):
    """What the n rows of some steps hold: whose they are, -1 without data, and their documents where one asks."""

    members: Int64  # (n,)
    documents: Int64 | None  # (n, L + 1)


class Boundaries:
    """What a loader was asked to say of its rows: ``outputs`` by name, and which targets it masks.

    Raises ``ValueError`` for a name that is none, and for a torch mask where there is no device.
    """

    def __init__(
        self, outputs: Collection[str], mask_targets: MaskTargets | None, members: Iterable[Windows], *, on_device: bool
    ) -> None:
        self.outputs: frozenset[str] = _checked(outputs, mask_targets, on_device)
        self.mask_targets = mask_targets
        self.of_documents: bool = bool(self.outputs.difference(_OF_ROWS) or mask_targets)
        self._most_segments = 0
        self._bytes = _bytes_by_id(members) if "num_bytes" in self.outputs else None
        if "cu_seqlens" in self.outputs:  # one more for padding
            self._most_segments = max(min(member.max_documents + 1, member.max_length) for member in members)

    def __bool__(self) -> bool:
        return bool(self.outputs or self.mask_targets)

    def counting(self, documents: Int64, mask: Mask | None) -> Mask | None:
        """Which targets count, (B, L), of those that ``mask`` leaves; ``documents`` is (B, L + 1)."""
        if self.mask_targets is None:
            return mask
        same: Mask = documents[:, 1:] == documents[:, :-1]
        return same if mask is None else same & mask

    def attached(self, batches: Iterable[Batch], held: Held, num_steps: int) -> Iterator[Batch]:
        """``batches`` of ``num_steps`` steps with the outputs asked for, of what their rows hold."""
        inside = None if held.documents is None else np.ascontiguousarray(held.documents[:, :-1])  # (num_steps * B, L)
        documents = [None] * num_steps if inside is None else np.split(inside, num_steps)
        for batch, members, rows in zip(batches, np.split(held.members, num_steps), documents, strict=True):
            outputs = {"member_ids": members} if "member_ids" in self.outputs else {}
            outputs |= {} if rows is None else self._of(rows)
            if not isinstance(batch.inputs, np.ndarray):
                outputs = self._moved(outputs, rows, batch.inputs.device)
            if self._bytes is not None:
                outputs["num_bytes"] = _num_bytes(batch.targets, self._bytes)
            yield replace(batch, outputs=outputs)

    def _of(self, documents: Int64) -> dict[str, Any]:
        """The outputs of rows (B, L) whose places hold these documents, -1 where there is none."""
        begins = np.ones(documents.shape, dtype=np.bool_)  # a row's first place, and each where the document changes
        begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
        edges, place = np.append(np.flatnonzero(begins), documents.size), np.arange(documents.shape[1])
        made: dict[str, Callable[[], Any]] = {
            "document_ids": lambda: documents,
            "position_ids": lambda: place - np.maximum.accumulate(np.where(begins, place, 0), axis=1),
            "cu_seqlens": lambda: self._padded(edges, len(documents)),
            "max_seqlen": lambda: int(np.diff(edges).max()),
        }
        return {name: make() for name, make in made.items() if name in self.outputs}

    def _padded(self, edges: Int64, num_rows: int) -> NDArray[np.int32]:
        """Edges of the segments, the last one repeated: one length for every batch of as many rows."""
        out = np.full(num_rows * self._most_segments + 1, edges[-1], dtype=np.int32)
        out[: len(edges)] = edges
        return out

    def _moved(self, outputs: dict[str, Any], documents: Int64 | None, device: "torch.device") -> dict[str, Any]:
        moved = {name: _tensor(v, device) if isinstance(v, np.ndarray) else v for name, v in outputs.items()}
        if documents is not None and (wanted := [name for name in _TORCH_ONLY if name in self.outputs]):
            ids = moved["document_ids"] if "document_ids" in moved else _tensor(documents, device)
            moved |= {name: _TORCH_ONLY[name](ids) for name in wanted}
        return moved


def _checked(outputs: Collection[str], mask_targets: str | None, on_device: bool) -> frozenset[str]:
    if not isinstance(outputs, Collection):
        raise ValueError(f"outputs is {brief(outputs)}, and it is names, outputs=('document_ids',), or () for none")
    asked = frozenset({outputs} if isinstance(outputs, str) else map(str, outputs))
    if unknown := sorted(asked.difference(OUTPUTS)):
        raise ValueError(f"outputs has {unknown[0]!r}, and a loader can give {', '.join(OUTPUTS)}")
    if mask_targets not in (None, *MASK_TARGETS):
        raise ValueError(f"mask_targets is {mask_targets!r}, and it is None or {MASK_TARGETS[0]!r}")
    if not on_device and (torch_only := sorted(asked & set(_TORCH_ONLY))):
        raise ValueError(
            f'outputs has {torch_only[0]!r}, a torch mask, and this loader gives NumPy arrays. Give device="cpu" or '
            'another device, or ask for "document_ids" and make the mask with windrow.batches.attention.'
        )
    return asked


def _bytes_by_id(members: Iterable[Windows]) -> NDArray[np.int32]:
    """The bytes of each id, and behind them zeros, so that -100 finds one: (vocab_size + 100,)."""
    known = {one.fingerprint: one for one in (member.store.tokenizer for member in members)}
    if len(known) > 1:
        raise ValueError(
            f"outputs has 'num_bytes', and the members' stores were made by {len(known)} tokenizers. Use one."
        )
    return np.append(bytes_per_token(*known.values()), np.zeros(-IGNORE_INDEX, dtype=np.int32))


def _num_bytes(targets: Any, bytes_by_id: NDArray[np.int32]) -> Any:
    """The bytes of ``targets`` (B, L), of a row: (B,) int64, an array or a tensor as they are."""
    try:
        if isinstance(targets, np.ndarray):
            return bytes_by_id[targets].sum(1)
        return _tensor(bytes_by_id, targets.device)[targets.long()].sum(1)
    except IndexError:
        what = f"a target is {int(targets.max())}, no id of the tokenizer of its store, so that it has no bytes"
        raise TokenizerError(f"{what}. Open the store with the tokenizer that made it.") from None


def _tensor(array: NDArray[Any], device: "torch.device") -> "torch.Tensor":
    """On the CPU it shares the array's memory; elsewhere an asynchronous copy from pinned memory."""
    import torch

    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
