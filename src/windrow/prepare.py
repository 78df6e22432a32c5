"""Documents -> tokens -> a store on disk: ``DEST/train`` and, when asked for, ``DEST/valid``.

Guarantee: exactly one eos after each document; the same inputs and arguments give the same bytes, for any number of
workers and after any end of the process, however rude; a store appears whole or not at all, and none is written over.
Cost: memory is bounded by the workers, not by the text; while it runs the tokens are on disk twice.

The path: ``sources`` finds the inputs, ``items`` cuts them into work, workers ``encode`` it into ``DEST/unfinished``,
``sides`` divides the documents, ``publish`` makes the stores.
"""

import json
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from windrow.encode import Done, Job, cannot_write, do
from windrow.engine import Here, run
from windrow.errors import NotEnoughTokensError, PrepareError
from windrow.items import HashTask, Item, Plan
from windrow.manifest import MANIFEST, Manifest, publish
from windrow.publish import ShardDone, listing, shard_tasks, write_shard
from windrow.sides import Part, Sides
from windrow.sources import Inputs, Reading, Source, find_sources, require_unchanged
from windrow.store import TokenStore, open_store
from windrow.tokenizer import Tokenizer, load_tokenizer, token_dtype
from windrow.work import locked, remove_work

__all__ = ["prepare"]

Progress = Callable[[int, int], None]
Split = Literal["documents", "tail"]
CUT_ALIKE = ("gpt2", "cl100k_base", "o200k_base")


def prepare(
    inputs: Inputs,
    dest: str | Path,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    valid_fraction: float = 0.0,
    split: Split = "documents",
    text_key: str = "text",
    separator: str | None = None,
    literal_eos: Literal["text", "split", "special", "error"] = "text",
    dedupe: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    on_progress: Progress | None = None,
) -> dict[str, TokenStore]:
    """Tokenize ``inputs`` into the store ``DEST/train``, and ``DEST/valid`` when ``valid_fraction > 0``.
    """
    if not 0 <= valid_fraction < 1:
        raise ValueError(f"valid_fraction is {valid_fraction}, and it lies in 0 <= f < 1")
    loaded, folder = load_tokenizer(tokenizer), Path(dest)
    reading = Reading(text_key, separator, literal_eos, on_error)
    policy = {"eos": "after each document", "split": split, "valid_fraction": valid_fraction, "dedupe": dedupe}
    policy |= asdict(reading)
    sides = ["train", "valid"] if valid_fraction else ["train"]
    try:
        with locked(folder) as work:
            job = _job(work, loaded, reading, hashed=dedupe or (valid_fraction > 0 and split == "documents"))
            sources = find_sources(inputs)
            plan = Plan(sources, reading, cuttable=job.cuttable)
            executor = Here()
            results: list[tuple[Item, Done]] = []
            digests: dict[int, tuple[str, int]] = {}
            for task, done in run(executor, partial(do, job), plan, 1):
                if isinstance(task, HashTask):
                    digests[task.number] = done.about["sha256"], done.about["nbytes"]
                else:
                    results.append((task, done))
                    for number, hexdigest, nbytes in done.about["sha256"]:
                        digests[task.first + number] = hexdigest, nbytes
                if on_progress:
                    on_progress(sum(r.about["num_documents"] for _, r in results), sum(r.about["num_tokens"] for _, r in results))
            require_unchanged(sources)
            digests |= plan.digests
            chosen = Sides(work, results, valid_fraction=valid_fraction, split=split, dedupe=dedupe)
            for side, parts in chosen.parts.items():
                if not parts:
                    raise NotEnoughTokensError(side)
            for side, parts in chosen.parts.items():
                lines = [{"path": s.name, "nbytes": digests[n][1], "sha256": digests[n][0]} for n, s in enumerate(sources)]
                data = listing(lines)
                shards = [d for _, d in run(executor, write_shard, shard_tasks(folder / side, work, parts), 1)]
                publish(folder / side / "sources.jsonl", data)
                n = sum(s.shard.num_tokens for s in shards); nd = sum(s.shard.num_documents for s in shards)
                m = Manifest(dtype=token_dtype(loaded.vocab_size).name, num_tokens=n, num_documents=nd, max_token_id=max(s.max_token_id for s in shards), eos_id=loaded.eos_id,
                   tokenizer={"name": getattr(loaded, "name", type(loaded).__name__), "vocab_size": loaded.vocab_size, "fingerprint": loaded.fingerprint},
                   policy={**policy, "side": side}, shards=tuple(s.shard for s in shards), sources={"file": "sources.jsonl", "sha256": sha256(data).hexdigest()}, ledger={"text_tokens": n - nd, "eos_tokens": nd})
                publish(folder / side / MANIFEST, m.to_json().encode())
            remove_work(folder)
    except OSError as error:
        raise cannot_write(error, folder) from error
    return {side: open_store(folder / side, tokenizer=tokenizer) for side in sides}


def _job(work: Path, tokenizer: Tokenizer, reading: Reading, hashed: bool) -> Job:
    cuttable = getattr(tokenizer, "pattern", None) in CUT_ALIKE or getattr(tokenizer, "name", "") == "bytes"
    recipe = {"version": 1, "tokenizer": tokenizer.fingerprint, "eos_id": tokenizer.eos_id, "reading": asdict(reading)}
    recipe |= {"cuttable": cuttable, "hashed": hashed}
    return Job(work, json.dumps(recipe, sort_keys=True), reading, pickle.dumps(tokenizer), cuttable, hashed)
