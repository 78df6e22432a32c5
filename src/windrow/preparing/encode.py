"""One item -> its file of tokens in the folder of unfinished work: what workers do.

Guarantee: a pure function of the item and the recipe, so that doing it twice, here or elsewhere, gives the same file;
a file that is there and whole is not made again. Cost: one block of text and its ids, some tens of MB.
"""

import errno
import json
import os
import pickle
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from windrow.errors import PrepareError, SourceError, WindrowError
from windrow.preparing.items import Item, Job
from windrow.preparing.kept import Field, keep
from windrow.preparing.tasks import Packed
from windrow.preparing.unfinished import ItemFile, ItemWriter, write_item
from windrow.text.blocks import Block
from windrow.text.json_forms import is_array
from windrow.text.parse import documents, split_literal
from windrow.text.reading import Reading
from windrow.text.rows import Bad, Document, has_half_a_pair
from windrow.text.sources import BOM, Source
from windrow.text.streams import STEP, StreamBytes, hash_file, num_lines, read_span
from windrow.tokens.cuts import PIECE
from windrow.tokens.encoder import EMPTY, Encoder
from windrow.tokens.protocol import EOT, Tokenizer, token_dtype

__all__ = ["Done", "cannot_write", "do"]

_MUCH = 1 << 21  # bytes in an item: there will be more of them
_PLACES = 20  # of what was skipped in an item, kept to be shown


@dataclass(frozen=True)
class Done:
    """What came of the item ``name``, of source ``first`` on: ``about`` is the same in every run, ``reused`` and
    ``seconds`` are of this one. ``above``: lines of that source before it, once they are counted."""

    name: str
    key: str
    first: int
    nbytes: int
    block: Block | None
    about: dict[str, Any]
    reused: bool
    seconds: dict[str, float]
    above: int = 0

    @property
    def piece(self) -> tuple[bool, bool] | None:
        """``(is_first, is_last)`` for a piece of a long document, None for whole documents."""
        return self.block.piece if self.block else None


def do(job: Job, task: Item | Packed) -> list[Done]:
    """The items of a task, each done or found done. Raises ``SourceError``, ``TokenizerError``, ``PrepareError``."""
    if isinstance(task, Item):
        return [_do(job, task)]
    digests = dict[int, tuple[str, int]]()
    done = [_do(job, item) for item in task.items(job, digests)]
    done[-1].about["sha256"] = [[0, *digests[task.number]]]
    return done


def _do(job: Job, item: Item) -> Done:
    key, seconds = item.key(job.recipe), dict[str, float]()
    try:
        found = ItemFile.found(job.folder, key)
        about = dict(found.about) if found else write_item(job.folder, key, lambda to: _encode(job, item, to, seconds))
    except OSError as error:
        raise cannot_write(error, job.folder, job.nbytes) from error
    return Done(str(item), key, item.first, item.nbytes, item.block, about, found is not None, seconds)


def cannot_write(error: OSError, folder: Path, nbytes: int) -> PrepareError:
    """The error for what the system refused, with what helps; ``nbytes`` of text are to be prepared in all."""
    needed = f"about {nbytes / 1e6:,.1f} MB are needed for all of it, the half of them only while it runs"
    remedy = {
        errno.ENOSPC: f"The disk is full, and {needed}: free some space there",
        errno.EDQUOT: f"Your disk quota is used up, and {needed}: free some space there",
        errno.EACCES: "Get the right to write there, or choose another folder",
        errno.EROFS: "The disk is read-only: choose another folder",
        errno.EMFILE: "Too many files are open in this process: raise the limit (ulimit -n 4096)",
        errno.ENFILE: "Too many files are open on this machine: close some programs",
        errno.EIO: "The disk fails: check it, or choose another one",
    }.get(error.errno or 0, "See to that")
    refused = os.strerror(error.errno) if error.errno else error
    return PrepareError(
        f"{error.filename or folder}: {refused}. {remedy}, and run the same command again: it goes on "
        "from the work that is done. Nothing was published."
    )


@lru_cache(maxsize=2)
def _tokenizer(pickled: bytes) -> Tokenizer:
    loaded: Tokenizer = pickle.loads(pickled)  # from the process that started this one, never from a file
    return loaded


