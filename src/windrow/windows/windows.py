"""Windows over a store: window id, epoch -> start token = id * stride + phase. Nothing is materialised.

Guarantee: window ``id`` is the ``max_length + 1`` tokens from its start: ``max_length`` inputs and, moved on by one,
``max_length`` targets. The count is arithmetic; cost is that of the store's gather. Knows no order and no ranks.
"""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from windrow.errors import NotEnoughTokensError, whole_number
from windrow.order.permutation import keyed_integers
from windrow.store.store import TokenStore
from windrow.windows.document_rows import INDEX_VERSION, DocumentRows, find_pieces
from windrow.windows.member import Key
from windrow.windows.spans import documents_of, lay_out, most_documents

__all__ = ["POLICIES", "Policy", "Windows"]

Int64 = NDArray[np.int64]
Policy = Literal["concat", "pad", "pack", "bos"]
POLICIES: tuple[Policy, ...] = ("concat", "pad", "pack", "bos")


class Windows:
    """Rows of ``max_length`` inputs from ``store``: sliding windows, or what another ``policy`` makes of documents.

    Args:
        store: the tokens.
        max_length: inputs in a window, in tokens; a window spans ``max_length + 1``.
        stride: tokens from one window's start to the next; None is ``max_length``: every token a target once.
        phase: ``"epoch"`` shifts all windows of an epoch by an offset in ``[0, stride)`` drawn by the seed, so that
            window edges move between epochs; 0 does not.
        tail: ``"pad"`` adds one last window where targets are left over, its missing inputs filled with eos (0 when
            the store has none) and its missing targets masked; ``"drop"`` leaves them out.
        policy: how documents become rows. ``"concat"``: windows over the concatenation of all, one every ``stride``
            tokens. ``"pad"``: a document a row, a long one in several, the rest of a row padded. ``"pack"``: as many
            pieces of documents in a row as fit, over the whole store, by best-fit-decreasing. ``"bos"``: each row
            starts where a document starts, and what its end cuts off is left out. With pad and pack no target counts
            that lies in another document than its input. stride, phase and tail are concat's alone.

    Without phase there are ``(n - max_length - 1) // stride + 1`` windows in n tokens, with it
    ``(n - max_length) // stride``: the number that fits at every offset.

    Raises ``ValueError`` for sizes below 1 and ``NotEnoughTokensError`` when no window fits; warns when ``stride >
    max_length`` leaves targets that are never trained on.
    """

    def __init__(
        self,
        store: TokenStore,
        max_length: int,
        stride: int | None = None,
        *,
        phase: Literal[0, "epoch"] = 0,
        tail: Literal["drop", "pad"] = "drop",
        policy: Policy = "concat",
    ) -> None:
        self.store = store
        self.max_length = whole_number("max_length", max_length)
        self.stride = whole_number("stride", max_length if stride is None else stride)
        self.phase, self.tail, self.policy = phase, tail, policy
        self._check_choices()
        self.rows = None if policy == "concat" else self._make_rows(policy)
        self._num_full = self._count_full() if self.rows is None else self.rows.pieces.num_rows
        self.num_samples = self._num_full + self._num_padded()
        if not self.num_samples:
            raise NotEnoughTokensError(self._too_short())
        self._warn_about_gaps()

    def __len__(self) -> int:
        return self.num_samples

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.recipe().items())
        return f"Windows(num_samples={self.num_samples}, {fields}, store={self.store!r})"

    # -- what a loader draws from ----------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """The store's fingerprint: which data these are windows of."""
        return self.store.fingerprint

    @property
    def num_tokens(self) -> int:
        """Tokens of the store."""
        return self.store.num_tokens

    @property
    def dtype(self) -> np.dtype[Any]:
        """The store's dtype."""
        return self.store.dtype

    @property
    def may_mask(self) -> bool:
        """Whether there is a padded window, or rows of documents."""
        return self.rows is not None or self.num_samples > self._num_full

    @property
    def eos_id(self) -> int:
        """What masked inputs are filled with: the store's eos, or 0 when it has none."""
        return self.store.eos_id or 0

    def recipe(self) -> dict[str, Any]:
        """The part of the recipe that windows fix."""
        if self.rows:
            return {"policy": self.policy, "max_length": self.max_length, "index": INDEX_VERSION}
        fields = {
            "max_length": self.max_length,
            "stride": self.stride,
            "phase": self.phase,
            "tail": self.tail,
        }
        return {"policy": "concat", **fields}

    def starts(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> Int64:
        """The first token of each window: (B,) int64 for ``ids`` (B,) and ``epoch`` (B,) or one for all."""
        if self.rows:
            return self.rows.starts(np.asarray(ids, dtype=np.int64))
        starts = np.asarray(ids, dtype=np.int64) * self.stride
        return starts if self.phase == 0 else starts + self.offsets(epoch, key=key)

    def offsets(self, epoch: Int64 | int, *, key: Key = (0, "")) -> Int64:
        """The phase of each of ``epoch`` (any shape): int64 in ``[0, stride)``, same shape."""
        epochs, inverse = np.unique(np.asarray(epoch, dtype=np.int64), return_inverse=True)
        offsets = [int(keyed_integers(1, "phase", *key, int(e))[0]) % self.stride for e in epochs]
        return np.array(offsets, dtype=np.int64)[inverse].reshape(np.shape(epoch))

    def gather(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> NDArray[Any]:
        """Windows ``ids`` (B,) of ``epoch`` (B,) or one for all: (B, max_length + 1) in the store's dtype."""
        ids = np.asarray(ids, dtype=np.int64)
        if not self.may_mask and self.phase == 0:
            return self.store.gather(self.starts(ids), self.max_length + 1)  # an id that is none leaves the store
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.num_samples):
            raise IndexError(f"window ids {ids.min()} to {ids.max()} of {self.num_samples}")
        if self.rows:
            return self.rows.gather(ids)
        starts, length = self.starts(ids, epoch, key=key), self.max_length + 1
        if not self.may_mask or not (padded := ids >= self._num_full).any():
            return self.store.gather(starts, length)
        out = np.empty((len(ids), length), dtype=self.store.dtype)
        out[~padded] = self.store.gather(starts[~padded], length)
        out[padded] = self._padded_row()
        return out

    def target_mask(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> NDArray[np.bool_] | None:
        """Which targets count, (B, max_length) bool, or None when all do."""
        if not self.may_mask:
            return None
        if self.rows:
            return self.rows.target_mask(np.asarray(ids))
        padded = np.asarray(ids) >= self._num_full
        if not padded.any():
            return None
        mask = np.ones((len(padded), self.max_length), dtype=np.bool_)
        mask[padded, self._num_left() - 1 :] = False
        return mask

    def touches(self, ids: Int64, epoch: Int64 | int, documents: Int64, *, key: Key = (0, "")) -> NDArray[np.bool_]:
        """Which windows ``ids`` (B,) hold a token of one of ``documents`` (sorted numbers): (B,) bool."""
        if self.rows:
            return self.rows.touches(ids, documents)
        starts = self.starts(ids, epoch, key=key)
        first = self.store.document_at(starts)
        last = self.store.document_at(np.minimum(starts + self.max_length, self.store.num_tokens - 1))
        return np.searchsorted(documents, first, side="left") < np.searchsorted(documents, last, side="right")

    def documents(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> Int64:
        """The document of each token of windows ``ids`` (B,): (B, max_length + 1) int64, -1 where there is none."""
        if self.rows:
            return self.rows.documents(np.asarray(ids))
        starts = self.starts(ids, epoch, key=key)
        lengths = np.minimum(self.max_length + 1, self.num_tokens - starts)
        return lay_out(documents_of(self.store, starts, lengths), lengths, self.max_length + 1, -1)

    @property
    def max_documents(self) -> int:
        """The most documents in a window's inputs; costs a pass over the document index."""
        if self.rows and self.policy != "bos":
            return self.rows.max_documents
        return most_documents(self.store, self.max_length)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def _make_rows(self, policy: Policy) -> DocumentRows:
        return DocumentRows(self.store, self.max_length, find_pieces(self.store, self.max_length, policy), self.eos_id)

    def _count_full(self) -> int:
        spare = self.store.num_tokens - self.max_length - (self.phase == 0)
        return max(0, spare // self.stride + (self.phase == 0))

    def _num_left(self) -> int:
        return self.store.num_tokens - self._num_full * self.stride  # tokens from the next window's start on

    def _num_padded(self) -> int:
        last_target = (self._num_full - 1) * self.stride + self.max_length if self._num_full else 0
        left_over = self.store.num_tokens - 1 > last_target and self._num_left() >= 2
        return int(self.tail == "pad" and left_over)

    def _padded_row(self) -> NDArray[Any]:
        row = np.full(self.max_length + 1, self.eos_id, dtype=self.store.dtype)
        row[: self._num_left()] = self.store.tokens(self._num_full * self.stride)
        return row

    def _check_choices(self) -> None:
        if self.phase not in (0, "epoch") or self.tail not in ("drop", "pad"):
            raise ValueError(f'phase is {self.phase!r} (0 or "epoch"), tail is {self.tail!r} ("drop" or "pad")')
        if self.phase == "epoch" and self.tail == "pad":
            raise ValueError('tail="pad" pads one fixed end, and phase="epoch" moves it: choose one of them')
        if self.policy not in POLICIES:
            raise ValueError(f"policy is {self.policy!r}, and the policies are {', '.join(POLICIES)}")
        given = (self.stride, self.phase, self.tail)
        if self.policy != "concat" and given != (self.max_length, 0, "drop"):
            raise ValueError(
                f'stride, phase and tail are {given}, and policy="{self.policy}" takes none of them: its rows are made '
                'of documents. Leave them out, or use policy="concat".'
            )

    def _too_short(self) -> str:
        n, length = self.store.num_tokens, self.max_length
        if self.rows:
            return f"none of the store's {self.store.num_documents} documents has 2 tokens, an input and its target."
        if n < 2:
            return f"the store has {n} tokens, and the shortest window needs 2: an input and its target. Add text."
        at_most = n - 1 if self.phase == 0 else n - self.stride
        remedies = [f"max_length <= {at_most}"] if at_most >= 1 else [f"a stride <= {n - 1} and a shorter max_length"]
        if self.phase == 0:
            remedies.append(f'tail="pad" (1 window, {length + 1 - n} targets masked)')
        need = f"max_length + 1 = {length + 1}" + (f" + stride - 1 = {length + self.stride}" if self.phase else "")
        return f"the store has {n} tokens, and one window needs {need}. Use {', or '.join(remedies)}, or add text."

    def _warn_about_gaps(self) -> None:
        gap = self.stride - self.max_length  # 0 or less for every policy but concat
        num_targets = self.store.num_tokens - 1
        left_out = num_targets - self.num_samples * self.max_length
        if gap > 0 and left_out > 0:
            warnings.warn(
                f"stride {self.stride} > max_length {self.max_length} leaves {gap} targets between neighbouring "
                f"windows: {left_out} of {num_targets} targets are never trained on. Use stride <= "
                f"{self.max_length} to train on all.",
                stacklevel=3,
            )
