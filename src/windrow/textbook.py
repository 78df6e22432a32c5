"""The loaders that books and courses teach, as thin doors into the same house.

`GPTDatasetV1` and `create_dataloader_v1` are the names of Sebastian Raschka's "Build a Large Language Model
(From Scratch)"; the others are those of courses that follow it. Signatures and batches are theirs.

Guarantee: under the same `torch.manual_seed` a loader made here gives the batches that the plain classes (a loop
over the text, a list of tensors, a `DataLoader`) give, for any `num_workers`.
Cost: memory is that of the tokens, 2 bytes each, whatever the stride: a window is cut when it is asked for, a
batch in one gather.
It does not do: add eos, resume, ranks, files larger than memory. `windrow.Loader` does.
"""

import operator
import os
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from windrow.distribution import install_line

try:
    import torch
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "windrow.textbook gives torch tensors, and torch is not installed. Install it with "
        f"{install_line('torch')}, or use windrow.from_text(...), which gives NumPy arrays.",
        name="torch",
    ) from _error
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from windrow.batches.map_dataset import DrawnBatch, Pair, WindowDataset, cut_windows, drawn_batches, require_batch
from windrow.errors import NotEnoughTokensError, whole_number
from windrow.text.demo import demo_text
from windrow.text.parse import read_text
from windrow.text.sources import refuse_path
from windrow.tokens.protocol import EOT
from windrow.tokens.tokenizer import TextTokenizer, load_tokenizer

__all__ = [
    "DrawnBatch",
    "GPT2DataConfig",
    "GPTDatasetV1",
    "LMSequenceDataset",
    "create_dataloader",
    "create_dataloader_v1",
    "create_dataset",
    "drawn_batches",
    "load_tokens",
    "make_dataloader",
    "train_valid_split",
]

ALLOWED_SPECIAL = {EOT}  # the textbooks read it as the end of a text, not as letters


class Encodes(Protocol):
    """What the doors ask of a tokenizer: one of windrow's, or a `tiktoken.Encoding`."""

    def encode(self, text: str, *, allowed_special: Any) -> Sequence[int]: ...


# The doors of the book


def create_dataloader_v1(
    txt: str,
    batch_size: int = 4,
    max_length: int = 256,
    stride: int = 128,
    shuffle: bool = True,
    drop_last: bool = True,
    num_workers: int = 0,
) -> DataLoader[Pair]:
    """A `DataLoader` of [inputs, targets], each (batch_size, max_length) int64, over GPT-2 tokens of `txt`.

    The book's function of that name (Raschka, "Build a Large Language Model (From Scratch)"), and its batches.
    max_length and stride count tokens; `<|endoftext|>` in the text is its special token, and none is added.

    Raises ValueError when txt is the path of a file or a size is < 1, and NotEnoughTokensError when the text is
    too short for one window or, with drop_last, for one batch. Warns when stride > max_length.
    """
    dataset = GPTDatasetV1(txt, load_tokenizer("gpt2"), max_length, stride)
    return create_dataloader(dataset, batch_size, shuffle, drop_last, num_workers)


def create_dataset(
    dataset_type: str = "gpt_v1",
    txt: str | None = None,
    tokenizer: Encodes | None = None,
    max_length: int = 256,
    stride: int = 128,
) -> "GPTDatasetV1":
    """The dataset of that type over `txt`; "gpt_v1", a `GPTDatasetV1`, is the only one.

    Raises ValueError for an unknown type (with the list), a missing txt or tokenizer, and as `GPTDatasetV1` does.
    """
    if dataset_type != "gpt_v1":
        raise ValueError(f"Unknown dataset_type {dataset_type!r}: the types are gpt_v1.")
    if txt is None:
        raise ValueError("The txt parameter is required: the text itself, a str.")
    if tokenizer is None:
        raise ValueError('The tokenizer parameter is required: windrow.load_tokenizer("gpt2") is one.')
    return GPTDatasetV1(txt, tokenizer, max_length, stride)


