"""Work items: pieces of the inputs, of bounded size, that depend on the bytes of the inputs only.

Guarantee: the same inputs give the same items, whatever the number of workers, the engine and the run; an item holds
whole documents, or one piece of one long document, never a mixture.
"""

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from windrow.errors import PrepareError
from windrow.preparing.kept import Value
from windrow.text.blocks import Block, blocks
from windrow.text.reading import Reading
from windrow.text.sources import Source
from windrow.text.streams import Bytes
from windrow.tokens.cuts import Rule, rule_of
from windrow.tokens.protocol import Tokenizer, bos_id_of

__all__ = ["Item", "Job", "job_for"]


@dataclass(frozen=True)
class Job:
    """What all tasks share. ``tokenizer`` is pickled; ``recipe`` is JSON; ``hashed``: documents get a digest."""

    folder: Path
    recipe: str
    reading: Reading
    tokenizer: bytes
    cuttable: Rule
    hashed: bool
    nbytes: int = 0  # of all inputs, to say how much disk it takes
    memory: int = 1 << 30  # bytes that all of it may take

    def blocks(self, content: Bytes, source: Source, first: int = 0) -> Iterator[Block]:
        """The blocks of one source, in order; what lies before byte ``first`` may be one of any size."""
        return blocks(content, source, self.reading, self.cuttable, self.memory >> 2, first)


def job_for(
    work: Path, tokenizer: Tokenizer, reading: Reading, hashed: bool, nbytes: int = 0, memory: int | None = None
) -> Job:
    """What all work items share."""
    is_bytes = getattr(tokenizer, "name", "") == "bytes"
    cuttable = is_bytes or rule_of(getattr(tokenizer, "pattern", None), getattr(tokenizer, "added", ()))
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
