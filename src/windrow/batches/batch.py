"""What a loader yields."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

__all__ = ["Batch"]


@dataclass(slots=True, eq=False)
class Batch:
    """One rank's samples of one step; unpacks to exactly ``inputs, targets``.

    Attributes:
        inputs: (B, L) int64, a NumPy array, or a torch tensor when the loader has a device.
        targets: (B, L) int64: the token after each input, or -100 where it does not count.
        num_targets: how many targets count. It may be 0, and a mean over none is NaN: divide a *sum* of losses by
            ``max(num_targets over all ranks, 1)``.

    What ``Loader(..., outputs=)`` asked for is an attribute too, B rows of L places each; docs/documents.md has more:
        document_ids: (B, L) int64: which document of its member's store each input is of, -1 in padding.
        position_ids: (B, L) int64: counted from 0 at each row's start and wherever the document changes.
        cu_seqlens: (n,) int32: where these stretches begin in the flattened B * L places, then B * L, repeated, so
            that n is the same in each batch. max_seqlen: int, the longest stretch.
        block_mask, dense_mask: torch's FlexAttention ``BlockMask``, and (B, 1, L, L) bool: causal, within documents.
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

    def __getitem__(self, place: int) -> Any:
        return (self.inputs, self.targets)[place]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """A batch of this one's tensors, moved as ``torch.Tensor.to`` does."""
        return self._each(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """A copy of this batch in page-locked memory (but for a ``BlockMask``, which cannot be there)."""
        return self._each(lambda tensor: tensor.pin_memory() if hasattr(tensor, "pin_memory") else tensor)

    def _each(self, change: Callable[[Any], Any]) -> Self:
        outputs = {
            name: value if isinstance(value, int) else change(value) for name, value in (self.outputs or {}).items()
        }
        return replace(self, inputs=change(self.inputs), targets=change(self.targets), outputs=outputs)