def _encode(job: Job, item: Item, writer: ItemWriter, seconds: dict[str, float]) -> dict[str, Any]:
    """What is known of an item, whose file is written."""
    started, tokenizer = time.perf_counter(), _tokenizer(job.tokenizer)
    nbytes = len(item.data) if isinstance(item.data, bytes) else item.nbytes
    if nbytes >= _MUCH and hasattr(tokenizer, "expect"):
        tokenizer.expect(2 * nbytes)
    ready = time.perf_counter()
    encoder = Encoder(
        tokenizer,
        writer.write,
        literal_eos=job.reading.literal_eos,
        cuttable=job.cuttable,
        hashed=job.hashed,
        boundary=job.reading.boundary or "eos",
    )
    reader = _Reader(job, item, encoder)
    for number, source in enumerate(item.sources):
        reader.read(number, source)
    tables = encoder.tables()
    about = {
        **reader.about,
        "num_tokens": encoder.num_tokens,
        "num_documents": sum(map(len, tables)),
        "max_token_id": encoder.max_token_id,
        "dtype": token_dtype(tokenizer.vocab_size).name,
    }
    if job.reading.has_counts:
        about["num_counting"] = int(np.count_nonzero(encoder.counts))
        writer.write(encoder.counts)
    for table in tables:
        writer.write(table)
    about["rows_crc32"] = reduce(lambda crc, table: zlib.crc32(table.astype("<i8").tobytes(), crc), tables, 0)
    if job.reading.keep and not item.only_hashed:
        values = np.frombuffer(json.dumps([field.values for field in reader.fields]).encode(), np.uint8)
        writer.write(values)
        about |= {"kept_nbytes": len(values), "fields": [field.about for field in reader.fields]}
    writer.finish(about)
    seconds |= {"start": ready - started, "encode": encoder.seconds, "write": writer.seconds}
    seconds["hash" if item.only_hashed else "read"] = time.perf_counter() - started - sum(seconds.values())
    return about


