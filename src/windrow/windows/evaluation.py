"""Windows for exact evaluation: every target of a store is scored once, whatever the stride.

Guarantee: all n - 1 targets of n tokens count exactly once. With ``stride < max_length`` the overlap is context only:
a window after the first counts its last ``stride`` targets; the last window is padded. (Sliding-window perplexity, as
language-model evaluation uses it, e.g. Baevski and Auli, "Adaptive input representations", 2018.)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.errors import NotEnoughTokensError, WindrowError
from windrow.windows.member import Key
from windrow.windows.spans import documents_of, lay_out, most_documents
from windrow.windows.windows import Windows

__all__ = ["EvaluationWindows"]

Int64 = NDArray[np.int64]


class EvaluationWindows:
    """The same spans as ``windows`` and one more where targets are left over, each target counted once.

    Raises ``ValueError`` when ``stride > max_length`` would leave targets out, and for a policy other than concat.
    """

    def __init__(self, windows: Windows) -> None:
        if windows.policy != "concat":
            raise ValueError(
                f"policy is {windows.policy!r}, and evaluation slides over the concatenation. Give windows of policy "
                '"concat", or score these rows by Loader(windows, batch_size, shuffle=False, drop_last=False).'
            )
        if windows.stride > windows.max_length:
            raise ValueError(
                f"stride is {windows.stride} > max_length {windows.max_length}: the targets in between would never be "
                f"scored. Use stride <= {windows.max_length}."
            )
        if windows.num_tokens < 2:
            raise NotEnoughTokensError(f"the store has {windows.num_tokens} tokens, and a target needs one before it.")
        self._store, self.max_length, self._stride = windows.store, windows.max_length, windows.stride
        self.dtype, self.may_mask = windows.dtype, True
        self.eos_id, self.num_tokens, self.fingerprint = windows.eos_id, windows.num_tokens, windows.fingerprint
        beyond_first = max(0, self.num_tokens - 1 - self.max_length)
        self.num_samples = 1 + -(-beyond_first // self._stride)

    def recipe(self) -> dict[str, Any]:
        return {"policy": "evaluation", "max_length": self.max_length, "stride": self._stride}

    def gather(self, ids: Int64, epoch: Int64, *, key: Key) -> NDArray[Any]:
        rows = np.full((len(ids), self.max_length + 1), self.eos_id, dtype=self._store.dtype)
        whole = self._num_left(ids) > self.max_length
        rows[whole] = self._store.gather(ids[whole] * self._stride, self.max_length + 1)
        for row in np.flatnonzero(~whole):  # the last window of the store only
            tokens = self._store.tokens(int(ids[row]) * self._stride)
            rows[row, : len(tokens)] = tokens
        return rows

    def target_mask(self, ids: Int64, epoch: Int64, *, key: Key) -> NDArray[np.bool_]:
        place = np.arange(self.max_length)
        first_new = np.where(ids == 0, 0, self.max_length - self._stride)  # (B,) the overlap before it is context
        mask: NDArray[np.bool_] = (place >= first_new[:, None]) & (place + 1 < self._num_left(ids)[:, None])
        return mask  # (B, L)

    def documents(self, ids: Int64, epoch: Int64, *, key: Key) -> Int64:
        lengths = np.minimum(self._num_left(ids), self.max_length + 1)
        return lay_out(documents_of(self._store, ids * self._stride, lengths), lengths, self.max_length + 1, -1)

    @property
    def max_documents(self) -> int:
        return most_documents(self._store, self.max_length)

    def touches(self, ids: Int64, epoch: Int64, documents: Int64, *, key: Key) -> NDArray[np.bool_]:
        raise WindrowError("an evaluation scores every target once, so nothing can be excluded from it")

    def _num_left(self, ids: Int64) -> Int64:
        return self.num_tokens - ids * self._stride  # (B,) tokens from each window's start to the store's end
