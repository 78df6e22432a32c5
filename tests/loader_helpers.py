"""What the tests of making batches share: loaders over ids that tell their place."""

from typing import Any

import numpy as np

from windrow import Loader, TokenStore, Windows


def store_of(num_tokens: int, dtype: Any = np.uint16, first: int = 0) -> TokenStore:
    return TokenStore.from_ids((np.arange(num_tokens) + first).astype(dtype), eos_id=65_000)


def loader_of(**kwargs: Any) -> Loader:
    return Loader(Windows(store_of(4000, first=61_000), 7, 5), **{"batch_size": 3, "seed": 4, **kwargs})


def as_lists(loader: Loader) -> list[Any]:
    return [[np.asarray(part).tolist() for part in batch] for batch in loader]