def create_dataloader(
    dataset: Dataset[Pair],
    batch_size: int = 4,
    shuffle: bool = True,
    drop_last: bool = True,
    num_workers: int = 0,
    **options: Any,
) -> DataLoader[Pair]:
    """torch's own `DataLoader` over any dataset, never one of length 0. More options go on to `DataLoader`.

    Raises ValueError when batch_size < 1, and NotEnoughTokensError when the dataset is empty or, with drop_last,
    has fewer samples than batch_size.
    """
    batch_size = whole_number("batch_size", batch_size)
    if isinstance(dataset, Sized):
        require_batch(dataset, batch_size, drop_last)
    return DataLoader(dataset, batch_size, shuffle, drop_last=drop_last, num_workers=num_workers, **options)


# The datasets


class GPTDatasetV1(WindowDataset):
    """Windows of `max_length` tokens of `txt`, one every `stride` tokens: (inputs, targets) int64 pairs.

    The book's class of that name (Raschka, "Build a Large Language Model (From Scratch)"): window i starts at
    token i * stride, for the starts in range(0, num_tokens - max_length, stride). `input_ids` and `target_ids`
    read like the lists of tensors that they are there. `tokenizer` is windrow's or a `tiktoken.Encoding`.

    Raises ValueError when txt is the path of a file or a size is < 1, and NotEnoughTokensError when the text is
    shorter than max_length + 1 tokens. Warns when stride > max_length, for then some targets are never trained on.
    """

    def __init__(self, txt: str, tokenizer: Encodes, max_length: int, stride: int) -> None:
        refuse_path(txt, "txt")
        ids = np.array(tokenizer.encode(txt, allowed_special=ALLOWED_SPECIAL), dtype=np.int64)
        super().__init__(cut_windows("txt", ids, "max_length", max_length, stride))


class LMSequenceDataset(WindowDataset):
    """Every place of `tokens` that a window fits at: (inputs, targets), each (block_size,) int64.

    There are num_tokens - block_size windows. tokens: a list of int, a 1-D array or tensor of integers; uint16
    and uint32 arrays are not copied. Raises ValueError when block_size < 1, and NotEnoughTokensError, which is
    one too, for fewer than block_size + 1 tokens.
    """

    def __init__(self, tokens: Sequence[int] | NDArray[Any] | Tensor, block_size: int) -> None:
        self.block_size: int = whole_number("block_size", block_size)
        array = tokens.numpy(force=True) if isinstance(tokens, Tensor) else np.asarray(tokens)
        windows = cut_windows("tokens", array, "block_size", block_size, stride=1)
        self._store = windows.store
        super().__init__(windows)

    @property
    def tokens(self) -> Sequence[int]:
        """All ids, read-only, read like the list that they are in the courses; a copy, 2 bytes each (or 4)."""
        return _ListView(self._store.tokens(), range(self._store.num_tokens))


# The doors of the courses


@dataclass
class GPT2DataConfig:
    """What `make_dataloader` needs to know: block_size in tokens, batch_size in windows, the order and its seed."""

    block_size: int = 256
    batch_size: int = 4
    shuffle: bool = True
    seed: int = 123


def make_dataloader(
    cfg: GPT2DataConfig,
    text_path: str | os.PathLike[str] | None = None,
    train_frac: float = 0.9,
    num_workers: int = 1,
) -> dict[str, Any]:
    """{"train_dl", "valid_dl", "encoder"}: loaders of [inputs, targets], each (B, block_size) int64, B <= batch_size.

    One cut at int(num_tokens * train_frac); every offset of a part is a window, and the last batch may be short.
    As in the courses, this seeds torch's global generator with cfg.seed, and both loaders shuffle by it, if
    cfg.shuffle, when they are iterated. Memory is pinned where there is an accelerator to copy to.

    Raises ValueError for a size < 1 or train_frac outside (0, 1), SourceError as `load_tokens` does, and
    NotEnoughTokensError when a part is too short for one window.
    """
    _require_share("train_frac", train_frac)
    _, tokens, encoder = load_tokens(cfg, text_path)
    parts = _datasets_of_parts(np.asarray(tokens), cfg.block_size, train_frac)
    options = {"num_workers": num_workers, "pin_memory": _pins_memory()}
    torch.manual_seed(cfg.seed)
    train_dl, valid_dl = (create_dataloader(part, cfg.batch_size, cfg.shuffle, False, **options) for part in parts)
    return {"train_dl": train_dl, "valid_dl": valid_dl, "encoder": encoder}


