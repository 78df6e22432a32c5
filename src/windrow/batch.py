"""What a loader yields."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

__all__ = ["IGNORE_INDEX", "Batch"]

IGNORE_INDEX = -100  # the target that does not count: PyTorch's ignore_index


@dataclass(slots=True, eq=False)
class Batch:
    """One rank's samples of one step; unpacks to exactly ``inputs, targets``.

    Attributes:
        inputs: (B, L) int64, a NumPy array, or a torch tensor when the loader has a device.
        targets: (B, L) int64: the token after each input, or -100 where it does not count.
        num_targets: how many targets count. It may be 0, and a mean over none is NaN: divide a *sum* of losses by
            ``max(num_targets over all ranks, 1)``.
    """

    inputs: Any
    targets: Any
    num_targets: int

    def __iter__(self) -> Iterator[Any]:
        return iter((self.inputs, self.targets))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Any:
        return (self.inputs, self.targets)[place]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same batch with its tensors moved, as ``torch.Tensor.to`` does."""
        return replace(self, inputs=self.inputs.to(*args, **kwargs), targets=self.targets.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory."""
        return replace(self, inputs=self.inputs.pin_memory(), targets=self.targets.pin_memory())