class _Reader:
    """Gives the documents of an item to an encoder; ``about`` is what it learns of them."""

    def __init__(self, job: Job, item: Item, encoder: Encoder) -> None:
        self._job, self._item, self._encoder = job, item, encoder
        self.fields = [*map(Field, job.reading.keep)]
        self.about: dict[str, Any] = {
            "num_skipped": 0,
            "skipped": [],  # [source, line, start, reason]
            "sha256": [],  # [number of source, hex, nbytes]
            "text_nbytes": 0,
            "num_marks": 0,  # byte order marks
            "lines": 0,  # that end in the last source
            "piece": None,
        }

    def read(self, number: int, source: Source) -> None:
        block, data = self._item.block, self._item.data
        self._number, self._source, self.about["lines"] = number, source, 0
        if self._item.only_hashed:
            self.about["sha256"].append([number, *hash_file(str(source.path))])
        elif source.form in ("parquet", "arrow"):
            from windrow.text.columns import rows

            assert block is not None
            self._documents(rows(source, block, self._job.reading))
        elif source.form == "documents":
            self._documents(self._given())
        elif block is None:
            self._file(source)
        elif isinstance(data, bytes):
            self._block(block, data)
        else:
            assert not source.compression, "an item of a stream went away"
            self._block(block, read_span(str(source.path), block.start, block.stop))

    def _given(self) -> Iterator[Document | Bad]:
        """The texts that came with the item, or the rows as lines of JSON."""
        assert self._item.block is not None
        assert isinstance(self._item.data, list)
        start = self._item.block.start
        if self._job.reading.has_rows:
            yield from documents("".join(self._item.data).encode(), "jsonl", start, self._job.reading)
            return
        for line, (text, kept) in enumerate(zip(self._item.data, self._item.kept or repeat(()), strict=False), 1):
            stop = start + len(text.encode("utf-8", "surrogatepass"))
            if has_half_a_pair(text):
                yield Bad("half a surrogate pair, which UTF-8 has none of", line, start, stop)
            else:
                yield Document(text, line, start, stop, kept)
            start = stop
        self.about["lines"] = len(self._item.data)

    def _file(self, source: Source) -> None:
        """A whole file of some MB, read once."""
        if source.compression or source.nbytes > PIECE:
            content = StreamBytes(source)
            for block in self._job.blocks(content, source):
                self._block(block, content.read(block.start, block.stop))
            found = content.sha256()
        else:
            data = read_span(str(source.path), 0, source.nbytes)
            is_array(lambda start, stop: data[start:stop], source, self._job.reading)  # or it says what is wrong
            self._block(Block(0, len(data), len(data)), data)
            found = sha256(data).hexdigest(), len(data)
        self.about["sha256"].append([self._number, *found])

    def _block(self, block: Block, data: bytes) -> None:
        lines = num_lines(data) + (block.next > block.stop)
        if not block.start and data.startswith(BOM):
            block, data = replace(block, start=len(BOM)), data[len(BOM) :]
            self.about["num_marks"] += 1
        if block.piece is None:
            self._documents(documents(data, self._source.form, block.start, self._job.reading))
        else:
            self._piece(block, data)
        self.about["lines"] += lines

    def _piece(self, block: Block, data: bytes) -> None:
        """A piece of a long document: the item, or one of those in a file of some MB."""
        assert block.piece is not None
        is_first, is_last = block.piece
        is_item = self._item.block is not None
        if is_first or is_item:
            self._began, self._is_bad = (self._number, self.about["lines"] + 1, block.start), False
        (found,) = documents(data, "text", block.start, Reading())
        if isinstance(found, Document) and self._job.reading.literal_eos == "error" and EOT in found.text:
            found = Bad(_LITERAL, *found[1:4])
        if not data and is_first and is_last and self._job.reading.boundary == "none":
            found = Bad(EMPTY, *found[1:4])
        text = found.text if isinstance(found, Document) else ""
        if isinstance(found, Bad):
            self._skip(found)
            self.about["num_skipped"] -= self._is_bad  # a document counts once
            self._is_bad = True
        before = self._item.before.decode("utf-8", "ignore") if text else ""
        self._encoder.piece(text, (*self._began, block.stop), is_first, is_last, before, self._is_bad)
        self.about["text_nbytes"] += len(data)
        if is_item:
            self.about["piece"] = {"digest": self._encoder.digests[-1].hex(), "bad": self._is_bad}

    def _documents(self, found: Iterable[Document | Bad]) -> None:
        policy, above, is_whole = self._job.reading.literal_eos, self.about["lines"], self._source.form == "text"
        for document in found:
            if isinstance(document, Bad):
                self._skip(document)
            elif policy == "error" and EOT in document.text:
                self._skip(Bad(_LITERAL, *document[1:4]))
            elif policy == "split" and not is_whole and EOT in document.text:  # other text was split as it was read
                for part in split_literal(document):
                    self._document(part, above, is_whole)
            else:
                self._document(document, above, is_whole)

    def _document(self, document: Document, above: int, is_whole: bool) -> None:
        """``is_whole``: it is all that lies at its place in the source, and was decoded from it."""
        text, line, start, stop, kept, row = document
        self.about["text_nbytes"] += stop - start if is_whole else len(text) if text.isascii() else len(text.encode())
        place = self._number, line + above, start, stop
        try:
            if row is None:
                self._encoder.document(text, place)
            elif self._job.reading.ids_key is None:
                self._encoder.parts(row, place)
            else:
                self._encoder.ids(row[0], row[1] if self._job.reading.has_counts else None, place)
        except ValueError as error:
            if isinstance(error, WindrowError):
                raise
            self._skip(Bad(str(error), line, start, stop))
            return
        try:
            keep(self.fields, kept)
        except ValueError as error:
            raise self._failure(line, str(error)) from error

    def _skip(self, bad: Bad) -> None:
        """Count what cannot be a document; raise when nothing may be skipped."""
        if bad.is_fatal or self._job.reading.on_error != "skip":
            remedy = "Download or copy it again" if bad.is_fatal else _LEAVE_OUT
            raise self._failure(bad.line, f"{bad.reason}. {remedy}")
        self.about["num_skipped"] += 1
        if len(self.about["skipped"]) < _PLACES:
            line = bad.line + self.about["lines"]
            self.about["skipped"].append([self._number, line, bad.start, bad.reason[:200]])

    def _failure(self, line: int, what: str) -> SourceError:
        """The error for a line of the block, with its place in the source."""
        line += self.about["lines"] + _lines_before(self._item)
        return SourceError(f"{_where(self._source, line)}: {what}.")


_LEAVE_OUT = 'To leave such documents out and count them: on_error="skip"'
_LITERAL = f'literal {EOT} in the text, and literal_eos="error" forbids it (others: "text", "split", "special")'


def _where(source: Source, line: int) -> str:
    if source.form == "documents":
        return f"document {line - 1} of the iterable"
    unit = "row" if source.form in ("parquet", "arrow") else "line"
    return f"{source.path}, {unit} {line}"


def _lines_before(item: Item) -> int:
    """The number of lines before the item, counted only when there is an error to place."""
    source, block = item.sources[0], item.block
    if item.line is not None or block is None or source.form in ("parquet", "arrow"):
        return item.line or 0
    starts = range(0, block.start, STEP)
    return sum(read_span(str(source.path), at, min(at + STEP, block.start)).count(b"\n") for at in starts)