def _datasets_of_parts(tokens: NDArray[Any], block_size: int, train_frac: float) -> list[LMSequenceDataset]:
    """That of the train part and that of the valid part; a part too short for a window is named, with the way out."""
    datasets = []
    for name, part in zip(("train", "valid"), train_valid_split(tokens, train_frac), strict=True):
        try:
            datasets.append(LMSequenceDataset(part, block_size))
        except NotEnoughTokensError as error:
            remedy = _split_remedy(len(tokens), block_size, train_frac)
            raise NotEnoughTokensError(f"split {name!r}: {error} Or use {remedy}.") from None
    return datasets


def load_tokens(
    cfg: GPT2DataConfig, text_path: str | os.PathLike[str] | None = None
) -> tuple[str, list[int], TextTokenizer]:
    """(corpus, tokens, encoder): the text of a file, its GPT-2 ids, and the tokenizer that made them.

    None is the demo's text, the language reference that ships with Python. A file is read as `open` reads text:
    UTF-8, line ends as "\\n". `cfg` is there for the courses' signature. Raises SourceError, with file and byte
    offset, when the file is not UTF-8, and when it cannot be read.
    """
    corpus = demo_text() if text_path is None else read_text(Path(text_path))
    encoder = load_tokenizer("gpt2")
    return corpus, encoder.encode(corpus, allowed_special=ALLOWED_SPECIAL), encoder


def train_valid_split(tokens: Any, split_frac: float = 0.9) -> tuple[Any, Any]:
    """(train, valid): tokens before and from int(num_tokens * split_frac) on; views, nothing is copied.

    Parts of an array or a tensor are slices of it. Parts of a list, whose slices would be copies, are read-only
    sequences that index, iterate and compare like lists. Raises ValueError when split_frac is outside (0, 1).
    """
    _require_share("split_frac", split_frac)
    cut = int(len(tokens) * split_frac)
    if not isinstance(tokens, np.ndarray | Tensor | _ListView):
        tokens = _ListView(tokens, range(len(tokens)))
    return tokens[:cut], tokens[cut:]


class _ListView(Sequence[int]):
    """Places `places` of a list or an array as ints, without a copy of it."""

    def __init__(self, items: Sequence[int] | NDArray[Any], places: range) -> None:
        self._items, self._places = items, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> "_ListView": ...
    def __getitem__(self, index: int | slice) -> "int | _ListView":
        if isinstance(index, slice):
            return _ListView(self._items, self._places[index])
        return int(self._items[self._places[index]])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} tokens of a list>"


def _pins_memory() -> bool:
    """Pinned memory speeds copies to a GPU; without one torch warns, and on Apple's it has none to give."""
    if not hasattr(torch, "accelerator"):  # torch < 2.6
        return torch.cuda.is_available()
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type != "mps"


# Bad input


def _require_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}: the part of the tokens to train on, so use 0 < {name} < 1.")


def _split_remedy(num_tokens: int, block_size: int, train_frac: float) -> str:
    """What gives both parts of a split a window: the nearest ``train_frac``, or more text where none does."""
    fractions = [percent / 100 for percent in range(1, 100)]
    fits = [frac for frac in fractions if block_size < int(num_tokens * frac) < num_tokens - block_size]
    if not fits:
        return f"at least {2 * block_size + 2} tokens of text"
    return f"train_frac={min(fits, key=lambda frac: abs(frac - train_frac)):.2f}"
