"""Sources -> work items: pieces of bounded size that depend on the bytes of the inputs only.

Guarantee: the same inputs give the same items, whatever the number of workers, the engine and the run; an item holds
whole documents, or one piece of one long document, never a mixture. Cost: of a big plain file only some kB around
each cut are read here; a big compressed one, standard input and documents in memory travel inside the items.
"""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from windrow.errors import PrepareError, SourceError
from windrow.preparing.unfinished import ItemFile, read_note, write_note
from windrow.text.blocks import Block, blocks
from windrow.text.sources import Reading, Source
from windrow.text.streams import Bytes, FileBytes, StreamBytes, num_lines
from windrow.tokens.protocol import Tokenizer

__all__ = ["ITEM", "HashTask", "Item", "Job", "Tasks", "job_for"]

ITEM = 1 << 23  # bytes
_SMALL = {"": ITEM, "gz": ITEM >> 3, "zst": ITEM >> 3}  # files up to this are read whole, many to an item
_CUT_ALIKE = ("gpt2", "cl100k_base", "o200k_base")
_BEFORE = 2048  # bytes before a piece, to check the seam


@dataclass(frozen=True)
class Job:
    """What all tasks share. ``tokenizer`` is pickled; ``recipe`` is JSON; ``hashed``: documents get a digest."""

    folder: Path
    recipe: str
    reading: Reading
    tokenizer: bytes
    cuttable: bool
    hashed: bool
    nbytes: int = 0  # of all inputs, to say how much disk it takes


def job_for(work: Path, tokenizer: Tokenizer, reading: Reading, hashed: bool, nbytes: int = 0) -> Job:
    """What all work items share."""
    cuttable = getattr(tokenizer, "pattern", None) in _CUT_ALIKE or getattr(tokenizer, "name", "") == "bytes"
    recipe: dict[str, Any] = {"version": 1, "tokenizer": tokenizer.fingerprint, "eos_id": tokenizer.eos_id}
    recipe |= {"reading": asdict(reading), "cuttable": cuttable, "hashed": hashed}
    return Job(work, json.dumps(recipe, sort_keys=True), reading, _pickled(tokenizer), cuttable, hashed, nbytes)


def _pickled(tokenizer: Tokenizer) -> bytes:
    try:
        return pickle.dumps(tokenizer)
    except Exception as error:
        raise PrepareError(
            f"the tokenizer {type(tokenizer).__name__} cannot be pickled ({error}), and work is handed out with it. "
            "Define its class at the top level of a module, without open files in it."
        ) from error


@dataclass(frozen=True)
class Item:
    """Work for one call: ``sources``, of which the first is number ``first`` of all, and what to read of them.

    ``block`` None: all of each source. Else the bytes (for columns: row groups) ``[start, stop)`` of the one source,
    in ``data`` when they cannot be read again. ``line`` is the number of lines before, where it is known.
    """

    first: int
    sources: tuple[Source, ...]
    block: Block | None = None
    data: bytes | list[str] | None = None
    before: bytes = b""
    line: int | None = None
    nbytes: int = 0  # on disk, for progress

    @property
    def piece(self) -> tuple[bool, bool] | None:
        """``(is_first, is_last)`` for a piece of a long document, None for whole documents."""
        return self.block.piece if self.block else None

    def key(self, recipe: str) -> str:
        """The name of its result: equal keys mean equal bytes."""
        content = [self.block and self.block.as_list(), [source.identity for source in self.sources]]
        digest = sha256(json.dumps([recipe, content], sort_keys=True).encode())
        if self.data is not None and not self.sources[0].is_file:  # no time of change to go by
            for part in [self.data] if isinstance(self.data, bytes) else self.data:
                data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()[:32]

    def __str__(self) -> str:
        source = self.sources[0]
        if self.block:
            return f"{source.name}, {self.block}"
        return source.name + (f" and {len(self.sources) - 1} files after it" if len(self.sources) > 1 else "")


