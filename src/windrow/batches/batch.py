"""What a loader yields."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from windrow.arrays import IGNORE_INDEX
from windrow.errors import WindrowError

__all__ = ["Batch"]


@dataclass(slots=True, eq=False)
class Batch:
    """One rank's samples of one step; unpacks to exactly ``inputs, targets``.

    It is not a ``Mapping``, but names work: ``batch["inputs"]``, ``dict(batch)``. ``to``, ``pin_memory`` and pickle
    give a ``Batch``. To torch's pytrees it is one leaf, and it refuses to be collated or concatenated.

    Attributes:
        inputs: (B, L) int64, a NumPy array, or a torch tensor when the loader has a device.
        targets: (B, L) int64: the token after each input, or -100 where it does not count.
        num_targets: how many targets count. It may be 0, and a mean over none is NaN: divide a *sum* of losses by
            ``max(num_targets over all ranks, 1)``.

    Outputs that ``Loader(..., outputs=)`` asked for are attributes too, for B rows of L places; see docs/documents.md:

    - ``member_ids`` (B,) int64: the row's member, an index into ``list(loader.members)``; -1 for a row without data.
    - ``num_bytes`` (B,) int64: the bytes of text that the row's counted targets stand for; a special token has 0. A sum
      of losses in nats, divided by ``ln 2`` and by a sum of these, is bits per byte.
    - ``document_ids`` (B, L) int64: the document of each input, numbered in its member's store; -1 in padding.
    - ``position_ids`` (B, L) int64: counts from 0 at the start of each row, and again wherever the document changes.
    - ``cu_seqlens`` (n,) int32: where these stretches begin in the flattened B * L places, then B * L, repeated so that
      n is the same in each batch. ``max_seqlen``, an int: the length of the longest stretch.
    - ``block_mask``, FlexAttention's ``BlockMask``, and ``dense_mask`` (B, 1, L, L) bool: causal, within documents.
    """

    inputs: Any
    targets: Any
    num_targets: int
    outputs: Mapping[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "outputs" or not self.outputs or name not in self.outputs:
            raise AttributeError(
                f'this batch has no {name!r}. If it is an output, ask for it: Loader(..., outputs=("{name}",))'
            )
        return self.outputs[name]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.inputs, self.targets))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int | str) -> Any:
        return self._named()[place] if isinstance(place, str) else (self.inputs, self.targets)[place]

    def keys(self) -> Collection[str]:
        """What ``batch["inputs"]``, ``dict(batch)`` and ``model(**batch)`` call inputs, targets and each output."""
        return self._named().keys()

    def as_hf(self) -> dict[str, Any]:
        """What Hugging Face models take, which shift labels themselves: ``input_ids`` and ``labels``, (B, L + 1) int64.

        They are not shifted: ``labels[:, 1:]`` are the targets, the first label is -100, and nothing is predicted from
        the last id. So every target counts, and the model must hold L + 1 positions. Outputs do not go along.
        """
        rows, length = self.inputs.shape
        both: Any = np.full((2, rows, length + 1), IGNORE_INDEX, dtype=np.int64)
        if not isinstance(self.inputs, np.ndarray):
            import torch

            both = torch.full(both.shape, IGNORE_INDEX, device=self.inputs.device)
        both[0, :, :-1], both[0, :, -1], both[1, :, 1:] = self.inputs, self.targets[:, -1], self.targets
        return {"input_ids": both[0].clip(0), "labels": both[1]}  # an id must be there, where no target is

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """A batch of this one's tensors, moved as ``torch.Tensor.to`` does; ``WindrowError`` for NumPy arrays."""
        if isinstance(self.inputs, np.ndarray):
            raise WindrowError('NumPy arrays move to no device. Make the loader with device="cpu", or with the device.')
        to_mask = {name: value for name, value in kwargs.items() if name == "device"}  # all that a BlockMask knows
        return self._each(lambda one: one.to(*args, **(kwargs if hasattr(one, "pin_memory") else to_mask)))

    def pin_memory(self) -> Self:
        """A copy of this batch in page-locked memory (but for a ``BlockMask``, which cannot be there)."""
        return self._each(lambda tensor: tensor.pin_memory() if hasattr(tensor, "pin_memory") else tensor)

    def _named(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "targets": self.targets, **(self.outputs or {})}

    def _each(self, change: Callable[[Any], Any]) -> Self:
        outputs = {
            name: value if isinstance(value, int) else change(value) for name, value in (self.outputs or {}).items()
        }
        return replace(self, inputs=change(self.inputs), targets=change(self.targets), outputs=outputs)
