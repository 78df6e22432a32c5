"""The parts of a side -> a store: shards, then the list of sources, then the manifest.

Guarantee: a shard holds whole items and depends on its parts only; each file is complete on disk before its name is,
and the manifest comes last. Cost: one item in memory; each token is copied once more.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from windrow.errors import PrepareError
from windrow.preparing.crew import Crew
from windrow.preparing.items import Job
from windrow.preparing.split import ItemPart
from windrow.preparing.tally import Tally
from windrow.preparing.unfinished import ItemFile
from windrow.store.manifest import MANIFEST, Manifest, Shard, describe
from windrow.store.whole import write_whole
from windrow.tokens.protocol import Tokenizer, token_dtype

__all__ = ["publish_side"]

SHARD_TOKENS = 1 << 27
_FILES = ("tokens-{:05d}.bin", "documents-{:05d}.npy", "origins-{:05d}.npy")  # of a shard
_LEFT_OVER = re.compile(r"(tokens|documents|origins)-\d+\.(bin|npy)(\.tmp)?")
Ids = NDArray[np.unsignedinteger[Any]]
Rows = NDArray[np.int64]


def publish_side(
    folder: Path,
    parts: Sequence[ItemPart],
    job: Job,
    crew: Crew,
    tokenizer: Tokenizer,
    policy: Mapping[str, Any],
    tally: Tally,
) -> None:
    """Make the store ``folder`` of ``parts``."""
    numbered = sorted(
        crew.map(write_shard, _shard_tasks(folder, job.folder, tokenizer.eos_id, parts)), key=lambda done: done[0]
    )
    shards = [done for _, _, done in numbered]
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
        eos_id=tokenizer.eos_id,
        tokenizer=describe(tokenizer),
        policy=policy,
        shards=tuple(done.shard for done in shards),
        sources={"file": "sources.jsonl", "sha256": sha256(listing).hexdigest()},
        ledger=_counts(shards, num_tokens) | tally.counts(),
    )
    write_whole(folder / MANIFEST, lambda file: file.write(manifest.to_json().encode()))


def _remove_others(folder: Path, shards: Sequence["ShardDone"]) -> None:
    """What an earlier run of another recipe left unfinished."""
    named = {name for done in shards for name in (done.shard.file, done.shard.documents, done.shard.origins)}
    for path in folder.iterdir():
        if path.name not in named and _LEFT_OVER.fullmatch(path.name):
            path.unlink()


def _counts(shards: Sequence["ShardDone"], num_tokens: int) -> dict[str, int]:
    num_eos = sum(done.num_eos for done in shards)
    lengths = _extreme_lengths(shards)
    return {
        "text_tokens": num_tokens - num_eos,
        "eos_tokens": num_eos,
        "longest_document_tokens": max(lengths),
        "shortest_document_tokens": min(lengths),
    }


def _extreme_lengths(shards: Sequence["ShardDone"]) -> list[int]:
    """Lengths of documents, the longest and the shortest among them; a document may go through several shards."""
    found, begun = list[int](), 0
    for done in shards:
        if done.lengths:
            first, *others = done.lengths
            found += [begun + first, *others]
            begun = 0
        begun += done.rest
    return found


def _require_whole(folder: Path, num_tokens: int, shards: Sequence["ShardDone"]) -> None:
    """Tokens in = tokens out."""
    written = sum(done.shard.num_tokens for done in shards)
    if written != num_tokens:
        raise PrepareError(
            f"{folder} would hold {written} tokens, and {num_tokens} were made of the inputs. Nothing was published; "
            "please report this."
        )


@dataclass(frozen=True)
class ShardTask:
    """Shard ``number`` of the store in ``folder``, to be made of ``parts`` in the folder of unfinished ``work``."""

    folder: Path
    number: int
    work: Path
    eos_id: int
    parts: tuple[ItemPart, ...]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.folder}"


@dataclass(frozen=True)
class ShardDone:
    """A shard, and what the ledger wants to know of it."""

    shard: Shard
    max_token_id: int
    lengths: tuple[int, ...]  # of the first document that ends here (its part), and the longest and shortest of others
    rest: int  # tokens after the last document that ends here
    num_eos: int  # at the ends of documents


def _shard_tasks(folder: Path, work: Path, eos_id: int, parts: Sequence[ItemPart]) -> Iterator[ShardTask]:
    """Shards of whole items, each closed by the item that fills it."""
    number, held, taken = 0, 0, list[ItemPart]()
    for part in parts:
        taken.append(part)
        held += part.stop - part.start
        if held >= SHARD_TOKENS:
            yield ShardTask(folder, number, work, eos_id, tuple(taken))
            number, held, taken = number + 1, 0, []
    if taken:
        yield ShardTask(folder, number, work, eos_id, tuple(taken))


def write_shard(task: ShardTask) -> ShardDone:
    """Write the three files of a shard."""
    task.folder.mkdir(parents=True, exist_ok=True)
    file, documents, origins = (form.format(task.number) for form in _FILES)
    tokens, num_eos, ends, places = write_whole(task.folder / file, partial(_write_tokens, task))
    documents_sha256 = _write_array(task.folder / documents, ends)
    origins_sha256 = _write_array(task.folder / origins, places)
    lengths = np.diff(ends, prepend=0)
    whole = lengths[1:]
    shown = (*lengths[:1].tolist(), *((int(whole.max()), int(whole.min())) if len(whole) else ()))
    named = (documents, documents_sha256, origins, origins_sha256)
    shard = Shard(file, tokens.num_tokens, len(ends), tokens.sha256, *named)
    return ShardDone(shard, tokens.max_token_id, shown, tokens.num_tokens - int(lengths.sum()), num_eos)


def _write_tokens(task: ShardTask, file: BinaryIO) -> tuple["_TokenFile", int, Rows, Rows]:
    """What was written, the number of eos at the ends of documents, the ends, and the origins (num_documents, 4)."""
    num_eos, all_ends, all_origins = 0, [np.empty(0, np.int64)], [np.empty((0, 4), np.int64)]
    with _TokenFile(file) as written:
        for part in task.parts:
            tokens, ends, origins = _read(task.work, part)
            num_eos += _count_eos(task, part, tokens, ends)
            all_ends.append(ends + written.num_tokens)
            all_origins.append(origins)
            written.write(tokens)
    return written, num_eos, np.concatenate(all_ends), np.concatenate(all_origins)


class _TokenFile:
    """Writes tokens, and hashes them in a thread of its own while the next ones are read and written."""

    def __init__(self, file: BinaryIO) -> None:
        self.num_tokens, self.max_token_id = 0, -1
        self._file, self._digest = file, sha256()
        self._hashing = ThreadPoolExecutor(1)
        self._hashed: Future[None] | None = None

    def __enter__(self) -> "_TokenFile":
        return self

    def __exit__(self, *failure: object) -> None:
        self._hashing.shutdown()

    def write(self, tokens: Ids) -> None:
        self.num_tokens += len(tokens)
        self.max_token_id = max(self.max_token_id, int(tokens.max(initial=0)))
        raw = np.ascontiguousarray(tokens).view(np.uint8).data
        self._file.write(raw)
        if self._hashed:
            self._hashed.result()  # two parts at most are in memory
        self._hashed = self._hashing.submit(self._digest.update, raw)

    @property
    def sha256(self) -> str:
        """Of all that was written, once it is left."""
        return self._digest.hexdigest()


def _count_eos(task: ShardTask, part: ItemPart, tokens: Ids, ends: Rows) -> int:
    """The documents that end with an eos: all, but for one that the split cuts."""
    num_eos = int(np.count_nonzero(tokens[ends - 1] == task.eos_id))
    if num_eos < len(ends) - part.closing:
        raise PrepareError(
            f"{task} would have {len(ends) - num_eos} documents without an eos at their end. Nothing was published; "
            "please report this."
        )
    return num_eos


def _read(work: Path, part: ItemPart) -> tuple[Ids, Rows, Rows]:
    """Tokens, ends (counted from the part's start) and origins of a part."""
    item = ItemFile.open(work, part.key)
    if part.row is not None:
        tokens, length = item.tokens(part.start, part.stop), int(item.about["num_tokens"])
        is_end = part.closing or (part.ends and part.stop == length)
        origins = _placed(np.array([part.row], np.int64), part)[: int(is_end)]
        return tokens, np.array([len(tokens)] * is_end, np.int64), origins
    rows = item.rows()
    starts, ends = np.concatenate([[0], rows[:-1, 0]]), rows[:, 0]
    origins = _placed(rows[:, 1:5], part)
    if part.keep is None:
        tokens = item.tokens(part.start, part.stop)
    else:
        tokens = _runs(item, starts, ends, part.keep)[part.start : part.stop]
        origins, ends = origins[part.keep], np.cumsum((ends - starts)[part.keep])
    first, last = np.searchsorted(ends, [part.start, part.stop], side="right")
    if part.closing and (not last or ends[last - 1] != part.stop):
        last, ends = last + 1, np.concatenate([ends[:last], [part.stop]])  # the side ends within a document
    return tokens, ends[first:last] - part.start, origins[first:last]


def _placed(origins: Rows, part: ItemPart) -> Rows:
    """Places within an item (n, 4) as places among all sources, with the lines of the whole source."""
    placed: Rows = origins + np.array([part.first_source, 0, 0, 0])
    placed[:, 1] += np.where(origins[:, 0] == 0, part.above, 0)
    return placed


def _runs(item: ItemFile, starts: Rows, ends: Rows, keep: NDArray[np.bool_]) -> Ids:
    """The tokens of the documents kept, copied run by run."""
    tokens = item.tokens(0, int(item.about["num_tokens"]))
    edges = np.flatnonzero(np.diff(keep, prepend=False, append=False)).reshape(-1, 2)
    return np.concatenate([tokens[:0], *(tokens[starts[first] : ends[last - 1]] for first, last in edges)])


def _write_array(path: Path, array: Rows) -> str:
    """Write an array; its file's sha256."""
    buffer = BytesIO()
    np.save(buffer, array.astype("<i8"), allow_pickle=False)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))
    return sha256(buffer.getbuffer()).hexdigest()
