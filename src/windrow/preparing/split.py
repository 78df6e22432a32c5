"""Which document goes to which side: the finished items, in order -> the parts of ``train`` and ``valid``.

Guarantee: whole documents go to one side by a hash of their content, so equal ones stay together and none moves when
others come; with ``tail`` one cut goes through the tokens. A document that came in pieces is one document here.
Cost: the tables of the items, one at a time; with ``dedupe`` about 40 bytes for each document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from windrow.preparing.encode import Done
from windrow.preparing.items import Item
from windrow.preparing.unfinished import ItemFile
from windrow.tokens.encoder import digest_of_pieces

__all__ = ["Part", "Sides", "documents_of"]

Rows = NDArray[np.int64]
Result = tuple[Item, Done]


@dataclass(frozen=True)
class Part:
    """Tokens of one item that go to one side, ``[start, stop)`` of those that ``keep`` leaves.

    ``keep`` is a mask over the item's documents, None for all; ``row`` is the document (source, line, start, stop) that
    the item is a piece of, and ``ends`` whether it ends here. ``closing``: the side ends here, maybe within a document.
    """

    key: str
    first_source: int
    line: int
    stop: int
    start: int = 0
    keep: NDArray[np.bool_] | None = None
    row: tuple[int, int, int, int] | None = None
    ends: bool = True
    closing: bool = False


@dataclass(frozen=True)
class Group:
    """A whole item, or the items that hold the pieces of one document; ``rows`` (n, 8) with sources and lines final."""

    results: list[Result]
    line: int
    rows: Rows
    is_pieces: bool

    @property
    def num_counted_again(self) -> int:
        """How often the document was counted as skipped for another piece of it."""
        num_bad = sum(done.about["piece"]["bad"] for _, done in self.results) if self.is_pieces else 0
        return max(num_bad - 1, 0)


class Sides:
    """``parts[side]`` are the parts of each side; ``num_duplicates`` is what ``dedupe`` left out.

    ``num_counted_again`` is how many bad pieces are of a document that has another one.
    """

    def __init__(self, folder: Path, results: list[Result], *, valid_fraction: float, split: str, dedupe: bool) -> None:
        self.parts: dict[str, list[Part]] = {"train": [], "valid": []} if valid_fraction else {"train": []}
        by_hash = split == "documents" and valid_fraction > 0
        repeated = _repeated(folder, results) if dedupe else None
        self.num_duplicates, seen = int(repeated.sum()) if repeated is not None else 0, 0
        self.num_counted_again = 0
        for group in documents_of(folder, results):
            wanted = group.rows[:, 7] == 0
            self.num_counted_again += group.num_counted_again
            if repeated is not None:
                wanted = wanted & ~repeated[seen : seen + len(wanted)]
                seen += len(wanted)
            is_valid = _below(group.rows[:, 5], valid_fraction) if by_hash else np.zeros(len(wanted), np.bool_)
            for side, mask in (("train", wanted & ~is_valid), ("valid", wanted & is_valid)):
                if mask.any():
                    self.parts[side] += _parts(group, mask)
        if valid_fraction and split == "tail":
            self._cut(valid_fraction)

    def _cut(self, valid_fraction: float) -> None:
        parts = self.parts["train"]
        cut = int(np.floor(sum(part.stop for part in parts) * (1 - valid_fraction)))
        self.parts = {"train": [], "valid": []}
        for part in parts:
            here = min(max(cut, 0), part.stop)
            if here:
                self.parts["train"].append(replace(part, stop=here, closing=here == cut))
            if here < part.stop:
                self.parts["valid"].append(replace(part, start=here))
            cut -= part.stop


def _below(digests: Rows, fraction: float) -> NDArray[np.bool_]:
    below: NDArray[np.bool_] = digests.view(np.uint64) < np.uint64(min(int(fraction * 2**64), 2**64 - 1))
    return below


def _parts(group: Group, mask: NDArray[np.bool_]) -> Iterator[Part]:
    if not group.is_pieces:
        item, done = group.results[0]
        lengths = np.diff(group.rows[:, 0], prepend=0)
        keep = None if mask.all() else mask
        yield Part(done.key, item.first, group.line, int(lengths[mask].sum()), keep=keep)
        return
    source, line, start, stop = group.rows[0, 1:5].tolist()
    for number, (item, done) in enumerate(group.results, 1):
        if done.about["num_tokens"]:
            ends = number == len(group.results)
            yield Part(
                done.key, item.first, 0, int(done.about["num_tokens"]), row=(source, line, start, stop), ends=ends
            )


def documents_of(folder: Path, results: Iterable[Result]) -> Iterator[Group]:
    """The documents of all items, in order."""
    pieces: list[Result] = []
    lines = (-1, 0)  # a source, and how many of its lines came before
    for item, done in results:
        before = lines[1] if item.first == lines[0] else 0
        piece = done.about["piece"]
        if piece is None:
            rows = ItemFile.open(folder, done.key).rows()
            rows[:, 2] += np.where(rows[:, 1] == 0, before, 0)
            rows[:, 1] += item.first
            yield Group([(item, done)], before, rows, is_pieces=False)
        else:
            if not pieces:
                first_line = before + piece["line"]
            pieces.append((item, done))
            if piece["last"]:
                yield Group(pieces, 0, _joined(pieces, first_line), is_pieces=True)
                pieces = []
        last = item.first + len(item.sources) - 1
        lines = (last, done.about["lines"] + (before if last == item.first else 0))
    assert not pieces, "a document has no last piece"


def _joined(pieces: list[Result], line: int) -> Rows:
    """The one row of a document in pieces; its end counts all their tokens."""
    abouts = [done.about for _, done in pieces]
    digest = digest_of_pieces([bytes.fromhex(about["piece"]["digest"]) for about in abouts])
    item, _ = pieces[-1]
    assert item.block is not None
    return np.array(
        [
            [
                sum(about["num_tokens"] for about in abouts),
                item.first,
                line,
                abouts[0]["piece"]["start"],
                item.block.stop,
                int.from_bytes(digest[:8], "little", signed=True),
                int.from_bytes(digest[8:], "little", signed=True),
                any(about["piece"]["bad"] for about in abouts),
            ]
        ],
        np.int64,
    )


def _repeated(folder: Path, results: list[Result]) -> NDArray[np.bool_]:
    """For each document whether one with the same content came before. What could not be read is like nothing."""
    empty = np.empty((0, 3), np.int64)
    digests = np.concatenate([empty, *(group.rows[:, 5:] for group in documents_of(folder, results))])
    order = np.lexsort((digests[:, 1], digests[:, 0], digests[:, 2]))  # stable: equal ones keep their order
    again = np.zeros(len(digests), np.bool_)
    again[order[1:]] = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    again[digests[:, 2] != 0] = False
    return again
