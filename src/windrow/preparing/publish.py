"""The parts of a side -> a store: shards, then the list of sources, then the manifest.

Guarantee: a shard holds whole items and depends on its parts only; each file is complete on disk before its name is,
and the manifest comes last. Cost: that of ``shard``, for each worker.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from windrow.errors import PrepareError
from windrow.preparing.crew import Crew
from windrow.preparing.shard import Edges, ShardDone, ShardTask, write_shard
from windrow.preparing.split import ItemPart
from windrow.preparing.tally import Tally
from windrow.store.manifest import MANIFEST, Column, Manifest, describe
from windrow.store.whole import write_whole
from windrow.text.reading import Reading
from windrow.tokens.protocol import Tokenizer, bos_id_of, token_dtype

__all__ = ["Publisher"]

SHARD_TOKENS, MOST_SHARDS = 1 << 27, 384  # of a store of more tokens the shards are larger: a process opens 1024 files
_SMALL = 1 << 20  # tokens, written before a process has started
_LEFT_OVER = re.compile(r"(tokens|counts|documents|origins|column-\d+)-\d+\.(bin|npy)(\.tmp)?")


@dataclass(frozen=True)
class Publisher:
    """Makes the stores in ``folder`` of the items in the folder of unfinished ``work``."""

    folder: Path
    work: Path
    tokenizer: Tokenizer
    reading: Reading
    policy: Mapping[str, Any]
    tally: Tally

    def publish(self, sides: Mapping[str, Sequence[ItemPart]], crew: Crew, part: tuple[int, int] | None) -> None:
        """The store of each side; or of a ``part`` every n-th shard, from the k-th on."""
        edges, columns = self._edges(), [field.column() for field in self.tally.fields]
        tasks = [
            ShardTask(self.folder / name, number, self.work, taken, edges, columns, self.reading.has_counts)
            for name, parts in sides.items()
            for number, taken in enumerate(_shards(parts))
        ]
        first, step = part or (1, 1)
        is_small = sum(part.stop - part.start for parts in sides.values() for part in parts) < _SMALL
        found = {task.key: done for _, task, done in crew.map(write_shard, tasks[first - 1 :: step], small=is_small)}
        for name, parts in {} if part else sides.items():
            shards = [found[task.key] for task in tasks if task.folder.name == name]
            num_tokens = _num_whole(self.folder / name, parts, shards)
            self._write_store(name, num_tokens, shards, columns)

    def _edges(self) -> Edges:
        around = self.reading.boundary
        bos_id = bos_id_of(self.tokenizer) if around in ("bos", "both") else None
        return Edges(self.tokenizer.eos_id, around in ("eos", "both"), bos_id)

    def _write_store(self, name: str, num_tokens: int, shards: Sequence[ShardDone], columns: Sequence[Column]) -> None:
        """The list of sources, and at last the manifest."""
        folder, edges = self.folder / name, self._edges()
        listing = "".join(json.dumps(line, sort_keys=True) + "\n" for line in self.tally.listing()).encode()
        write_whole(folder / "sources.jsonl", lambda file: file.write(listing))
        manifest = Manifest(
            dtype=token_dtype(self.tokenizer.vocab_size).name,
            num_tokens=num_tokens,
            num_documents=sum(done.shard.num_documents for done in shards),
            max_token_id=max(done.max_token_id for done in shards),
            eos_id=edges.eos_id,
            tokenizer=describe(self.tokenizer),
            policy={**self.policy, "side": name},
            shards=tuple(done.shard for done in shards),
            sources={"file": "sources.jsonl", "sha256": sha256(listing).hexdigest()},
            ledger=_counts(shards, num_tokens) | self.tally.counts(),
            columns=tuple(replace(of, missing=sum(done.missing[n] for done in shards)) for n, of in enumerate(columns)),
            boundary=self.reading.boundary or "eos",
            bos_id=edges.bos_id,
        )
        named = manifest.sums
        for path in folder.iterdir():
            if path.name not in named and _LEFT_OVER.fullmatch(path.name):  # of an earlier run, of another recipe
                path.unlink()
        write_whole(folder / MANIFEST, lambda file: file.write(manifest.to_json().encode()))


def _counts(shards: Sequence[ShardDone], num_tokens: int) -> dict[str, int]:
    num_eos, num_bos = sum(done.num_eos for done in shards), sum(done.num_bos for done in shards)
    lengths = _extreme_lengths(shards)
    return {
        "text_tokens": num_tokens - num_eos - num_bos,
        "eos_tokens": num_eos,
        **({"bos_tokens": num_bos} if num_bos else {}),
        "longest_document_tokens": max(lengths),
        "shortest_document_tokens": min(lengths),
    }


def _extreme_lengths(shards: Sequence[ShardDone]) -> list[int]:
    """Lengths of documents, the longest and the shortest among them; a document may go through several shards."""
    found, opened = list[int](), 0  # how many tokens of a document lie in the shards before
    for done in shards:
        if done.lengths:
            first, last, *others = done.lengths
            found += [opened + first, *others]
            opened = -last
        opened += done.shard.num_tokens
    return found


def _num_whole(folder: Path, parts: Sequence[ItemPart], shards: Sequence[ShardDone]) -> int:
    """Tokens in = tokens out."""
    made, written = sum(part.stop - part.start for part in parts), sum(done.shard.num_tokens for done in shards)
    if written != made:
        raise PrepareError(
            f"{folder} would hold {written} tokens, and {made} were made of the inputs. Nothing was published; "
            "please report this."
        )
    return made


def _shards(parts: Sequence[ItemPart]) -> Iterator[list[ItemPart]]:
    """The parts of each shard: whole items, the last of them the one that fills it."""
    full = max(SHARD_TOKENS, -(-sum(part.stop - part.start for part in parts) // MOST_SHARDS))
    held, taken = 0, list[ItemPart]()
    for part in parts:
        taken.append(part)
        held += part.stop - part.start
        if held >= full:
            yield taken
            held, taken = 0, []
    if taken:
        yield taken
