"""Windows as a map-style torch dataset, for torch's own `DataLoader`.

Guarantee: `dataset[i]` is window i as (inputs, targets), two int64 tensors that share no memory; a batch is one
gather. Cost: memory is that of the store, whatever the stride, and a pickle is as small. It does not know texts,
tokenizers, positions or the seeded order: `windrow.textbook` holds the doors to it.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, NamedTuple, NoReturn, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from windrow.errors import NotEnoughTokensError, whole_number
from windrow.order.steps import StepSizes, tail_of
from windrow.store.store import TokenStore
from windrow.windows.windows import Windows

__all__ = ["DrawnBatch", "Pair", "WindowDataset", "cut_windows", "drawn_batches", "require_batch"]

Pair = tuple[Tensor, Tensor]  # inputs and targets, int64


class WindowDataset(Dataset[Pair]):
    """Windows over tokens as a dataset: `dataset[i]` is (inputs, targets), each (max_length,) int64.

    It pickles as the narrow tokens and a few hundred bytes. `[i]` raises IndexError beyond the end.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return self._windows.num_samples

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[list[Tensor], list[Tensor]]: ...
    def __getitem__(self, index: int | slice) -> Pair | tuple[list[Tensor], list[Tensor]]:
        if isinstance(index, slice):
            return list(self.input_ids[index]), list(self.target_ids[index])
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Collection[int]) -> list[Pair]:
        """A whole batch in one gather, B pairs; `DataLoader` asks for it and collates the pairs as it does any."""
        tokens = self._gather(indices)  # (B, max_length + 1)
        inputs, targets = _widened(tokens[:, :-1]), _widened(tokens[:, 1:])  # (B, max_length) each
        return list(zip(inputs, targets, strict=True))

    @property
    def input_ids(self) -> Sequence[Tensor]:
        """All inputs, like a list of (max_length,) int64 tensors; each is made when it is asked for."""
        return _TensorList(self, slice(None, -1))

    @property
    def target_ids(self) -> Sequence[Tensor]:
        """All targets, like a list of (max_length,) int64 tensors; each is made when it is asked for."""
        return _TensorList(self, slice(1, None))

    def _gather(self, indices: Collection[int]) -> NDArray[Any]:
        ids = np.array([operator.index(index) for index in indices], dtype=np.int64)  # (B,)
        num_windows = len(self)
        wrong = ids[(ids < -num_windows) | (ids >= num_windows)]
        if len(wrong):
            raise IndexError(f"window {wrong[0]} of {num_windows}: windows are 0 to {num_windows - 1}.")
        return self._windows.gather(np.where(ids < 0, ids + num_windows, ids))


class _TensorList(Sequence[Tensor]):
    """The inputs, or the targets, of a dataset as if they were a list of tensors, to torch as well; a slice is one.

    It equals a list of equal tensors. What would change a list raises ValueError.
    """

    def __init__(self, dataset: WindowDataset, columns: slice) -> None:
        self._dataset, self._columns = dataset, columns

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """torch asks here when it is given one of these, as to `torch.stack`: it gets the list."""
        named = {name: _as_list(value) for name, value in (kwargs or {}).items()}
        return function(*map(_as_list, args), **named)

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return list(self._make(range(len(self))[index]))
        return self._make([index])[0]

    def __iter__(self) -> Iterator[Tensor]:
        for first in range(0, len(self), 256):  # rows made at a time: few enough to be small at any length
            yield from self[first : first + 256]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(isinstance(row, Tensor) and torch.equal(mine, row) for mine, row in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def append(self, *_: object) -> NoReturn:
        """There is no list to change: raises ValueError that says what to do."""
        raise ValueError(
            "these tensors are made from the tokens when they are asked for, so nothing can be added, removed or "
            "replaced. Make a list of your own, my_ids = list(dataset.input_ids), or give the dataset another text."
        )

    extend = insert = remove = pop = clear = sort = reverse = __setitem__ = __delitem__ = __iadd__ = append

    def __repr__(self) -> str:
        return f"<{len(self)} int64 tensors, made when asked for>"

    def _make(self, indices: Collection[int]) -> Tensor:
        return _widened(self._dataset._gather(indices)[:, self._columns])  # (B, max_length)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, _TensorList) else value


def _widened(tokens: NDArray[Any]) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64))  # a copy: inputs and targets share no memory


# What torch's sampler draws


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
    by asking: the random state is left as it was. Raises ValueError when the dataset has no length, the loader no
    batch_size, or torch no such seed.
    """
    if not isinstance(loader.dataset, Sized) or loader.batch_sampler is None:
        kind, sized = type(loader.dataset).__name__, isinstance(loader.dataset, Sized)
        lacks = f"the loader of {kind} has no batch_size" if sized else f"the dataset {kind} has no length"
        raise ValueError(f"{lacks}, so torch draws no indices for a batch. Use create_dataloader of a GPTDatasetV1.")
    if seed is not None and not -(2**63) <= whole_number("seed", seed, at_least=None) < 2**64:
        raise ValueError(f"seed is {seed}, and it must be a whole number from -2**63 to 2**64 - 1, as torch takes it")
    generator = loader.generator or torch.default_generator
    places: Any = range(len(loader.dataset))  # a dataset of indices, drawn alike by a loader with the same sampler
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


# Bad input, by the library's own checks, in the words of the doors


def cut_windows(name: str, ids: NDArray[Any], length_name: str, max_length: int, stride: int) -> Windows:
    """Windows over ids (n,); the message that none fits calls them, and ``max_length``, what the door calls them."""
    try:
        return Windows(TokenStore.from_ids(ids), max_length, stride)
    except NotEnoughTokensError as error:
        message = str(error).replace("the store", name).replace("max_length", length_name)
        raise NotEnoughTokensError(message.replace('tail="pad"', 'windrow.Windows(..., tail="pad")')) from None


def require_batch(dataset: Sized, batch_size: int, drop_last: bool) -> None:
    """Raise ``NotEnoughTokensError`` where a loader would have length 0, and pass in silence."""
    if not len(dataset):
        raise NotEnoughTokensError("the dataset has 0 samples, so there is no batch at all. Give it more text.")
    remedies = ["more text"]
    if isinstance(dataset, WindowDataset) and batch_size > 1:
        n, length = dataset._windows.num_tokens, dataset._windows.max_length
        if largest := (n - length - 1) // (batch_size - 1):
            remedies.insert(0, f"stride <= {largest} (there are ({n} - {length} - 1) // stride + 1 windows)")
    StepSizes(batch_size, 1, tail_of(1, drop_last), len(dataset)).require_step(remedies)
