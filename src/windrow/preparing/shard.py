"""The parts of a shard -> its files: what workers do once all items are there.

Guarantee: a shard depends on its parts only; each file is complete on disk before its name is. Cost: one item in
memory, however many documents the shard has; each token is copied once more.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from io import BytesIO
from itertools import starmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Tokens
from windrow.errors import PrepareError
from windrow.preparing.kept import column_values
from windrow.preparing.split import ItemPart
from windrow.preparing.unfinished import ItemFile, write_item
from windrow.store.manifest import Column, ColumnFile, Shard
from windrow.store.whole import write_whole

__all__ = ["Edges", "ShardDone", "ShardTask", "write_shard"]

_FILES = ("tokens-{:05d}.bin", "documents-{:05d}.npy", "origins-{:05d}.npy", "counts-{:05d}.bin")
_COLUMN_FILE = "column-{:03d}-{:05d}.npy"
_SLICE = 1 << 20  # documents
T = TypeVar("T")


class Edges(NamedTuple):
    """The ids that stand around documents; ``ends``: each ends with ``eos_id``; with a ``bos_id`` each begins so."""

    eos_id: int
    ends: bool = True
    bos_id: int | None = None


@dataclass(frozen=True)
class ShardTask:
    """Shard ``number`` of the store in ``folder``, to be made of ``parts`` in the folder of unfinished ``work``."""

    folder: Path
    number: int
    work: Path
    parts: Sequence[ItemPart]
    edges: Edges
    columns: Sequence[Column] = ()
    has_counts: bool = False

    def __str__(self) -> str:
        return f"shard {self.number} of {self.folder}"

    @cached_property
    def key(self) -> str:
        """The name of the note that it is done: what it is made of, wherever it lies."""
        made_of = (self.folder.name, self.number, self.parts, self.edges, self.columns, self.has_counts)
        return sha256(repr(made_of).encode()).hexdigest()[:32]

    @property
    def files(self) -> list[str]:
        """The names of its tokens, documents, origins, columns, and counts where it has some."""
        columns = [_COLUMN_FILE.format(number, self.number) for number in range(len(self.columns))]
        tokens, documents, origins, counts = (name.format(self.number) for name in _FILES)
        return [tokens, documents, origins, *columns, *[counts] * self.has_counts]


@dataclass(frozen=True)
class ShardDone:
    """A shard, and what the ledger wants to know of it."""

    shard: Shard
    max_token_id: int
    num_eos: int  # at the ends of documents
    num_bos: int  # at their beginnings
    missing: Sequence[int]  # in each column
    lengths: Sequence[int]  # where the first document ends, and the last; the longest and shortest after the first


def write_shard(task: ShardTask) -> ShardDone:
    """Write the files of a shard, or find that they were."""
    note = ItemFile.found(task.work, task.key)
    if note is None or note.about["files"] != _found(task):
        about = asdict(_written(task)) | {"files": _found(task)}
        write_item(task.work, task.key, lambda writer: writer.finish(about))
        note = ItemFile.open(task.work, task.key)
    fields = {name: note.about[name] for name in ShardDone.__annotations__}
    columns = tuple(ColumnFile(**column) for column in fields["shard"]["columns"])
    return ShardDone(**{**fields, "shard": Shard(**{**fields["shard"], "columns": columns})})


def _found(task: ShardTask) -> list[list[int]] | None:
    """The sizes and times of change of a shard's files; None when one is not there."""
    try:
        return [[found.st_size, found.st_mtime_ns] for found in (os.stat(task.folder / name) for name in task.files)]
    except FileNotFoundError:
        return None


def _written(task: ShardTask) -> ShardDone:
    task.folder.mkdir(parents=True, exist_ok=True)
    nums, out = _write_together([task.folder / name for name in task.files], partial(_fill, task))
    named = [(name, file.digest.hexdigest()) for name, file in zip(task.files, out, strict=True)]
    (tokens, digest), documents, origins, *others = named
    columns, counts = others[: len(task.columns)], others[len(task.columns) :]
    sizes = out[0].num_items, out[1].num_items
    shard = Shard(tokens, *sizes, digest, *documents, *origins, columns=tuple(starmap(ColumnFile, columns)))
    for name, digest in counts:
        shard = replace(shard, counts=name, counts_sha256=digest)
    max_token_id, num_eos, num_bos, *missing = nums
    lengths = _lengths(np.load(task.folder / shard.documents, mmap_mode="r"))
    return ShardDone(shard, max_token_id, num_eos, num_bos, missing, lengths)


def _write_together(paths: Sequence[Path], fill: Callable[[list[BinaryIO]], T], *files: BinaryIO) -> T:
    """Make ``paths`` the files that ``fill`` writes side by side, and return what it returns."""
    if not paths:
        return fill([*files])
    return write_whole(paths[0], lambda file: _write_together(paths[1:], fill, *files, file))


def _fill(task: ShardTask, files: list[BinaryIO]) -> tuple[list[int], list["_Hashed"]]:
    """The highest id, how many eos and bos are around documents, what misses in each column; and what was written."""
    num_documents = sum(len(_Taken(task.work, part).ends) for part in task.parts)
    columns = [column_values(column, ())[0] for column in task.columns]
    empty = [np.empty(0, "<i8"), np.empty((0, 4), "<i8"), *columns]
    with ThreadPoolExecutor(1) as hashing:
        out = [_Hashed(file, hashing) for file in files]
        for file, array in zip(out[1:], empty, strict=False):  # counts have no head
            file.write_head(array, num_documents)
        found = [_add(task, part, out) for part in task.parts]
    highest, *nums = zip(*found, strict=True)
    return [max(highest), *map(sum, nums)], out


