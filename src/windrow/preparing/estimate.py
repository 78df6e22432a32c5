"""What ``prepare`` would take: bytes, tokens, disk, time; from samples of the inputs. Writes nothing that stays.

Guarantee: none of the figures is exact but the number and size of the inputs; the rate is this machine's, now.
Cost: tokenizes up to three work items, a second or two.
"""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from windrow.errors import SourceError
from windrow.preparing.crew import crew_for
from windrow.preparing.encode import do
from windrow.preparing.items import Item, Job, job_for
from windrow.preparing.tally import Report, Tally
from windrow.preparing.tasks import Tasks
from windrow.text.reading import Reading
from windrow.text.sources import Inputs, Source, find_sources
from windrow.tokens.encoder import COLUMNS
from windrow.tokens.protocol import Tokenizer, token_dtype
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["Estimate", "estimate"]


_BESIDE = 40  # bytes of a store for each document: its end and its origin


@dataclass(frozen=True)
class Estimate:
    """``disk_nbytes`` is what the stores take; while it runs the items take ``work_nbytes`` beside them."""

    num_inputs: int
    nbytes: int
    num_tokens: int
    num_documents: int
    disk_nbytes: int
    work_nbytes: int
    seconds: float
    num_workers: int


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
    sources, _ = find_sources(inputs, reading)
    if not all(source.is_file for source in sources):
        raise SourceError(
            "standard input and documents in memory can be read once only, so there is no dry run of them."
        )
    crew = crew_for(loaded, workers=workers, memory=memory, executor=None)
    nbytes = sum(source.nbytes for source in sources)
    picked = [sources[number] for number in sorted({0, len(sources) // 2, len(sources) - 1})]
    with TemporaryDirectory() as folder:
        sample = _sample(picked, job_for(Path(folder), loaded, reading, hashed=False))
    scale, num_workers = nbytes / max(sample.nbytes, 1), max(crew.num_workers, 1)
    num_tokens, num_documents = int(sample.num_tokens * scale), int(sample.num_documents * scale)
    of_tokens = num_tokens * (token_dtype(loaded.vocab_size).itemsize + reading.has_counts)
    disk, work = of_tokens + _BESIDE * num_documents, of_tokens + 8 * len(COLUMNS) * num_documents
    nums = len(sources), nbytes, num_tokens, num_documents, disk, work
    return Estimate(*nums, sample.seconds * scale / num_workers + 1.0, num_workers)


def _sample(sources: list[Source], job: Job) -> Report:
    """What came of each source's first item; the first one is done twice, to warm up."""
    tasks = (Tasks([source], job) for source in sources)
    found = ((item for item in of if isinstance(item, Item) and not item.only_hashed) for of in tasks)
    items = [item for of_source in found for item in islice(of_source, 1)]
    for item in items[:1]:
        do(replace(job, recipe="to warm up"), item)
    tally = Tally(sources, job.reading, {})
    for item in items:
        tally.add((0, 0), *do(job, item))
    return tally.report()
