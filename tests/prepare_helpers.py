"""What the tests of prepare share: real text from this machine, the reference, and stores as plain values."""

import hashlib
import json
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tiktoken

from windrow.store.manifest import Manifest, Shard, read_manifest
from windrow.store.opening import open_store
from windrow.store.store import TokenStore
from windrow.tokens.tokenizer import load_tokenizer

EOT = "<|endoftext|>"
EOS = 50256
T = TypeVar("T")
TEXTS = ["The hay was cut.", "", "日本語。\r\n  two  spaces\n", "a\0b \ufeff", "I'll \n\n\n go 1234567 <|endoftext|>!"]


@cache
def reference() -> tiktoken.Encoding:
    """tiktoken itself, with GPT-2's vocabulary."""
    ranks = load_tokenizer("gpt2")._model.ranks  # type: ignore[union-attr]
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    return tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={EOT: EOS})


@cache
def real_texts(nbytes: int) -> list[str]:
    """Source files and prose that every Python machine has, ``nbytes`` of them, in the order of their names."""
    found: list[str] = []
    held = 0
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    for path in (path for root in roots for path in sorted(root.rglob("*")) if path.suffix in (".py", ".txt", ".rst")):
        try:
            data = path.read_bytes()
            found.append(data.decode("utf-8-sig"))
        except (UnicodeDecodeError, OSError):
            continue
        held += len(data)
        if held >= nbytes:
            return found
    return found * (nbytes // max(held, 1) + 1)


def expected(documents: list[str]) -> list[int]:
    """The tokens that a store of ``documents`` must hold."""
    rows = reference().encode_ordinary_batch(documents, num_threads=2)
    return [token for row in rows for token in (*row, EOS)]


def same_ids(store: TokenStore, documents: list[str]) -> None:
    """Assert that ``store`` holds exactly ``documents``, in order, one eos after each."""
    rows = reference().encode_ordinary_batch(documents, num_threads=2)
    ends = np.cumsum([len(row) + 1 for row in rows])
    ids = np.full(ends[-1] if len(ends) else 0, EOS, np.int64)
    for row, end in zip(rows, ends.tolist(), strict=True):
        ids[end - 1 - len(row) : end - 1] = row
    assert store.num_documents == len(documents)
    assert np.array_equal(store.document_ends(np.arange(len(documents))), ends)
    assert np.array_equal(store.tokens(), ids)


def snapshot(dest: Path) -> dict[str, str]:
    """Every file below ``dest`` and the sha256 of its bytes."""
    files = sorted(path for path in dest.rglob("*") if path.is_file())
    return {path.relative_to(dest).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def origins(folder: Path) -> list[list[int]]:
    """(source, line, start, stop) of each document of a store."""
    manifest = open_store(folder).manifest
    assert manifest is not None
    return [row for shard in manifest.shards for row in np.load(folder / shard.origins).tolist()]


def as_jsonl(texts: list[str], key: str = "text") -> bytes:
    return "".join(
        json.dumps({"id": n, key: text}, ensure_ascii=n % 2 == 0) + "\n" for n, text in enumerate(texts)
    ).encode()


def zst(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        zstd = pytest.importorskip("backports.zstd")
    return zstd.compress(data)


def read_by(call: Callable[[], T]) -> tuple[T, int]:
    """What ``call`` returns, and how many bytes this process read meanwhile, from the disk or its cache."""

    def num_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = num_read()
    nothing = num_read() - before  # what it takes to look
    return call(), num_read() - before - 2 * nothing


class Broken(Executor):
    """An executor that breaks for good at its third task, as a ProcessPoolExecutor does."""

    def __init__(self) -> None:
        self.num_tasks = 0

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        from concurrent.futures.process import BrokenProcessPool

        self.num_tasks += 1
        if self.num_tasks > 3:
            raise BrokenProcessPool("a child was killed")
        future: Future[Any] = Future()
        future.set_result(call(*args, **kwargs))
        return future


def rewritten(folder: Path, **changes: Any) -> Manifest:
    """The manifest of the store in ``folder`` with these changes, written."""
    made = replace(read_manifest(folder), **changes)
    (folder / "manifest.json").write_text(made.to_json())
    return made


def with_counts(folder: Path, counts: Any) -> Manifest:
    """The manifest of the store in ``folder``, given these counts (num_tokens,): a file for each shard."""
    shards, flags = list[Shard](), np.asarray(counts, dtype=np.uint8)
    for number, shard in enumerate(read_manifest(folder).shards):
        here, flags = np.split(flags, [shard.num_tokens])
        path = folder / f"counts-{number:05d}.bin"
        path.write_bytes(here.tobytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append(replace(shard, counts=path.name, counts_sha256=digest))
    return rewritten(folder, shards=tuple(shards))
