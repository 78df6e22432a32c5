"""Sources -> work items: pieces of bounded size that depend on the bytes of the inputs only.

Guarantee: the same inputs give the same items, whatever the number of workers, the engine and the run; an item holds
whole documents, or one piece of one long document, never a mixture. Cost: of a big plain file only some kB around
each cut are read here; a big compressed one, standard input and documents in memory travel inside the items.
"""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any

from windrow.errors import PrepareError, SourceError
from windrow.preparing.kept import Value, kept_values
from windrow.preparing.unfinished import ItemFile, write_item
from windrow.text.blocks import Block, blocks
from windrow.text.json_forms import LINE_FORMS
from windrow.text.reading import Reading
from windrow.text.sources import Source
from windrow.text.streams import Bytes, FileBytes, StreamBytes, num_lines
from windrow.tokens.protocol import Tokenizer, bos_id_of

__all__ = ["ITEM", "Item", "Job", "Tasks", "job_for"]

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
    memory: int = 1 << 30  # bytes that all of it may take

    def blocks(self, content: Bytes, source: Source) -> Iterator[Block]:
        """The blocks of one source, in order."""
        return blocks(content, source, self.reading, self.cuttable, self.memory >> 2)


def job_for(
    work: Path, tokenizer: Tokenizer, reading: Reading, hashed: bool, nbytes: int = 0, memory: int | None = None
) -> Job:
    """What all work items share."""
    cuttable = getattr(tokenizer, "pattern", None) in _CUT_ALIKE or getattr(tokenizer, "name", "") == "bytes"
    recipe: dict[str, Any] = {"version": 1, "tokenizer": tokenizer.fingerprint, "eos_id": tokenizer.eos_id}
    recipe |= {"reading": reading.recipe, "cuttable": cuttable, "hashed": hashed}
    if reading.boundary in ("bos", "both"):
        recipe["bos_id"] = bos_id_of(tokenizer)
    shared = (json.dumps(recipe, sort_keys=True), reading, _pickled(tokenizer), cuttable, hashed)
    return Job(work, *shared, nbytes, memory or 1 << 30)


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
    ``before`` are the bytes before a piece. With ``only_hashed`` the item is the sha256 of a file that no other item
    reads from end to end.
    """

    first: int
    sources: tuple[Source, ...]
    block: Block | None = None
    data: bytes | list[str] | None = None
    before: bytes = b""
    line: int | None = None
    nbytes: int = 0  # on disk, for progress
    only_hashed: bool = False
    kept: Sequence[tuple[Value, ...]] = ()  # of each document that came with the item

    @property
    def piece(self) -> tuple[bool, bool] | None:
        """``(is_first, is_last)`` for a piece of a long document, None for whole documents."""
        return self.block.piece if self.block else None

    def key(self, recipe: str) -> str:
        """The name of its result: equal keys mean equal bytes."""
        content = [self.block and self.block.as_list(), [source.identity for source in self.sources]]
        digest = sha256(json.dumps(["sha256" if self.only_hashed else recipe, content], sort_keys=True).encode())
        if self.data is not None and not self.sources[0].is_file:  # no time of change to go by
            for part in [self.data] if isinstance(self.data, bytes) else self.data:
                data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little") + data)
            digest.update(repr(self.kept).encode() if self.kept else b"")
        return digest.hexdigest()[:32]

    def __str__(self) -> str:
        source = self.sources[0]
        if self.block:
            return f"{source.name}, {self.block}"
        return source.name + (f" and {len(self.sources) - 1} files after it" if len(self.sources) > 1 else "")


class Tasks:
    """Iterate it once for the items, in order; then ``digests`` holds what was hashed on the way.

    ``part`` is ``(k, n)``: every n-th unit from the k-th on (k from 1); a stream is one unit.
    """

    def __init__(self, sources: Sequence[Source], job: Job, part: tuple[int, int] = (1, 1)) -> None:
        self.digests: dict[int, tuple[str, int]] = {}  # source number -> (sha256 hex, nbytes)
        self._sources, self._job, self._part = sources, job, part

    def __iter__(self) -> Iterator[Item]:
        number, step = self._part
        return chain.from_iterable(islice(self._units(), number - 1, None, step))

    def _units(self) -> Iterator[Iterable[Item]]:
        group, weight = list[Source](), 0
        for number, source in enumerate(self._sources):
            is_small, added = _is_small(source), _weight(source)
            if group and not (is_small and weight + added <= ITEM):
                yield [_whole(number, group)]
                group, weight = [], 0
            if is_small:
                group.append(source)
                weight += added
            else:
                yield from self._big(number, source)
        if group:
            yield [_whole(len(self._sources), group)]

    def _big(self, number: int, source: Source) -> Iterator[Iterable[Item]]:
        if source.form == "documents":
            yield self._documents(number, source)
        elif source.form in ("parquet", "arrow"):
            from windrow.text.columns import row_groups

            yield [Item(number, (source,), only_hashed=True)]
            for block, nbytes in row_groups(source, self._job.reading, ITEM):
                yield [Item(number, (source,), block, nbytes=nbytes)]
        elif source.compression or source.path == "-":
            yield self._stream(number, source)
        else:
            yield [Item(number, (source,), only_hashed=True)]
            content = FileBytes(source)
            for block in self._job.blocks(content, source):
                before = _before(content, block)
                yield [Item(number, (source,), block, before=before, nbytes=block.stop - block.start)]

    def _stream(self, number: int, source: Source) -> Iterator[Item]:
        folder, recipe = self._job.folder, self._job.recipe
        key = sha256(json.dumps(["stream", recipe, source.identity]).encode()).hexdigest()[:32]
        note = None if source.path == "-" else ItemFile.whole(folder, key)
        items = [_noted(number, source, fields) for fields in note.about["items"]] if note else []
        if note and all(ItemFile.whole(folder, item.key(recipe)) for item in items):  # no need to unpack it again
            self.digests[number] = note.about["sha256"], note.about["nbytes"]
            yield from items
            return
        content, noted = StreamBytes(source), []
        for item in self._unpacked(content, number, source):
            noted.append([item.block and item.block.as_list(), item.line, item.nbytes])
            yield item
        self.digests[number] = digest, nbytes = content.sha256()
        about = {"items": noted, "sha256": digest, "nbytes": nbytes}
        write_item(folder, key, lambda writer: writer.finish(about))

    def _unpacked(self, content: StreamBytes, number: int, source: Source) -> Iterator[Item]:
        line = num_raw = 0
        for block in self._job.blocks(content, source):
            data, before = content.read(block.start, block.stop), _before(content, block)
            content.read(block.next, block.next + 1)  # meets the end, or damage, before the item goes out
            yield Item(number, (source,), block, data, before, line, content.num_raw - num_raw)
            line += num_lines(data) + num_lines(content.read(block.stop, block.next))
            num_raw = content.num_raw

    def _documents(self, number: int, source: Source) -> Iterator[Item]:
        digest, start, line = sha256(), 0, 0
        for texts, kept, stop in batches(source, self._job.reading, digest.update):
            block = Block(start, stop, stop)
            yield Item(number, (source,), block, texts, line=line, nbytes=stop - start, kept=kept)
            start, line = stop, line + len(texts)
        self.digests[number] = digest.hexdigest(), start


def _whole(stop: int, group: list[Source]) -> Item:
    """Small files, all of them before number ``stop``."""
    return Item(stop - len(group), tuple(group), nbytes=sum(source.nbytes for source in group))


def _noted(number: int, source: Source, fields: list[Any]) -> Item:
    (start, stop, piece), line, nbytes = fields
    return Item(number, (source,), Block(start, stop, stop, piece and tuple(piece)), None, b"", line, nbytes)


def _is_small(source: Source) -> bool:
    return source.form in ("text", *LINE_FORMS) and source.path != "-" and source.nbytes <= _SMALL[source.compression]


def _weight(source: Source) -> int:
    return (source.nbytes << (3 if source.compression else 0)) + 1024  # opening a file costs as much as some text


def _before(content: Bytes, block: Block) -> bytes:
    """What lies before a piece that is not the first of its document."""
    if block.piece is None or block.piece[0]:
        return b""
    return content.read(max(block.start - _BEFORE, 0), block.start)


def batches(
    source: Source, reading: Reading, seen: Callable[[bytes], object]
) -> Iterator[tuple[list[str], list[tuple[Value, ...]], int]]:
    """Lists of texts (of lines of JSON) of about ITEM / 2 bytes, what is kept beside each, and where the last ends."""
    texts, kept = list[str](), list[tuple[Value, ...]]()
    held = stop = 0
    for number, document in enumerate(source.documents or ()):
        text = _line_of(document, reading, number) if reading.has_rows else _text_of(document, reading, number)
        data = text.encode("utf-8", "surrogatepass")
        seen(data)
        texts.append(text)
        if reading.keep:
            kept.append(_kept_of(document, reading.keep, number))
            seen(repr(kept[-1]).encode())
        held, stop = held + len(data), stop + len(data)
        if held >= ITEM >> 1 or len(texts) >= 1 << 16:
            yield texts, kept, stop
            texts, kept, held = [], [], 0
    if texts:
        yield texts, kept, stop


def _kept_of(document: object, keep: Sequence[str], number: int) -> tuple[Value, ...]:
    try:
        if not isinstance(document, Mapping):
            raise ValueError(f"keep={[*keep]} names fields of rows. Yield dicts, or leave keep out")
        return kept_values(keep, map(document.get, keep))
    except ValueError as error:
        raise SourceError(f"document {number} of the iterable: {error}.") from error


def _line_of(document: object, reading: Reading, number: int) -> str:
    """What is wanted of a dict of parts or of ids, as a line of JSON."""
    try:
        row = {key: document[key] for key in reading.keys.values()}  # type: ignore[index]  # TypeError is the answer
        row |= {name: document.get(name) for name in reading.keep}  # type: ignore[attr-defined]
        return json.dumps(row, default=lambda array: array.tolist()) + "\n"
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        wanted = " and ".join(f"{name}={key!r}" for name, key in reading.keys.items())
        raise SourceError(
            f"document {number} of the iterable, a {type(document).__name__}, cannot be read ({type(error).__name__}: "
            f"{error}), and documents are dicts with lists under {wanted}."
        ) from None


def _text_of(document: object, reading: Reading, number: int) -> str:
    text_key = reading.keys["text_key"]
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
