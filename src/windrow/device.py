"""From NumPy to torch: the only place where a batch meets a device. torch is imported at first use.

Guarantee: the same numbers on every device. Cost: none on the CPU (the tensors share the arrays' memory); one
asynchronous copy from pinned memory elsewhere.
"""

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["check_device", "to_device"]


def check_device(device: "str | torch.device | None") -> "torch.device | None":
    """The torch device meant, or None for NumPy. Raises ``ValueError`` when it is not one, or not there."""
    if device is None:
        return None
    try:
        import torch
    except ImportError:
        raise ValueError(
            f'device={device!r} gives torch tensors, and torch is not installed. Install it with pip install "windrow'
            '[torch]", or use device=None for NumPy arrays.'
        ) from None
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f'device={device!r} cannot be used here: {reason} Use device="cpu".') from error
    return found


def to_device(array: NDArray[Any], device: "torch.device") -> "torch.Tensor":
    """``array`` as a tensor on ``device``; on the CPU it shares the array's memory."""
    import torch

    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
