"""Tokens -> batches where they are wanted: NumPy, torch on the CPU, or an accelerator. torch is imported at first use.

Guarantee: the same numbers everywhere; a batch that the user holds is never written over. Cost, on the CPU: the tokens
are widened once, several steps at a time, and a batch is a view of that. On a device: the narrow tokens cross the bus
once, from a pinned buffer, on a stream of their own; they are widened and split there.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from windrow.arrays import IGNORE_INDEX, Mask
from windrow.batches.batch import Batch
from windrow.distribution import install_line
from windrow.errors import WindrowError, brief

if TYPE_CHECKING:
    import torch

__all__ = ["Delivery", "TorchDelivery", "check_device", "check_dtype", "check_fits", "delivery_to", "narrow_views"]

_WIDEN_BYTES = 1 << 20  # of inputs and targets widened at a time: in a core's cache
_NUM_BUFFERS = 3  # one being filled, one in flight, one being read


def check_device(device: "str | torch.device | None") -> "torch.device | None":
    """The torch device meant, or None for NumPy. Raises ``ValueError`` when it is not one, or not there."""
    if device is None:
        return None
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"device={device!r} gives torch tensors, and torch is not installed. Install it with "
            f"{install_line('torch')}, or use device=None for NumPy arrays."
        ) from None
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(f'device={device!r} cannot be used here: {reason}. Use device="cpu".') from error
    return found


def check_dtype(given: DTypeLike, narrow: np.dtype[Any], may_mask: bool) -> np.dtype[Any]:
    """The dtype meant, of batches of tokens that are ``narrow``. Raises ``ValueError`` when it cannot hold them."""
    try:
        dtype = np.dtype(given)
    except TypeError:
        raise ValueError(f"dtype is {brief(given)}, and it is a name: dtype='int64', 'int32' or '{narrow}'") from None
    if dtype not in (np.int64, np.int32, narrow):
        raise ValueError(f"dtype is {dtype}, and batches are int64, int32 or the store's own {narrow}")
    if dtype == narrow and may_mask:
        raise ValueError(
            f"dtype {dtype} cannot hold -100, and some targets here do not count (padding, another document's "
            "token, context by the data, or ranks with drop_last=False). Use dtype='int32' or 'int64'."
        )
    return dtype


def delivery_to(device: "torch.device | None", dtype: np.dtype[Any], *, resident: bool = False) -> "Delivery":
    """Where and how batches are delivered; ``resident`` tokens are tensors on the device already."""
    if device is None:
        return NumpyDelivery(dtype)
    return TorchDelivery(dtype) if device.type == "cpu" and not resident else DeviceDelivery(device, dtype)


class NumpyDelivery:
    """Arrays of ``dtype``. Small batches are widened several at a time and are views of one allocation."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def batches(self, tokens: NDArray[Any], mask: Mask | None, num_steps: int) -> Iterator[Batch]:
        """``tokens`` (num_steps * B, L + 1), ``mask`` (num_steps * B, L) of the targets that count, or None."""
        check_fits(tokens, self._dtype)
        check_sign(mask, self._dtype)
        rows = len(tokens) // num_steps
        shape, strides = (2, len(tokens), tokens.shape[1] - 1), (tokens.itemsize, *tokens.strides)
        shifted = np.ndarray(shape, tokens.dtype, tokens, 0, strides)  # (2, n, L): tokens, and the same moved on by one
        at_once = max(1, _WIDEN_BYTES // (2 * rows * shape[2] * self._dtype.itemsize))
        for first in range(0, num_steps, at_once):
            part = slice(first * rows, (first + at_once) * rows)
            pair = shifted[:, part].astype(self._dtype, order="C")  # (2, k * rows, L): one call, one allocation
            counts = [rows * pair.shape[2]] * (pair.shape[1] // rows)
            if mask is not None:
                pair[1][~mask[part]] = IGNORE_INDEX
                counts = count_targets(mask[part], len(counts))
            yield from map(Batch, *self._steps(pair.reshape(2, len(counts), rows, -1)), counts)

    def _steps(self, pair: NDArray[Any]) -> Iterable[Iterable[Any]]:
        """Inputs and targets step by step, of ``pair`` (2, k, rows, L)."""
        return pair


class TorchDelivery(NumpyDelivery):
    """Tensors on the CPU that share the arrays' memory."""

    def _steps(self, pair: NDArray[Any]) -> Iterable[Iterable[Any]]:
        import torch

        return (steps.unbind() for steps in torch.from_numpy(pair).unbind())  # split would take twice as long


class DeviceDelivery:
    """Tensors on an accelerator: narrow tokens over the bus, everything else there.

    With the device "cpu" the same code runs without pinned memory, streams and events, which tests use.
    """

    def __init__(self, device: "torch.device", dtype: np.dtype[Any]) -> None:
        import torch

        self._device, self._dtype, self._numpy_dtype = device, getattr(torch, dtype.name), dtype
        self._asynchronous = device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(device) if self._asynchronous else None  # type: ignore[no-untyped-call]
        self._buffers: list[tuple[Any, Any]] = [(None, None)] * _NUM_BUFFERS  # pinned memory, its last copy's event
        self._turn = 0

    def batches(self, tokens: Any, mask: Mask | None, num_steps: int) -> Iterable[Batch]:
        """What ``NumpyDelivery.batches`` makes, on the device."""
        if isinstance(tokens, np.ndarray):  # resident ones were looked at when they were copied
            check_fits(tokens, self._numpy_dtype)
        check_sign(mask, self._numpy_dtype)
        rows = len(tokens) // num_steps
        counts = [rows * (tokens.shape[1] - 1)] * num_steps if mask is None else count_targets(mask, num_steps)
        inputs, targets = self.split(self._moved(tokens), None if mask is None else self._moved(mask))
        shape = (num_steps, rows, -1)
        return map(Batch, inputs.view(shape).unbind(), targets.view(shape).unbind(), counts)

    def split(self, tokens: Any, mask: Any) -> tuple[Any, Any]:
        """Inputs and targets, each (n, L) and contiguous, of narrow ``tokens`` (n, L + 1) on the device."""
        import torch

        wide = widened(tokens, self._dtype)  # a slice of a single row is contiguous already, and would be shared
        inputs, targets = (part.clone(memory_format=torch.contiguous_format) for part in (wide[:, :-1], wide[:, 1:]))
        return inputs, targets if mask is None else targets.masked_fill_(~mask, IGNORE_INDEX)

    def _moved(self, array: Any) -> Any:
        import torch

        if isinstance(array, torch.Tensor):
            return array  # resident tokens are there already
        narrow = torch.from_numpy(narrow_views(array))
        if not self._asynchronous:
            return narrow.to(self._device)
        pinned = self._pinned(narrow)
        pinned.copy_(narrow)
        with torch.cuda.stream(self._stream):
            moved = pinned.to(self._device, non_blocking=True)
            event = self._stream.record_event()
        self._buffers[self._turn] = (self._buffers[self._turn][0], event)
        current = torch.cuda.current_stream(self._device)
        current.wait_event(event)
        moved.record_stream(current)  # made on one stream and used on another: not to be reused before that is done
        return moved

    def _pinned(self, like: Any) -> Any:
        """A pinned buffer of ``like``'s shape, free again since its last copy has ended."""
        import torch

        self._turn = (self._turn + 1) % _NUM_BUFFERS
        buffer, event = self._buffers[self._turn]
        if event is not None:
            event.synchronize()
        nbytes = like.numel() * like.element_size()
        if buffer is None or buffer.numel() < nbytes:
            buffer = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
            self._buffers[self._turn] = (buffer, None)
        return buffer[:nbytes].view(like.dtype).view(like.shape)


Delivery = NumpyDelivery | DeviceDelivery


def narrow_views(array: NDArray[Any]) -> NDArray[Any]:
    """Unsigned tokens as the signed integers of their width, which torch computes with; other arrays as they are."""
    return array.view({"uint16": np.int16, "uint32": np.int32}[array.dtype.name]) if array.dtype.kind == "u" else array


def widened(narrow: Any, dtype: Any) -> Any:
    """Undo ``narrow_views`` on a tensor: ids as ``dtype``."""
    import torch

    if dtype in (torch.uint16, torch.uint32):
        return narrow.view(dtype)
    return narrow.to(dtype) & (0xFFFF if narrow.dtype == torch.int16 else 0xFFFFFFFF if dtype == torch.int64 else -1)


def count_targets(mask: Mask, num_steps: int) -> list[int]:
    """How many targets count in each of the steps."""
    return [int(np.count_nonzero(step)) for step in mask.reshape(num_steps, -1)]  # one by one is five times as fast


def check_fits(tokens: Any, dtype: np.dtype[Any]) -> None:
    """Raise when ids would wrap around in ``dtype``; only 4-byte tokens in int32 can."""
    if tokens.dtype == np.uint32 and dtype == np.int32 and tokens.size and tokens.max() >= 2**31:
        raise WindrowError(f"the id {tokens.max()} does not fit in int32, which ends at 2**31 - 1. Use dtype='int64'.")


def check_sign(mask: Mask | None, dtype: np.dtype[Any]) -> None:
    """Raise when a target is masked and ``dtype`` cannot hold -100."""
    if mask is not None and dtype.kind == "u" and not mask.all():
        raise WindrowError(f"dtype {dtype} cannot hold -100, and a target here does not count. Use dtype='int32'.")
