"""How many bytes of text the targets of a row stand for: what its loss is divided by, to be bits per byte.

Guarantee: bytes as the tokenizer of each row's store has them, of the targets that count and of no others; a special
token has none. Cost: a table for each tokenizer, made once, and one look-up a target.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from windrow.arrays import IGNORE_INDEX, Int64
from windrow.errors import TokenizerError
from windrow.tokens.protocol import bytes_per_token
from windrow.windows.windows import Windows

__all__ = ["NumBytes"]


class NumBytes:
    """The bytes of rows drawn from ``members``, by the tokenizers of their stores.

    Raises ``StoreError`` for a store without a tokenizer and ``TokenizerError`` for one that does not tell its bytes.
    """

    def __init__(self, members: Iterable[Windows]) -> None:
        tokenizers = [member.store.tokenizer for member in members]
        known = {one.fingerprint: one for one in tokenizers}
        self._which = np.array([list(known).index(one.fingerprint) for one in tokenizers])  # of the tables, by member
        self._widths = [one.vocab_size for one in known.values()]
        self._tables = np.zeros((len(known), max(self._widths) - IGNORE_INDEX), dtype=np.int32)  # [-100] is a 0
        for table, one in zip(self._tables, known.values(), strict=True):
            table[: one.vocab_size] = bytes_per_token(one)

    def of(self, targets: Any, member_ids: Int64) -> Any:
        """The bytes of ``targets`` (B, L), -100 where they do not count, (B,) int64, and as they are: array or tensor.

        ``member_ids`` (B,) are numbers of members; of a row that is -1, none, no target counts.
        """
        tables: Any = self._tables
        which: Any = self._which[member_ids]
        if not isinstance(targets, np.ndarray):
            import torch

            tables, which = (torch.from_numpy(one).to(targets.device) for one in (tables, which))
            targets = targets.long()
        try:
            return tables[which[:, None], targets].sum(1)
        except IndexError:
            raise TokenizerError(
                f"a target is {int(targets.max())}, and the tokenizer of its store has {max(self._widths)} ids: its "
                "bytes are not known. Open the store with the tokenizer that made it, or leave num_bytes out."
            ) from None
