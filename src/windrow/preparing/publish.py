"""The parts of a side -> a store: shards, then the list of sources, then the manifest.

Guarantee: a shard holds whole items and depends on its parts only; each file is complete on disk before its name is,
and the manifest comes last. Cost: one item in memory; each token is copied once more.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64, Mask, Tokens
from windrow.errors import PrepareError
from windrow.preparing.crew import Crew
from windrow.preparing.kept import ColumnValues, column_values
from windrow.preparing.split import ItemPart
from windrow.preparing.tally import Tally
from windrow.preparing.unfinished import ItemFile
from windrow.store.manifest import MANIFEST, Column, ColumnFile, Manifest, Shard, describe
from windrow.store.whole import write_whole
from windrow.text.reading import Reading
from windrow.tokens.protocol import Tokenizer, bos_id_of, token_dtype

__all__ = ["publish_side"]

SHARD_TOKENS = 1 << 27
_FILES = ("tokens-{:05d}.bin", "documents-{:05d}.npy", "origins-{:05d}.npy", "counts-{:05d}.bin")  # of a shard
_COLUMN_FILE = "column-{:03d}-{:05d}.npy"
_LEFT_OVER = re.compile(r"(tokens|counts|documents|origins|column-\d+)-\d+\.(bin|npy)(\.tmp)?")


def publish_side(
    folder: Path,
    parts: Sequence[ItemPart],
    work: Path,
    crew: Crew,
    tokenizer: Tokenizer,
    reading: Reading,
    policy: Mapping[str, Any],
    tally: Tally,
) -> None:
    """Make the store ``folder`` of ``parts``, whose items are in the folder of unfinished ``work``."""
    eos_id, columns = tokenizer.eos_id, [field.column() for field in tally.fields]
    bos_id = bos_id_of(tokenizer) if reading.boundary in ("bos", "both") else None
    shared = (Edges(eos_id, reading.boundary in ("eos", "both"), bos_id), columns, reading.has_counts)
    tasks = (ShardTask(folder, number, work, taken, *shared) for number, taken in enumerate(_shards(parts)))
    shards = [done for _, _, done in sorted(crew.map(write_shard, tasks), key=lambda numbered: numbered[0])]
    num_tokens = sum(part.stop - part.start for part in parts)
    _require_whole(folder, num_tokens, shards)
    listing = "".join(json.dumps(line, sort_keys=True) + "\n" for line in tally.listing()).encode()
    write_whole(folder / "sources.jsonl", lambda file: file.write(listing))
    _remove_others(folder, shards)
    manifest = Manifest(
        dtype=token_dtype(tokenizer.vocab_size).name,
        num_tokens=num_tokens,
        num_documents=sum(done.shard.num_documents for done in shards),
        max_token_id=max(done.max_token_id for done in shards),
        eos_id=eos_id,
        tokenizer=describe(tokenizer),
        policy=policy,
        shards=tuple(done.shard for done in shards),
        sources={"file": "sources.jsonl", "sha256": sha256(listing).hexdigest()},
        ledger=_counts(folder, shards, num_tokens) | tally.counts(),
        columns=tuple(
            replace(column, missing=sum(missing))
            for column, *missing in zip(columns, *(done.missing for done in shards), strict=True)
        ),
        boundary=reading.boundary or "eos",
        bos_id=bos_id,
    )
    write_whole(folder / MANIFEST, lambda file: file.write(manifest.to_json().encode()))


def _remove_others(folder: Path, shards: Sequence["ShardDone"]) -> None:
    """What an earlier run of another recipe left unfinished."""
    named = {name for s in (done.shard for done in shards) for name in (s.file, s.documents, s.origins, s.counts)}
    named |= {column.file for done in shards for column in done.shard.columns}
    for path in folder.iterdir():
        if path.name not in named and _LEFT_OVER.fullmatch(path.name):
            path.unlink()


def _counts(folder: Path, shards: Sequence["ShardDone"], num_tokens: int) -> dict[str, int]:
    num_eos, num_bos = sum(done.num_eos for done in shards), sum(done.num_bos for done in shards)
    lengths = _extreme_lengths(folder, [done.shard for done in shards])
    return {
        "text_tokens": num_tokens - num_eos - num_bos,
        "eos_tokens": num_eos,
        **({"bos_tokens": num_bos} if num_bos else {}),
        "longest_document_tokens": max(lengths),
        "shortest_document_tokens": min(lengths),
    }


def _extreme_lengths(folder: Path, shards: Sequence[Shard]) -> list[int]:
    """Lengths of documents, the longest and the shortest among them; a document may go through several shards."""
    found, start = list[int](), 0  # of the document that is open, counted from the start of the shard
    for shard in shards:
        edges = np.concatenate([[start], np.load(folder / shard.documents)])
        if shard.num_documents:
            lengths = np.diff(edges)
            found += [int(lengths.max()), int(lengths.min())]
        start = int(edges[-1]) - shard.num_tokens
    return found


def _require_whole(folder: Path, num_tokens: int, shards: Sequence["ShardDone"]) -> None:
    """Tokens in = tokens out."""
    written = sum(done.shard.num_tokens for done in shards)
    if written != num_tokens:
        raise PrepareError(
            f"{folder} would hold {written} tokens, and {num_tokens} were made of the inputs. Nothing was published; "
            "please report this."
        )


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


@dataclass(frozen=True)
class ShardDone:
    """A shard, and what the ledger wants to know of it."""

    shard: Shard
    max_token_id: int
    num_eos: int  # at the ends of documents
    num_bos: int  # at their beginnings
    missing: Sequence[int]  # in each column


def _shards(parts: Sequence[ItemPart]) -> Iterator[list[ItemPart]]:
    """The parts of each shard: whole items, the last of them the one that fills it."""
    held, taken = 0, list[ItemPart]()
    for part in parts:
        taken.append(part)
        held += part.stop - part.start
        if held >= SHARD_TOKENS:
            yield taken
            held, taken = 0, []
    if taken:
        yield taken


def write_shard(task: ShardTask) -> ShardDone:
    """Write the files of a shard."""
    task.folder.mkdir(parents=True, exist_ok=True)
    file, documents, origins, counts = (form.format(task.number) for form in _FILES)
    tokens, nums, ends, places, kept = write_whole(task.folder / file, partial(_write_tokens, task))
    documents_sha256 = _write_array(task.folder / documents, ends)
    origins_sha256 = _write_array(task.folder / origins, places)
    named = (documents, documents_sha256, origins, origins_sha256)
    columns = tuple(_write_column(task, number, [*values]) for number, values in enumerate(zip(*kept, strict=True)))
    shard = Shard(file, tokens.num_tokens, len(ends), tokens.digest.hexdigest(), *named, columns=columns)
    if task.has_counts:
        digest = write_whole(task.folder / counts, partial(_write_counts, task))
        shard = replace(shard, counts=counts, counts_sha256=digest)
    missing = [sum(values.missing for values in column) for column in zip(*kept, strict=True)]
    return ShardDone(shard, tokens.max_token_id, int(nums[0]), int(nums[1]), missing)


def _write_column(task: ShardTask, number: int, values: Sequence[ColumnValues]) -> ColumnFile:
    name = _COLUMN_FILE.format(number, task.number)
    return ColumnFile(name, _write_array(task.folder / name, np.concatenate([part.values for part in values])))


def _write_counts(task: ShardTask, file: BinaryIO) -> str:
    """The sha256 of what was written: a byte for each token."""
    with ThreadPoolExecutor(1) as hashing:
        written = _TokenFile(file, hashing)
        for part in task.parts:
            written.write(_read(task.work, part, ItemFile.counts)[0])
    return written.digest.hexdigest()


def _write_tokens(
    task: ShardTask, file: BinaryIO
) -> tuple["_TokenFile", Int64, Int64, Int64, list[list[ColumnValues]]]:
    """What was written, how many eos and bos are around documents, the ends, origins (num_documents, 4), columns."""
    nums, all_ends, all_origins = np.zeros(2, np.int64), [np.empty(0, np.int64)], [np.empty((0, 4), np.int64)]
    all_kept = list[list[ColumnValues]]()
    with ThreadPoolExecutor(1) as hashing:
        written = _TokenFile(file, hashing)
        for part in task.parts:
            tokens, ends, origins, kept = _read(task.work, part)
            all_kept.append([column_values(*each) for each in zip(task.columns, kept, strict=True)])
            nums += _count_edges(task, part, tokens, ends)
            all_ends.append(ends + written.num_tokens)
            all_origins.append(origins)
            written.write(tokens)
    return written, nums, np.concatenate(all_ends), np.concatenate(all_origins), all_kept


class _TokenFile:
    """Writes tokens, and hashes them in the thread ``hashing`` while the next ones are read and written."""

    def __init__(self, file: BinaryIO, hashing: ThreadPoolExecutor) -> None:
        self.num_tokens, self.max_token_id, self.digest = 0, -1, sha256()
        self._file, self._hashing = file, hashing
        self._hashed: Future[None] | None = None

    def write(self, tokens: Tokens) -> None:
        self.num_tokens += len(tokens)
        self.max_token_id = max(self.max_token_id, int(tokens.max(initial=0)))
        raw = np.ascontiguousarray(tokens).view(np.uint8).data
        self._file.write(raw)
        if self._hashed:
            self._hashed.result()  # two parts at most are in memory
        self._hashed = self._hashing.submit(self.digest.update, raw)


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


def _read(
    work: Path, part: ItemPart, read: Callable[[ItemFile, int, int], Tokens] = ItemFile.tokens
) -> tuple[Tokens, Int64, Int64, list[NDArray[Any]]]:
    """Tokens (or what ``read`` gives of them), ends (counted from the part's start), origins and kept values."""
    item = ItemFile.open(work, part.key)
    rows = item.rows()[:, :5]
    if part.row is not None:
        rows = np.array([(item.about["num_tokens"], *part.row)], np.int64)
    ends, about = rows[:, 0] if part.ends else rows[:0, 0], [_placed(rows[:, 1:], part), *item.kept()]
    if part.keep is None:
        tokens = read(item, part.start, part.stop)
    else:
        whole = read(item, 0, int(item.about["num_tokens"]))
        tokens = _runs(whole, ends, part.keep)[part.start : part.stop]
        about, ends = [of[part.keep] for of in about], np.cumsum(np.diff(ends, prepend=0)[part.keep])
    first, last = np.searchsorted(ends, [part.start, part.stop], side="right")
    if part.closing and (not last or ends[last - 1] != part.stop):
        last, ends = last + 1, np.concatenate([ends[:last], [part.stop]])  # the side ends within a document
    origins, *kept = (of[first:last] for of in about)
    return tokens, ends[first:last] - part.start, origins, kept


def _placed(origins: Int64, part: ItemPart) -> Int64:
    """Places within an item (n, 4) as places among all sources, with the lines of the whole source."""
    placed: Int64 = origins + np.array([part.first_source, 0, 0, 0])
    placed[:, 1] += np.where(origins[:, 0] == 0, part.above, 0)
    return placed


def _runs(tokens: Tokens, ends: Int64, keep: Mask) -> Tokens:
    """The tokens of the documents kept, copied run by run."""
    edges = np.concatenate([[0], ends])
    runs = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)
    return np.concatenate([tokens[edges[first] : edges[last]] for first, last in runs])


def _write_array(path: Path, array: NDArray[Any]) -> str:
    """Write an array; its file's sha256."""
    buffer = BytesIO()
    np.save(buffer, array.astype(array.dtype.newbyteorder("<")), allow_pickle=False)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))
    return sha256(buffer.getbuffer()).hexdigest()
