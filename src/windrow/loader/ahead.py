"""The future of a loader that draws from stores far away, told to their caches.

Guarantee: it changes no batch; a cache that the recipe cannot be read through is an error when the loader is made.
Cost: the arithmetic of the order and of spans, once more. It does not do: fetching.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import numpy as np

from windrow.arrays import Int64
from windrow.errors import WindrowError
from windrow.far.ahead import Ahead
from windrow.far.cache import Cache
from windrow.loader.recipe import Recipe
from windrow.order.mixture_order import Order
from windrow.windows.draw import Draw
from windrow.windows.windows import Windows

__all__ = ["Following", "caches_of", "most_mixed", "require_room"]

_PARTS = 8  # of the windows of a block: how finely the future is told
_NONE = np.empty(0, np.int64)


def caches_of(members: Mapping[str, Windows]) -> dict[str, Cache]:
    """The cache of each member whose store is far away, by its name."""
    found = {name: member.store.blocks(_NONE, _NONE) for name, member in members.items()}
    return {name: held[0] for name, held in found.items() if held}


def require_room(recipe: Recipe) -> None:
    """Raise ``WindrowError`` where what is shuffled together does not fit in the cache it is read through."""
    taken = dict[int, float]()
    for name, cache in caches_of(recipe.members).items():
        if cache.holds_all:
            continue
        member, most = recipe.members[name], most_mixed(recipe.members, name, cache)
        held = f"the cache of {member.store!r} holds {cache.num_slots} of its {len(cache.blocks)} blocks"
        if member.policy == "pack" or (member.document_order == "epoch" and member.policy != "pad"):
            raise WindrowError(
                f"{held}, and the rows of policy={member.policy!r} with documents={member.document_order!r} lie "
                f"anywhere in the store: each would be fetched again and again. Give {cache.lacks:,} more cache_bytes, "
                "or windows of the policy 'concat'."
            )
        block = min(recipe.shuffle_block or member.num_samples, member.num_samples) if recipe.shuffle else 1
        blocks = block / _windows_in_block(member, cache) + 2  # they begin and end within one
        taken[id(cache)] = taken.get(id(cache), 0) + blocks
        if taken[id(cache)] > cache.num_slots:
            raise WindrowError(
                f"{held}, and shuffle_block={recipe.shuffle_block} mixes more than that: each would be fetched again "
                f"and again. Give shuffle_block={most}, or {cache.lacks:,} more cache_bytes."
            )


def most_mixed(members: Mapping[str, Windows], name: str, cache: Cache) -> int:
    """The largest ``shuffle_block`` that fits in the cache of member ``name``, if all are read through it."""
    return int(max(cache.num_slots / len(members) - 2, 1) * _windows_in_block(members[name], cache))


def _windows_in_block(member: Windows, cache: Cache) -> float:
    return cache.nbytes * member.num_samples / member.num_tokens / (member.dtype.itemsize + member.store.has_counts)


class Following:
    """The readers of one iteration over ``recipe`` in ``order``, from ``position`` to ``stop``, one for each cache."""

    def __init__(self, recipe: Recipe, order: Order, position: int, stop: int | None) -> None:
        caches, self._order, self._draw = caches_of(recipe.members), order, Draw(recipe.members, recipe.seed)
        number = int.from_bytes(sha256((recipe.to_json() + recipe.data_json()).encode()).digest()[:7]) if caches else 0
        windows = [_windows_in_block(recipe.members[name], cache) for name, cache in caches.items()]
        span = max(1, int(min(windows, default=1) / _PARTS))
        self._needs, self._stop = lru_cache(maxsize=16)(self._needed), stop or 0
        each = {id(cache): cache for cache in caches.values()}.values()
        self._ahead = [Ahead(one, number, partial(self._of, one), span, position, stop) for one in each]

    def stand(self, position: int) -> None:
        """All before ``position`` has been read."""
        for one in self._ahead:
            one.reader.stand(position)

    def close(self) -> None:
        """Fetch no more."""
        for one in self._ahead:
            one.close()

    def _of(self, cache: Cache, start: int, stop: int) -> Int64:
        return np.concatenate([_NONE, *(blocks for held, blocks in self._needs(start, stop) if held is cache)])

    def _needed(self, start: int, stop: int) -> list[tuple[Any, Int64]]:
        """The caches and blocks that positions ``start`` to ``stop`` need, over all ranks, cut at the last one."""
        end = self._stop if start < self._stop < stop else stop
        return self._draw.blocks(np.stack(self._order.at(np.arange(start, end))))
