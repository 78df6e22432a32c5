"""One call from text to batches, for text that fits in memory.

``from_text`` is the long way with defaults: ``TokenStore.from_ids`` -> ``Windows`` -> ``Loader``.
"""

from typing import TYPE_CHECKING, Literal

from windrow.loader.loader import Loader
from windrow.store.store import TokenStore
from windrow.text.sources import refuse_path
from windrow.tokens.protocol import Tokenizer, encode_documents
from windrow.tokens.tokenizer import load_tokenizer
from windrow.windows.windows import Windows

if TYPE_CHECKING:
    import torch

__all__ = ["from_text"]


def from_text(
    text: str,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    max_length: int = 256,
    stride: int | None = None,
    batch_size: int = 4,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = True,
    tail: Literal["drop", "pad"] = "drop",
    epochs: int | None = 1,
    device: "str | torch.device | None" = None,
) -> Loader:
    """A loader over one text: no eos is added, for one text has no neighbour.

    The arguments are those of ``load_tokenizer``, ``Windows`` and ``Loader``; each batch is inputs and targets
    (batch_size, max_length) int64. Raises ``ValueError`` if ``text`` is the path of a file.
    """
    refuse_path(text)
    loaded = load_tokenizer(tokenizer)
    (ids,) = encode_documents(loaded, [text])
    windows = Windows(TokenStore.from_ids(ids, tokenizer=loaded), max_length, stride, tail=tail)
    return Loader(windows, batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last, epochs=epochs, device=device)
