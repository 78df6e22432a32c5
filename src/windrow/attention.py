"""Attention within documents, for torch: the masks made of ``document_ids``.

Guarantee: a place attends to itself and to the places before it that are of the same document, and to no other;
padding (document -1) attends to padding, so that no row of a softmax is empty. Cost: ``block_mask`` keeps a few
integers per 128 places, ``dense_mask`` one bool for each pair of places. Imports torch at first use.
"""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["block_mask", "dense_mask"]


def dense_mask(document_ids: "Tensor") -> "Tensor":
    """(B, L) -> (B, 1, L, L) bool, True where a query may look: ``scaled_dot_product_attention``'s ``attn_mask``."""
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return same.tril_()  # causal


def block_mask(document_ids: "Tensor") -> "BlockMask":
    """(B, L) -> the mask of ``flex_attention``, for any number of heads, on the ids' device; needs torch >= 2.5."""
    from torch.nn.attention.flex_attention import create_block_mask

    num_rows, length = document_ids.shape
    within = partial(_within_document, document_ids)  # not a closure: a batch with it can cross to another process
    return create_block_mask(within, num_rows, None, length, length, device=document_ids.device)


def _within_document(document_ids: "Tensor", row: "Tensor", head: "Tensor", query: "Tensor", key: "Tensor") -> "Tensor":
    return (query >= key) & (document_ids[row, query] == document_ids[row, key])
