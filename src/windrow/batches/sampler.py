"""What torch's own sampler draws for the batches of a `DataLoader`, without drawing it.

Guarantee: the indices are those that the loader gives when it is iterated, for any `num_workers`, and torch's random
state is left as it was. Cost: an epoch of indices, and the samples of the batches that are asked for. It does not know
windrow's own order: `loader.lookup` says what that draws.
"""

from collections.abc import Sized
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from windrow.batches.map_dataset import Pair

__all__ = ["DrawnBatch", "drawn_batches"]


class DrawnBatch(NamedTuple):
    """A batch as torch's sampler drew it: the indices of its samples, and the shapes of its inputs x and targets y."""

    indices: list[int]
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]


def drawn_batches(
    loader: DataLoader[Pair], num_batches: int = 8, num_epochs: int = 2, seed: int | None = None
) -> list[list[DrawnBatch]]:
    """The first batches of the epoch that `loader` begins when it is iterated next, and of the epochs after it.

    With `seed`, those of a run that begins with `torch.manual_seed(seed)`, also of one that is over. Nothing is drawn
    by asking: the random state is left as it was. Raises ValueError when the dataset has no length.
    """
    if not isinstance(loader.dataset, Sized):
        kind = type(loader.dataset).__name__
        raise ValueError(f"{kind} has no length, so torch's sampler draws no indices for it. Use GPTDatasetV1.")
    generator = loader.generator or torch.default_generator
    places: Any = range(len(loader.dataset))  # a dataset of indices, which a loader of the same sampler draws alike
    twin = DataLoader(places, batch_sampler=loader.batch_sampler, generator=loader.generator, collate_fn=list)
    before = generator.get_state()
    try:
        if seed is not None:
            generator.manual_seed(seed)
        epochs = [list(twin)[:num_batches] for _ in range(num_epochs)]
    finally:
        generator.set_state(before)
    return [[_drawn(loader, indices) for indices in epoch] for epoch in epochs]


def _drawn(loader: DataLoader[Pair], indices: list[int]) -> DrawnBatch:
    x, y = loader.collate_fn([loader.dataset[index] for index in indices])
    return DrawnBatch(indices, tuple(x.shape), tuple(y.shape))
