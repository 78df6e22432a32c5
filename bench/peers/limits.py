"""The limits: what NumPy needs for the same batches when the starts are given, and what the memory does.

gather: ``sliding_window_view(tokens, L + 1)[starts]`` and two widening copies, the view and all three arrays made anew.
view:   the same with the view made once.
kept:   the same with the view made once and the widening into arrays that are kept, each batch over the last one.
copy:   a ready batch copied into kept arrays, 16 bytes a target.
"""

from collections.abc import Iterator

import measure
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def starts(source: measure.Source, setting: measure.Setting) -> Iterator[np.ndarray]:
    """Shuffled starts, (B,) at a time, all made beforehand."""
    order = np.random.default_rng(1).permutation(source.num_windows(setting)) * setting.stride
    order = order[: len(order) // setting.batch_size * setting.batch_size]
    return measure.endless(list(order.reshape(-1, setting.batch_size)))


def gather(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    tokens = np.asarray(source.memmap())
    for at in starts(source, setting):
        rows = sliding_window_view(tokens, setting.max_length + 1)[at]  # (B, L + 1) uint16
        yield rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)


def view(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    windows = sliding_window_view(np.asarray(source.memmap()), setting.max_length + 1)
    for at in starts(source, setting):
        rows = windows[at]
        yield rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)


def kept(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    windows = sliding_window_view(np.asarray(source.memmap()), setting.max_length + 1)
    inputs, targets = np.empty((2, setting.batch_size, setting.max_length), dtype=np.int64)
    for at in starts(source, setting):
        rows = windows[at]
        np.copyto(inputs, rows[:, :-1])
        np.copyto(targets, rows[:, 1:])
        yield inputs, targets


def copy(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    ready = next(gather(source, setting, 0))
    pair = tuple(np.empty_like(array) for array in ready)
    while True:
        np.copyto(pair[0], ready[0])
        np.copyto(pair[1], ready[1])
        yield pair


if __name__ == "__main__":
    measure.main({"gather": gather, "view": view, "kept": kept, "copy": copy})
