"""Windows over a store: window id, epoch -> the spans of tokens that make up the row. Nothing is materialised.

Guarantee: a row is ``max_length + 1`` tokens: ``max_length`` inputs and, moved on by one, ``max_length`` targets. Its
spans are what the policy's layout says, and all else is written over them. Cost: that of the store's gather. Knows no
order and no ranks.
"""

import warnings
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Mask, whole_numbers
from windrow.errors import Fixed, NotEnoughTokensError, whole_number
from windrow.store.store import TokenStore
from windrow.windows.document_rows import INDEX_VERSION, Exchanged, Pieces, find_pieces
from windrow.windows.epoch_documents import EpochDocuments
from windrow.windows.sliding import Relaid, Sliding
from windrow.windows.spans import Key, Spans, most_documents, most_short_documents

__all__ = ["POLICIES", "Policy", "Windows"]

Policy = Literal["concat", "pad", "pack", "bos", "evaluation"]
POLICIES: tuple[Policy, ...] = ("concat", "pad", "pack", "bos")  # to train with
_AT_A_TIME = 1 << 14  # rows


class Windows(Fixed):
    """Rows of ``max_length`` inputs from ``store``: sliding windows, or what another ``policy`` makes of documents.

    Args:
        store: the tokens. If it has counts, a target counts only if its token does.
        max_length: number of inputs in a window; a window spans ``max_length + 1`` tokens.
        stride: tokens from the start of a window to the next; None is ``max_length``: every token is a target once.
        phase: ``"epoch"`` shifts all windows of an epoch by an offset in ``[0, stride)`` drawn by the seed, so that
            window edges move between epochs; 0 does not.
        tail: ``"pad"`` adds one last window if targets are left over; its missing inputs are eos (0 if the store has
            none) and its missing targets are masked. ``"drop"`` leaves them out.
        policy: how documents become rows. ``"concat"``: windows over all documents laid end to end, one every
            ``stride`` tokens. ``"pad"``: one document in a row, or several rows for a long one, then padding.
            ``"pack"``: as many pieces of documents in a row as fit, by best-fit-decreasing. ``"bos"``: each row starts
            where a document starts, and may cut off its last one. With pad and pack, a target in another document than
            its input does not count. stride, phase and tail are for concat only. ``"evaluation"`` is what
            ``Loader.evaluation`` makes of concat: each target of the store counts exactly once.
        documents: ``"epoch"`` gives documents other neighbours in every epoch, drawn by the seed. Under concat they are
            laid end to end in another order before windows are cut; under pack, pieces of one length change places;
            under pad there is nothing to change. ``"store"`` keeps the order of the store.

    In n tokens there are ``(n - max_length - 1) // stride + 1`` windows; with phase there are ``(n - max_length) //
    stride``, the number that fits at every offset.

    Raises ``ValueError`` for sizes below 1 and ``NotEnoughTokensError`` if no window fits; warns if ``stride >
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
        documents: Literal["store", "epoch"] = "store",
    ) -> None:
        if not isinstance(store, TokenStore):
            raise ValueError(
                f"windows are cut from a TokenStore, and this is a {type(store).__name__}. Give open_store("
                '"corpus/train") for a folder, TokenStore.from_ids(ids) for ids, or stores["train"] of what prepare '
                "returned."
            )
        self.store = store
        self.max_length: int = whole_number("max_length", max_length)
        self.stride: int = whole_number("stride", max_length if stride is None else stride)
        self.phase, self.tail, self.policy, self.document_order = phase, tail, policy, documents
        self._check_choices()
        self.layout: Sliding | Pieces | Exchanged = self._laid_out()
        self.num_samples: int = self.layout.num_rows
        if not self.num_samples:
            raise NotEnoughTokensError(self._too_short())
        self._warn_about_gaps()

    def evaluation(self) -> Self:
        """These windows for exact evaluation: all n - 1 targets of n tokens count exactly once, whatever the stride.

        With ``stride < max_length`` the overlap is context only: a window after the first counts its last ``stride``
        targets; the last window is padded. (Sliding-window perplexity, as language-model evaluation uses it, e.g.
        Baevski and Auli, "Adaptive input representations", 2018.) Raises ``ValueError`` for another policy than
        concat, and when ``stride > max_length`` would leave targets out.
        """
        if self.policy != "concat":
            raise ValueError(
                f"policy is {self.policy!r}, and evaluation slides over the concatenation. Give windows of policy "
                '"concat", or score these rows by Loader(windows, batch_size, shuffle=False, drop_last=False).'
            )
        return type(self)(self.store, self.max_length, self.stride, policy="evaluation")

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
        """Whether there is a row in which some target does not count."""
        return self.layout.may_mask or self.store.has_counts

    @property
    def moves(self) -> bool:
        """Whether the rows of an epoch are others than those of the epoch before."""
        return self.phase == "epoch" or isinstance(self.layout, Relaid | Exchanged)

    @property
    def eos_id(self) -> int:
        """What masked inputs are filled with: the store's eos, or 0 when it has none."""
        return self.store.eos_id or 0

    def recipe(self) -> dict[str, Any]:
        """The part of the recipe that windows fix, as JSON values."""
        fixed: dict[str, Any] = {"policy": self.policy, "max_length": self.max_length}
        if self.document_order == "epoch" and self.policy != "pad":
            fixed["documents"] = "epoch"
        if self.policy == "concat":
            return fixed | {"stride": self.stride, "phase": self.phase, "tail": self.tail}
        return fixed | ({"stride": self.stride} if self.policy == "evaluation" else {"index": INDEX_VERSION})

    def spans(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> Spans:
        """The stretches of the store that make up windows ``ids`` (B,) of ``epoch`` (B,) or one for all, in order.

        Raises ``IndexError`` for an id that is none.
        """
        ids = whole_numbers("window ids", ids)
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.num_samples):
            raise IndexError(f"window ids {ids.min()} to {ids.max()} of {self.num_samples}")
        return self.layout.spans(ids, epoch, key=key)

    def starts(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> Int64:
        """The first token of each of windows ``ids`` (B,): (B,) int64."""
        spans = self.spans(ids, epoch, key=key)
        starts: Int64 = spans.starts[spans.in_row() == 0]
        return starts

    def rows(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> tuple[NDArray[Any], Mask | None]:
        """Windows ``ids`` (B,) of ``epoch`` (B,) or one for all: tokens (B, max_length + 1) and which targets count.

        The tokens are a fresh array of the store's dtype; the mask is (B, max_length), or None when all count.
        """
        width, layout = self.max_length + 1, self.layout
        if isinstance(layout, Sliding) and layout.is_plain and not self.may_mask:  # an id that is none leaves the store
            return self.store.gather(whole_numbers("window ids", ids) * layout.stride, width), None
        spans = self.spans(ids, epoch, key=key)
        tokens = spans.tokens(self.store, width, self.eos_id)
        if not self.may_mask or (not self.store.has_counts and spans.are_whole(width) and (spans.context == 1).all()):
            return tokens, None
        return tokens, spans.targets(self.store, width)

    def gather(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> NDArray[Any]:
        """The tokens of ``rows``."""
        return self.rows(ids, epoch, key=key)[0]

    def documents(self, ids: Int64, epoch: Int64 | int = 0, *, key: Key = (0, "")) -> Int64:
        """The document of each token of windows ``ids`` (B,): (B, max_length + 1) int64, -1 where there is none.

        Within a row two stretches of one document never meet with a gap between them.
        """
        return self.spans(ids, epoch, key=key).documents(self.store, self.max_length + 1)

    def num_targets(self, *, key: Key = (0, ""), masks_edges: bool = False) -> int:
        """How many targets of epoch 0 count; of rows that mask some, a pass over their spans.

        ``masks_edges``: a target that is the first token of another document than its input's does not count.
        """
        if not self.may_mask and not masks_edges:
            return self.num_samples * self.max_length
        parts = (
            range(self.num_samples)[first : first + _AT_A_TIME] for first in range(0, self.num_samples, _AT_A_TIME)
        )
        rows = (self.spans(np.arange(part.start, part.stop), key=key) for part in parts)
        return sum(spans.num_targets(self.store, masks_edges) for spans in rows)

    @property
    def max_documents(self) -> int:
        """The most documents in a window's inputs; costs a pass over the document index."""
        if isinstance(self.layout, Pieces | Exchanged) and self.policy != "bos":
            return self.layout.most_in_a_row
        if isinstance(self.layout, Relaid):
            return most_short_documents(self.store, self.max_length)
        return most_documents(self.store, self.max_length)

    # -- checks ----------------------------------------------------------------------------------------------------

    def _laid_out(self) -> Sliding | Pieces | Exchanged:
        anew = self.document_order == "epoch"
        if self.policy not in ("concat", "evaluation"):
            if anew and self.policy == "pack":
                return Exchanged(self.store, self.max_length)
            return find_pieces(self.store, self.max_length, self.policy)
        once = self.policy == "evaluation"
        pads, moves = once or self.tail == "pad", self.phase == "epoch"
        sizes = (self.store.num_tokens, self.max_length, self.stride, moves, pads, once)
        return Relaid(*sizes, documents=EpochDocuments(self.store)) if anew else Sliding(*sizes)

    def _check_choices(self) -> None:
        if self.phase not in (0, "epoch") or self.tail not in ("drop", "pad"):
            raise ValueError(f'phase is {self.phase!r} (0 or "epoch"), tail is {self.tail!r} ("drop" or "pad")')
        if self.phase == "epoch" and self.tail == "pad":
            raise ValueError('tail="pad" pads one fixed end, and phase="epoch" moves it: choose one of them')
        if self.policy == "evaluation" and self.stride > self.max_length:
            raise ValueError(
                f"stride is {self.stride} > max_length {self.max_length}: the targets in between would never be "
                f"scored. Use stride <= {self.max_length}."
            )
        if self.document_order not in ("store", "epoch"):
            raise ValueError(f'documents is {self.document_order!r}, and it is "store" or "epoch"')
        if self.document_order == "epoch" and self.policy in ("bos", "evaluation"):
            why = "each order of documents would give another number of rows, and an epoch has one"
            raise ValueError(
                f'documents is "epoch", and policy="{self.policy}" takes none: '
                f"{why if self.policy == 'bos' else 'an evaluation reads the store as it lies'}. "
                'Leave documents out, or use policy="concat", "pack" or "pad".'
            )
        if self.policy not in get_args(Policy):
            raise ValueError(f"policy is {self.policy!r}, and the policies are {', '.join(POLICIES)}")
        given = (self.max_length if self.policy == "evaluation" else self.stride, self.phase, self.tail)
        if self.policy != "concat" and given != (self.max_length, 0, "drop"):
            raise ValueError(
                f'stride, phase and tail are {given}, and policy="{self.policy}" takes none of them: its rows are made '
                'of documents. Leave them out, or use policy="concat".'
            )

    def _too_short(self) -> str:
        n, length = self.store.num_tokens, self.max_length
        if isinstance(self.layout, Pieces | Exchanged):
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
