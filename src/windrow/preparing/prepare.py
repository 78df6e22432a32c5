"""Documents -> tokens -> a store on disk: ``DEST/train`` and, when asked for, ``DEST/valid``.

Guarantee: exactly one eos after each document; the same inputs and arguments give the same bytes, for any number of
workers and after any end of the process, however rude; a store appears whole or not at all, and none is written over.
Cost: memory is bounded by the workers, not by the text; while it runs the tokens are on disk twice.

The path: ``sources`` finds the inputs, ``tasks`` cuts them into work, workers ``encode`` it into ``DEST/unfinished``,
``split`` divides the documents, ``publish`` makes the stores.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from windrow.errors import PrepareError
from windrow.preparing.crew import Crew, crew_for
from windrow.preparing.encode import cannot_write, do
from windrow.preparing.items import Job, job_for
from windrow.preparing.publish import Publisher
from windrow.preparing.split import divide
from windrow.preparing.tally import Report, Tally
from windrow.preparing.tasks import ITEM, Tasks
from windrow.preparing.unfinished import DamagedItemError, locked, remove_left_over, remove_work
from windrow.preparing.verify import is_finished
from windrow.store.opening import open_store
from windrow.store.store import TokenStore
from windrow.text.reading import Boundary, Form, Reading
from windrow.text.sources import Inputs, Source, find_sources, require_unchanged, told_form
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer

__all__ = ["prepare"]

Split = Literal["documents", "tail"]


def prepare(
    inputs: Inputs,
    dest: str | Path,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    valid_fraction: float = 0.0,
    split: Split = "documents",
    form: Form | None = None,
    text_key: str | None = None,
    separator: str | None = None,
    literal_eos: Literal["text", "split", "special", "error"] = "text",
    keep: Sequence[str] = (),
    dedupe: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    boundary: Boundary | None = None,
    parts_key: str | None = None,
    ids_key: str | None = None,
    mask_key: str | None = None,
    workers: int | None = None,
    memory: int | None = None,
    executor: Executor | None = None,
    part: tuple[int, int] | None = None,
    finish: bool = False,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, TokenStore]:
    """Tokenize ``inputs`` into the store ``DEST/train``, and ``DEST/valid`` when ``valid_fraction > 0``.

    Args:
        inputs: a file, folder, glob, ``"-"`` for standard input, or a list of them; or any other iterable of documents,
            str or dict. Files are .txt, .jsonl, .json, .parquet or .arrow, each plain, .gz or .zst.
        dest: the folder for the stores; unfinished work is kept in ``DEST/unfinished``, and continued by the next call.
        tokenizer: a name that ``load_tokenizer`` knows, or a tokenizer.
        valid_fraction: share of the text that goes to ``valid``, 0 <= f < 1.
        split: ``"documents"`` assigns each document to a side by a hash of its content, so equal documents stay
            together and adding one moves no other; ``"tail"`` cuts the tokens once, and the end is ``valid``.
        form: of all files and of standard input, whatever their names: ``"text"``, ``"jsonl"``, ``"json"`` (lines, or
            one array of objects), ``"parquet"`` or ``"arrow"``. A folder then stands for every file below it.
        text_key: the field with the text in a dict, an object of JSON or a table, "text" by default. If it is given,
            standard input is read as lines of JSON.
        separator: a line that separates documents in .txt files; without one a file is a document.
        literal_eos: what ``<|endoftext|>`` in text means: ``"text"`` is plain text, ``"split"`` separates documents,
            ``"special"`` is the token itself, ``"error"`` forbids it.
        keep: names of fields in dicts, objects of JSON or tables to keep beside the tokens, for ``store.column(name)``:
            numbers, bools, or up to 65,536 different strings, of one type in all rows.
        dedupe: leave out documents that equal an earlier one, character for character, and count them.
        on_error: ``"skip"`` leaves out and counts documents that cannot be read (bad JSON, null, not UTF-8). It is
            always an error if a file cannot be read to its end.
        boundary: what is written around documents: ``"eos"`` after each, the default; ``"bos"`` before it, ``"both"``,
            or ``"none"``, the default with ``ids_key``. The ids are the tokenizer's. A row of ids that already begins
            with bos, or ends with eos, gets no second one.
        parts_key: the field with ``[[text, counts], ...]``: each text is tokenized by itself, and its tokens count as
            targets (1) or are context only (0). The eos counts if the last token before it does, a bos never.
        ids_key: the field with ids of the tokenizer's vocabulary, for rows that are tokens already.
        mask_key: with ``ids_key``, the field that says which tokens count: 0 or 1 for each; or labels, -100 or the id
            at the same place. Without it all count.
        workers: number of processes; by default one for each core, fewer if ``memory`` does not allow it.
        memory: limit for all processes, in bytes; 1 GiB by default (256 MiB for each core, if that is more).
        executor: runs the work instead of windrow's own processes; its workers must see the same folders. A
            ``concurrent.futures.Executor``, or one whose ``submit`` gives jobs with ``done`` and ``result``.
        part: ``(k, n)``, k from 1: do only the k-th of n parts of the work, publish nothing and return ``{}``. When all
            parts are done, the same call without ``part`` makes the stores from them.
        finish: with ``part``, write the k-th of n parts of the stores' files, and return ``{}``. When all are written,
            the same call without ``part`` takes seconds.
        on_report: called with a ``Report`` after each item of the work: documents, tokens, bytes, rates, time left, and
            at the end what was left out and why.

    Returns ``{"train": store}`` or ``{"train": store, "valid": store}``. If the stores of the same inputs and arguments
    are finished already, they are verified and returned.

    Raises ``SourceError`` for inputs that cannot be read, ``TokenizerError`` for text that cannot be encoded,
    ``PrepareError`` if ``dest`` holds a store of another recipe, is being written to or cannot be written,
    ``NotEnoughTokensError`` if a side of the split comes out empty.
    """
    if not isinstance(valid_fraction, Real) or not 0 <= valid_fraction < 1:
        raise ValueError(f"valid_fraction is {valid_fraction!r}, and it is a number in 0 <= f < 1")
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}, and it is one of {', '.join(map(repr, get_args(Split)))}")
    if not isinstance(dest, str | PathLike):
        raise ValueError(f'dest is {dest!r}, and it is the folder that the stores go to, for example "corpus"')
    folder = Path(dest)
    keys = (parts_key, ids_key, mask_key)
    reading = Reading(text_key, separator, literal_eos, on_error, form, keep, *keys, boundary=boundary)
    sources, passed_over = find_sources(inputs, reading)
    policy = {"split": split, "valid_fraction": valid_fraction, "dedupe": dedupe, **reading.recipe}
    policy |= told_form(sources, reading) | ({} if "boundary" in policy else {"eos": "after each document"})
    names = ["train", "valid"] if valid_fraction else ["train"]
    nbytes = sum(source.nbytes for source in sources)
    try:
        with crew_for(tokenizer, workers=workers, memory=memory, executor=executor) as crew:
            crew.start(nbytes // ITEM)
            loaded = load_tokenizer(tokenizer)
            if is_finished(folder, names, policy, loaded, sources, reading):
                remove_left_over(folder)
            else:
                with locked(folder, _checked_part(part, sources)) as work:
                    hashed = dedupe or (valid_fraction > 0 and split == "documents")
                    job = job_for(work, loaded, reading, hashed, nbytes, memory)

                    def attempt() -> None:
                        tally = Tally(sources, reading, passed_over, on_report)
                        _encode_all(job, crew, None if finish else part, tally)
                        if part and not finish:
                            return
                        shares = {"valid_fraction": valid_fraction, "split": split, "dedupe": dedupe}
                        sides = divide(work, tally, memory=job.memory, **shares)
                        tally.require_documents(sides, valid_fraction, split)
                        Publisher(folder, work, loaded, reading, policy, tally).publish(sides, crew, part)
                        if not part:
                            remove_work(folder)
                            if on_report:
                                on_report(tally.report(finished=True))

                    _until_whole(attempt, sources)
                    if part:
                        return {}
    except OSError as error:
        raise cannot_write(error, folder, nbytes) from error
    return {name: open_store(folder / name, tokenizer=tokenizer) for name in names}


def _checked_part(part: tuple[int, int] | None, sources: list[Source]) -> tuple[int, int] | None:
    if part is None:
        return None
    if not (len(part) == 2 and 1 <= part[0] <= part[1]):
        raise ValueError(f"part is {part}, and it is (k, n) with 1 <= k <= n")
    if not all(source.is_file for source in sources):
        raise PrepareError(
            "standard input and documents in memory cannot be done in parts: each part would have to read all of them "
            "again. Write them to files that all machines see."
        )
    return part


def _until_whole(attempt: Callable[[], None], sources: Sequence[Source]) -> None:
    """Try again while an item is found damaged, and take it away."""
    gone = set[str]()
    while True:
        try:
            return attempt()
        except DamagedItemError as damaged:
            path = str(damaged)
        Path(path).unlink(missing_ok=True)
        if path in gone or not all(source.is_file for source in sources):  # others cannot be read again
            raise PrepareError(
                f"{path} was changed or damaged after it was written. Run the same command again; if that does not "
                "help, check the disk, or choose another folder."
            )
        gone.add(path)


def _encode_all(job: Job, crew: Crew, part: tuple[int, int] | None, tally: Tally) -> None:
    """Every item done, and the inputs still what they were."""
    tasks = Tasks(tally.sources, job, part or (1, 1), crew.num_workers)
    for number, _, results in crew.map(partial(do, job), tasks):
        for place, done in enumerate(results):
            tally.add((number, place), done)
    tally.digests |= tasks.digests
    require_unchanged(tally.sources)
    if not part:
        tally.require_sizes()