@dataclass(frozen=True)
class HashTask:
    """The sha256 of a file that no item reads from end to end."""

    number: int
    source: Source

    def key(self, recipe: str) -> str:
        return sha256(json.dumps(["sha256", self.source.identity]).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return self.source.name


class Tasks:
    """Iterate it once for the tasks, in order; then ``digests`` holds what was hashed on the way.

    ``part`` is ``(k, n)``: every n-th unit from the k-th on (k from 1); a stream is one unit.
    """

    def __init__(self, sources: Sequence[Source], job: Job, part: tuple[int, int] = (1, 1)) -> None:
        self.digests: dict[int, tuple[str, int]] = {}  # source number -> (sha256 hex, nbytes)
        self._sources, self._job, self._part = sources, job, part
        self._reading, self._cuttable = job.reading, job.cuttable
        self._unit = 0

    def __iter__(self) -> Iterator[Item | HashTask]:
        group, weight = list[Source](), 0
        for number, source in enumerate(self._sources):
            added = _weight(source) if _is_small(source) else ITEM + 1
            if weight + added > ITEM:
                yield from self._group(number, group)
                group, weight = [], 0
            if _is_small(source):
                group.append(source)
                weight += added
            else:
                yield from self._big(number, source)
        yield from self._group(len(self._sources), group)

    def _group(self, stop: int, group: list[Source]) -> Iterator[Item]:
        if group and self._mine():
            yield Item(stop - len(group), tuple(group), nbytes=sum(source.nbytes for source in group))

    def _mine(self) -> bool:
        self._unit += 1
        return (self._unit - 1) % self._part[1] == self._part[0] - 1

    def _big(self, number: int, source: Source) -> Iterator[Item | HashTask]:
        if source.form == "documents":
            yield from self._documents(number, source)
        elif source.form in ("parquet", "arrow"):
            from windrow.text.columns import row_groups

            yield from self._file(number, source, row_groups(source, self._reading, ITEM))
        elif source.compression or source.path == "-":
            if self._mine():
                yield from self._stream(number, source)
        else:
            found = blocks(FileBytes(source), source, self._reading, self._cuttable)
            yield from self._file(number, source, ((block, block.stop - block.start) for block in found))

    def _file(self, number: int, source: Source, found: Iterable[tuple[Block, int]]) -> Iterator[Item | HashTask]:
        """A file that is read from any place; ``found`` are its blocks and their bytes."""
        if self._mine():
            yield HashTask(number, source)
        for block, nbytes in found:
            if self._mine():
                yield Item(number, (source,), block, nbytes=nbytes)

    def _stream(self, number: int, source: Source) -> Iterator[Item]:
        key = sha256(json.dumps(["stream", self._job.recipe, source.identity]).encode()).hexdigest()[:32]
        note = None if source.path == "-" else read_note(self._job.folder, key)
        items = [_noted(number, source, fields) for fields in note["items"]] if note else []
        folder, recipe = self._job.folder, self._job.recipe
        if note and all(ItemFile.whole(folder, item.key(recipe)) for item in items):  # no need to unpack it again
            self.digests[number] = note["sha256"], note["nbytes"]
            yield from items
            return
        content, noted = StreamBytes(source), []
        for item in self._unpacked(content, number, source):
            noted.append([item.block.as_list() if item.block else None, item.line, item.nbytes])
            yield item
        self.digests[number] = digest, nbytes = content.sha256()
        write_note(self._job.folder, key, {"items": noted, "sha256": digest, "nbytes": nbytes})

    def _unpacked(self, content: StreamBytes, number: int, source: Source) -> Iterator[Item]:
        line = num_raw = 0
        for block in blocks(content, source, self._reading, self._cuttable):
            data, before = content.read(block.start, block.stop), _before(content, block)
            content.read(block.next, block.next + 1)  # meets the end, or damage, before the item goes out
            yield Item(number, (source,), block, data, before, line, content.num_raw - num_raw)
            line += num_lines(data) + num_lines(content.read(block.stop, block.next))
            num_raw = content.num_raw

    def _documents(self, number: int, source: Source) -> Iterator[Item]:
        digest, start, line = sha256(), 0, 0
        for texts, stop in batches(source, self._reading.text_key, digest.update):
            yield Item(number, (source,), Block(start, stop, stop), texts, line=line, nbytes=stop - start)
            start, line = stop, line + len(texts)
        self.digests[number] = digest.hexdigest(), start


def _noted(number: int, source: Source, fields: list[Any]) -> Item:
    (start, stop, piece), line, nbytes = fields
    return Item(number, (source,), Block(start, stop, stop, piece and tuple(piece)), None, b"", line, nbytes)


def _is_small(source: Source) -> bool:
    return source.form in ("text", "jsonl") and source.path != "-" and source.nbytes <= _SMALL[source.compression]


def _weight(source: Source) -> int:
    return (source.nbytes << (3 if source.compression else 0)) + 1024  # opening a file costs as much as some text


def _before(content: Bytes, block: Block) -> bytes:
    if block.piece is None or block.piece[0]:
        return b""
    return content.read(max(block.start - _BEFORE, 0), block.start)


def before_piece(item: Item) -> bytes:
    """The bytes before a piece that lies in a plain file."""
    assert item.block is not None
    return item.before or _before(FileBytes(item.sources[0]), item.block)


def batches(source: Source, text_key: str, seen: Callable[[bytes], object]) -> Iterator[tuple[list[str], int]]:
    """Lists of texts of about ITEM / 2 bytes, and where the last one ends."""
    texts: list[str] = []
    held = stop = 0
    for number, document in enumerate(source.documents or ()):
        text = _text_of(document, text_key, number)
        data = text.encode("utf-8", "surrogatepass")
        seen(data)
        texts.append(text)
        held, stop = held + len(data), stop + len(data)
        if held >= ITEM >> 1 or len(texts) >= 1 << 16:
            yield texts, stop
            texts, held = [], 0
    if texts:
        yield texts, stop


def _text_of(document: object, text_key: str, number: int) -> str:
    text = document.get(text_key) if isinstance(document, Mapping) else document
    if isinstance(text, str):
        return text
    if isinstance(document, Mapping):
        held = ", ".join(map(repr, list(document)[:8]))
        what = f"has {type(text).__name__} under {text_key!r} (its keys are {held})"
    else:
        what = f"is a {type(document).__name__}"
    raise SourceError(
        f"document {number} of the iterable {what}, and documents are str, or dicts with a str under text_key="
        f"{text_key!r}. Give text_key= the right name, or yield texts."
    )