def _add(task: ShardTask, part: ItemPart, out: Sequence["_Hashed"]) -> list[int]:
    """Write what a part takes; its highest id, and what there is to be counted."""
    taken, base = _Taken(task.work, part), out[0].num_items
    taken.item.require_whole()
    tokens = taken.tokens(ItemFile.tokens)
    columns = [column_values(*each) for each in zip(task.columns, taken.kept(), strict=True)]
    arrays = [tokens, taken.ends + base, taken.origins, *(values for values, _ in columns)]
    arrays += [taken.tokens(ItemFile.counts)] if task.has_counts else []
    nums = _count_edges(task, part, tokens, taken.ends)
    for file, array in zip(out, arrays, strict=True):
        file.write(array)
    return [int(tokens.max(initial=0)), *nums, *(missing for _, missing in columns)]


class _Hashed:
    """Writes arrays, and hashes them in the thread ``hashing`` while the next ones are read and written."""

    def __init__(self, file: BinaryIO, hashing: ThreadPoolExecutor) -> None:
        self.num_items, self.digest = 0, sha256()
        self._file, self._hashing = file, hashing
        self._hashed: Future[None] | None = None

    def write_head(self, like: NDArray[Any], num_items: int) -> None:
        """What stands before ``num_items`` such as ``like`` has in a file of .npy."""
        head, buffer = np.lib.format.header_data_from_array_1_0(like), BytesIO()
        np.lib.format.write_array_header_1_0(buffer, head | {"shape": (num_items, *like.shape[1:])})
        self._write(buffer.getbuffer())

    def write(self, array: NDArray[Any]) -> None:
        self.num_items += len(array)
        self._write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)

    def _write(self, raw: memoryview) -> None:
        self._file.write(raw)
        if self._hashed:
            self._hashed.result()  # two arrays at most are in memory
        self._hashed = self._hashing.submit(self.digest.update, raw)


class _Taken:
    """What a part takes of its item: ``ends`` of documents from its start on, ``origins`` (n, 4) among all sources."""

    def __init__(self, work: Path, part: ItemPart) -> None:
        self.item, self._part = ItemFile.open(work, part.key), part
        num_tokens = int(self.item.about["num_tokens"])
        rows = self.item.rows()[:, :5] if part.row is None else np.array([(num_tokens, *part.row)], np.int64)
        self._edges = np.concatenate([[0], rows[:, 0]])
        self._mask = np.ones(len(rows), np.bool_)
        if part.keep is not None:
            self._mask = np.unpackbits(np.frombuffer(part.keep, np.uint8), count=len(rows)).view(np.bool_)
        which = np.flatnonzero(self._mask)
        ends = np.cumsum(np.diff(self._edges)[which])[: None if part.ends else 0]
        first, last = np.searchsorted(ends, [part.start, part.stop], side="right")
        is_cut = part.closing and (not last or ends[last - 1] != part.stop)  # the side ends within a document
        self.ends = np.append(ends[first:last], np.array([part.stop][: int(is_cut)], np.int64)) - part.start
        self._which = which[first : last + is_cut]
        self.origins = rows[self._which, 1:] + np.array([part.first_source, 0, 0, 0])
        self.origins[self.origins[:, 0] == part.first_source, 1] += part.above

    def tokens(self, read: Callable[[ItemFile, int, int], Tokens]) -> Tokens:
        """The tokens, or what ``read`` gives of them: those of the documents that are kept are copied run by run."""
        part = self._part
        if part.keep is None:
            return read(self.item, part.start, part.stop)
        whole = read(self.item, 0, int(self._edges[-1]))
        runs = np.flatnonzero(np.diff(self._mask, prepend=False, append=False)).reshape(-1, 2)
        kept = [whole[self._edges[first] : self._edges[last]] for first, last in runs]
        return np.concatenate(kept)[part.start : part.stop]

    def kept(self) -> list[NDArray[Any]]:
        """The values of each column."""
        return [values[self._which] for values in self.item.kept()]


def _count_edges(task: ShardTask, part: ItemPart, tokens: Tokens, ends: Int64) -> tuple[int, int]:
    """How many documents end with an eos, and begin with a bos: where they are to, all but one that the split cuts."""
    eos_id, ends_so, bos_id = task.edges
    num_eos = int(np.count_nonzero(tokens[ends - 1] == eos_id))
    begun = np.append(tokens[: part.start == 0], tokens[ends[ends < len(tokens)]])  # the first may be within one
    num_bos = 0 if bos_id is None else int(np.count_nonzero(begun == bos_id))
    for name, wrong in (
        ("eos at their end", ends_so * (len(ends) - part.closing - num_eos)),
        ("bos at their beginning", (bos_id is not None) * (len(begun) - 1 - num_bos)),
    ):
        if wrong > 0:
            raise PrepareError(
                f"{task} would have {wrong} documents without an {name}. Nothing was published; please report this."
            )
    return num_eos, num_bos


def _lengths(ends: Int64) -> list[int]:
    """Where the first document ends, and the last; and the longest and shortest of each slice of those after it."""
    found = [int(ends[0]), int(ends[-1])] if len(ends) else []
    for start in range(0, len(ends) - 1, _SLICE):
        lengths = np.diff(ends[start : start + _SLICE + 1])
        found += [int(lengths.max()), int(lengths.min())]
    return found
