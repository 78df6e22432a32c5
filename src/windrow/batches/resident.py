"""Draw from tokens that lie on the device: positions go over, windows are gathered there.

Guarantee: the same tokens as ``Draw``. Cost: the store's bytes of device memory, once; 8 bytes of bus a sample.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow.arrays import Int64
from windrow.batches.delivery import check_fits, narrow_views
from windrow.errors import WindrowError
from windrow.windows.draw import Draw
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    import torch

__all__ = ["ResidentDraw"]

_SLICE = 1 << 26  # tokens copied at a time


class ResidentDraw(Draw):
    """A ``Draw`` whose tokens are tensors on ``device``. Members must be windows without a padded tail."""

    def __init__(
        self, members: Mapping[str, Windows], seed: int, device: "torch.device | None", dtype: np.dtype[Any]
    ) -> None:
        super().__init__(members, seed)
        if device is None:
            raise ValueError('resident=True keeps the tokens on a device, and device is None. Give device="cuda".')
        if any(member.may_mask or member.document_order == "epoch" for member in members.values()):
            raise ValueError(
                "resident=True gathers plain windows on the device: give Windows of policy='concat' without tail='pad' "
                "and documents='epoch', over a store without counts."
            )
        if len({member.dtype for member in members.values()}) > 1:
            raise ValueError("resident=True needs members of one dtype, and some have 2-byte tokens, others 4-byte.")
        self._device, self._out = device, dtype
        self._stores = {name: self._copied(member) for name, member in members.items()}

    def _copied(self, member: Windows) -> Any:
        """The member's tokens on the device, (num_tokens,)."""
        import torch

        store, num_tokens = member.store, member.num_tokens
        try:
            empty = narrow_views(np.empty(0, dtype=store.dtype))
            flat = torch.empty(num_tokens, dtype=torch.from_numpy(empty).dtype, device=self._device)
        except RuntimeError as error:  # torch's out-of-memory is one
            raise WindrowError(
                f"the store has {num_tokens * store.dtype.itemsize} bytes of tokens, and {self._device} has no room "
                "for them. Use resident=False, which copies each batch as it is needed."
            ) from error
        for first in range(0, num_tokens, _SLICE):
            tokens = store.tokens(first, first + _SLICE)
            check_fits(tokens, self._out)
            part = narrow_views(tokens)
            flat[first : first + len(part)] = torch.from_numpy(part)
        return flat

    def _drawn(self, samples: Int64) -> tuple[Any, None]:
        import torch

        length = next(iter(self.members.values())).max_length + 1
        dtype = next(iter(self._stores.values())).dtype
        out = torch.empty((samples.shape[1], length), dtype=dtype, device=self._device)
        for here, member, key in self.parts(samples):
            starts = member.starts(samples[1, here], samples[2, here], key=key)
            spans = self._stores[key[1]].unfold(0, length, 1)
            out[torch.from_numpy(here).to(self._device)] = spans[torch.from_numpy(starts).to(self._device)]
        return out, None

    def _fill(self, tokens: Any, first: int) -> None:
        tokens[first:] = int(narrow_views(np.array([self.eos_id], dtype=self.dtype))[0])
