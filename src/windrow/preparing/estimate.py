"""What ``prepare`` would take: bytes, tokens, disk, time; from samples of the inputs. Writes nothing that stays.

Guarantee: none of the figures is exact but the number and size of the inputs; the rate is this machine's, now.
Cost: tokenizes up to three work items, a second or two.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from windrow.errors import SourceError
from windrow.preparing.crew import crew_for
from windrow.preparing.encode import Done, do
from windrow.preparing.items import Item, Job, Tasks, job_for
from windrow.text.sources import Inputs, Reading, Source, find_sources
from windrow.tokens.protocol import Tokenizer, token_dtype
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """``disk_nbytes`` is what the stores take; while it runs it is twice that."""

    num_inputs: int
    nbytes: int
    num_tokens: int
    disk_nbytes: int
    seconds: float
    num_workers: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def estimate(
    inputs: Inputs,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    reading: Reading | None = None,
    workers: int | None = None,
    memory: int | None = None,
) -> Estimate:
    """Look at all inputs and tokenize a few pieces. Raises ``SourceError`` for what cannot be looked at twice."""
    reading, loaded = reading or Reading(), load_tokenizer(tokenizer)
    sources = find_sources(inputs)
    if not all(source.is_file for source in sources):
        raise SourceError(
            "standard input and documents in memory can be read once only, so there is no dry run of them."
        )
    crew = crew_for(loaded, workers=workers, memory=memory, executor=None)
    nbytes = sum(source.nbytes for source in sources)
    with TemporaryDirectory() as folder:
        sampled, num_tokens, seconds = _sample(_spread(sources), loaded, reading, Path(folder))
    scale, num_workers = nbytes / max(sampled, 1), max(crew.num_workers, 1)
    tokens = int(num_tokens * scale)
    disk = tokens * token_dtype(loaded.vocab_size).itemsize
    return Estimate(len(sources), nbytes, tokens, disk, seconds * scale / num_workers + 1.0, num_workers)


def _spread(sources: Sequence[Source]) -> list[Source]:
    """The first, one in the middle and the last."""
    return [sources[number] for number in sorted({0, len(sources) // 2, len(sources) - 1})]


def _sample(sources: list[Source], tokenizer: Tokenizer, reading: Reading, folder: Path) -> tuple[int, int, float]:
    """Bytes, tokens and seconds of the first item of each source; the first one is done twice, to warm up."""
    job = job_for(folder, tokenizer, reading, hashed=False)
    items = [item for source in sources for item in _first(source, job)]
    if items:
        do(job, items[0])
    nbytes, num_tokens, started = 0, 0, time.perf_counter()
    for number, item in enumerate(items):
        done: Done = do(replace(job, recipe=f"{job.recipe} sample {number}"), item)
        nbytes, num_tokens = nbytes + item.nbytes, num_tokens + int(done.about["num_tokens"])
    return nbytes, num_tokens, time.perf_counter() - started


def _first(source: Source, job: Job) -> list[Item]:
    return list(islice((task for task in Tasks([source], job) if isinstance(task, Item)), 1))
