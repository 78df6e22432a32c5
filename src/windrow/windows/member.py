"""What a loader draws from: windows, or anything else with numbered samples of ``max_length + 1`` tokens."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Key", "Member"]

Int64 = NDArray[np.int64]
Key = tuple[int, str]  # seed and member name: what draws by chance within a member is keyed by


class Member(Protocol):
    """Loader and mixture know nothing else of their data. B samples are asked for at a time; L = max_length."""

    @property
    def max_length(self) -> int:
        """Inputs in a sample."""
        ...

    @property
    def num_samples(self) -> int:
        """Samples in an epoch."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens of the data."""
        ...

    @property
    def fingerprint(self) -> str:
        """Which data: equal for equal data."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the tokens that ``gather`` returns: uint16 or uint32."""
        ...

    @property
    def may_mask(self) -> bool:
        """Whether there is a sample in which some target does not count."""
        ...

    @property
    def eos_id(self) -> int:
        """What masked inputs are filled with."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Everything that fixes the samples, as JSON values."""
        ...

    def gather(self, ids: Int64, epoch: Int64, *, key: Key) -> NDArray[Any]:
        """The tokens of samples ``ids`` (B,) in ``epoch`` (B,): (B, L + 1) unsigned integers, a fresh array."""
        ...

    def target_mask(self, ids: Int64, epoch: Int64, *, key: Key) -> NDArray[np.bool_] | None:
        """Which targets count, (B, L), or None when all do."""
        ...

    def documents(self, ids: Int64, epoch: Int64, *, key: Key) -> Int64:
        """The document of each token of samples ``ids``, (B, L + 1), -1 where a place holds no token of the data.

        Within a sample two stretches of one document never meet with a gap between them.
        """
        ...

    @property
    def max_documents(self) -> int:
        """The most documents that the inputs of one sample can hold."""
        ...

    def touches(self, ids: Int64, epoch: Int64, documents: Int64, *, key: Key) -> NDArray[np.bool_]:
        """Which samples hold a token of one of ``documents`` (sorted): (B,)."""
        ...
