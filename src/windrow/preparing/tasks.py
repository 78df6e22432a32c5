"""Sources -> the tasks of a part of the work: items, and compressed files whose items a worker finds by itself.

Guarantee: parts have each item once between them, and a part reads nothing before its own bytes but some kB for every
8 MB of the file that it begins in. Cost: of a big plain file some kB around each cut are read here; the items of
standard input, of documents in memory and of a compressed file that is much of the work travel with their text.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from windrow.preparing.items import Item, Job
from windrow.preparing.iterables import batches
from windrow.preparing.unfinished import ItemFile, write_item
from windrow.text.blocks import Block
from windrow.text.json_forms import LINE_FORMS
from windrow.text.sources import Source
from windrow.text.streams import Bytes, FileBytes, StreamBytes, num_lines

__all__ = ["ITEM", "Packed", "Tasks"]

ITEM = 1 << 23  # bytes
_SMALL = {"": ITEM, "gz": ITEM >> 3, "zst": ITEM >> 3}  # files up to this are read whole, many to an item
_BEFORE = 2048  # bytes before a piece, to check the seam


@dataclass(frozen=True)
class Packed:
    """A stream, source ``number`` of all, and the items that it holds."""

    number: int
    source: Source

    def __str__(self) -> str:
        return self.source.name

    def items(self, job: Job, digests: dict[int, tuple[str, int]]) -> Iterator[Item]:
        """The items, in order, those that an earlier run did without their text; then ``digests`` has its digest."""
        digest = sha256(json.dumps(["stream", job.recipe, self.source.identity]).encode())
        folder, key = job.folder, digest.hexdigest()[:32]
        note = ItemFile.found(folder, key) if self.source.is_file else None
        items = [
            Item(self.number, (self.source,), Block(start, stop, stop, piece and tuple(piece)), None, b"", *rest)
            for (start, stop, piece), *rest in (note.about["items"] if note else ())
        ]
        if note and all(ItemFile.found(folder, item.key(job.recipe)) for item in items):  # no need to unpack it again
            digests[self.number] = note.about["sha256"], note.about["nbytes"]
            yield from items
            return
        content, noted = StreamBytes(self.source), []
        for item in self._unpacked(content, job):
            noted.append([item.block and item.block.as_list(), item.line, item.nbytes])
            yield item
        digests[self.number] = hexdigest, nbytes = content.sha256()
        about = {"items": noted, "sha256": hexdigest, "nbytes": nbytes}
        write_item(folder, key, lambda writer: writer.finish(about))

    def _unpacked(self, content: StreamBytes, job: Job) -> Iterator[Item]:
        line = num_raw = 0
        for block in job.blocks(content, self.source):
            data, before = content.read(block.start, block.stop), _before(content, block)
            content.end_by(block.next)  # meets the end, or damage, before the item goes out
            yield Item(self.number, (self.source,), block, data, before, line, content.num_raw - num_raw)
            line += num_lines(data) + num_lines(content.read(block.stop, block.next))
            num_raw = content.num_raw


class Tasks:
    """Iterate it once for the tasks, in order; then ``digests`` holds what was hashed on the way.

    ``part`` is ``(k, n)``: what begins in the k-th of n equal stretches of all inputs (k from 1).
    """

    def __init__(
        self, sources: Sequence[Source], job: Job, part: tuple[int, int] = (1, 1), num_workers: int = 4
    ) -> None:
        self.digests: dict[int, tuple[str, int]] = {}  # source number -> (sha256 hex, nbytes)
        self._sources, self._job = sources, job
        total, (number, num_parts) = sum(map(_weight, sources)), part
        self._own = range(total * (number - 1) // num_parts, total * number // num_parts)
        # one thread unpacks as fast as four workers encode: only what would leave some of them idle is unpacked here
        shares = num_parts * min(max(num_workers, 2), 4)
        self._much = -(-sum(source.nbytes for source in sources if _is_stream(source)) // shares)

    def __iter__(self) -> Iterator[Item | Packed]:
        start = 0
        for number, group in _groups(self._sources):
            own, weight = range(self._own.start - start, self._own.stop - start), sum(map(_weight, group))
            start += weight
            if own.start < weight and own.stop > 0:
                yield from self._tasks_of(number, group, own, weight)

    def _tasks_of(self, number: int, group: list[Source], own: range, weight: int) -> Iterator[Item | Packed]:
        """The tasks of small files, or of one source, that begin in ``own``, a stretch of their ``weight``."""
        source, *_ = group
        if 0 in own:
            yield from self._first_of(number, group)
        if source.form in ("parquet", "arrow"):
            from windrow.text.columns import row_groups

            runs = list(row_groups(source, self._job.reading, ITEM))
            for place, (block, nbytes) in enumerate(runs):
                if place * weight // len(runs) in own:
                    yield Item(number, (source,), block, nbytes=nbytes)
        elif not (_is_small(source) or _is_stream(source) or source.form == "documents"):
            content = FileBytes(source)
            for block in self._job.blocks(content, source, own.start):
                if block.start >= own.stop:
                    return
                if block.start in own:
                    before = _before(content, block)
                    yield Item(number, (source,), block, before=before, nbytes=block.stop - block.start)

    def _first_of(self, number: int, group: list[Source]) -> Iterator[Item | Packed]:
        """What is one task, or cannot be divided; of other files their sha256."""
        source, packed = group[0], Packed(number, group[0])
        if _is_small(source):
            yield Item(number, tuple(group), nbytes=sum(source.nbytes for source in group))
        elif source.form == "documents":
            yield from self._documents(number, source)
        elif not _is_stream(source):
            yield Item(number, (source,), only_hashed=True)
        elif source.is_file and source.nbytes <= self._much:
            yield packed
        else:
            yield from packed.items(self._job, self.digests)

    def _documents(self, number: int, source: Source) -> Iterator[Item]:
        digest, start, line = sha256(), 0, 0
        for texts, kept, stop in batches(source, self._job.reading, digest.update):
            block = Block(start, stop, stop)
            yield Item(number, (source,), block, texts, line=line, nbytes=stop - start, kept=kept)
            start, line = stop, line + len(texts)
        self.digests[number] = digest.hexdigest(), start


def _groups(sources: Sequence[Source]) -> Iterator[tuple[int, list[Source]]]:
    """Small files, as many as are about an item, and every other source alone; with the number of the first."""
    group, held = list[Source](), 0
    for number, source in enumerate(sources):
        if group and not (_is_small(source) and held + _weight(source) <= ITEM):
            yield number - len(group), group
            group, held = [], 0
        if _is_small(source):
            group.append(source)
            held += _weight(source)
        else:
            yield number, [source]
    if group:
        yield len(sources) - len(group), group


def _is_small(source: Source) -> bool:
    return source.form in ("text", *LINE_FORMS) and source.path != "-" and source.nbytes <= _SMALL[source.compression]


def _is_stream(source: Source) -> bool:
    is_packed = bool(source.compression) and source.form in ("text", *LINE_FORMS)
    return source.path == "-" or (is_packed and not _is_small(source))


def _weight(source: Source) -> int:
    return (source.nbytes << (3 if source.compression else 0)) + 1024  # opening a file costs as much as some text


def _before(content: Bytes, block: Block) -> bytes:
    """What lies before a piece that is not the first of its document."""
    if block.piece is None or block.piece[0]:
        return b""
    return content.read(max(block.start - _BEFORE, 0), block.start)
