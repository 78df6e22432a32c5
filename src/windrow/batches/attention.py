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

_BLOCK = 128  # places in a block: FlexAttention's own choice


def dense_mask(document_ids: "Tensor") -> "Tensor":
    """(B, L) -> (B, 1, L, L) bool, True where a query may look: ``scaled_dot_product_attention``'s ``attn_mask``."""
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return same.tril_()  # causal


def block_mask(document_ids: "Tensor") -> "BlockMask":
    """(B, L) -> the mask of ``flex_attention``, for any number of heads, on the ids' device.

    The same as torch's ``create_block_mask`` makes, without looking at all pairs of places: a document is one run of
    places in a row, so a block of queries needs the blocks from its first query's beginning on. Needs a torch whose
    ``BlockMask.from_kv_blocks`` takes ``seq_lengths``.
    """
    import torch
    from torch.nn.attention.flex_attention import BlockMask

    length = document_ids.shape[1]
    place = torch.arange(length, device=document_ids.device)
    changes = document_ids[:, 1:] != document_ids[:, :-1]
    begin = torch.zeros_like(document_ids)  # (B, L) where the stretch that holds each place begins
    begin[:, 1:] = torch.where(changes, place[1:], 0).cummax(dim=1).values
    first = begin[:, ::_BLOCK, None]  # (B, n, 1) of each block's first query
    last = begin[:, [*range(_BLOCK - 1, length, _BLOCK)], None]  # of its last, but for a block that L cuts short
    if length % _BLOCK:
        last = torch.nn.functional.pad(last, (0, 0, 0, 1), value=length)
    block = torch.arange(first.shape[1], device=document_ids.device)
    queries, keys = block[:, None], block[None, :]
    needed = (keys <= queries) & ((keys + 1) * _BLOCK > first)  # (B, n, n)
    full = (keys < queries) & (keys * _BLOCK >= last)
    parts = *_listed(needed & ~full), *_listed(full)
    within = partial(_within_document, document_ids)  # not a closure: a batch with it can cross to another process
    made: BlockMask = BlockMask.from_kv_blocks(*parts, _BLOCK, within, seq_lengths=(length, length))
    return made


def _listed(blocks: "Tensor") -> "tuple[Tensor, Tensor]":
    """Which blocks of keys each block of queries has: how many (B, 1, n), and their numbers, first (B, 1, n, n)."""
    numbers = blocks.byte().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1)[:, None].int(), numbers[:, None].int()


def _within_document(document_ids: "Tensor", row: "Tensor", head: "Tensor", query: "Tensor", key: "Tensor") -> "Tensor":
    return (query >= key) & (document_ids[row, query] == document_ids[row, key])
