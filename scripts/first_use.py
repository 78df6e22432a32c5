"""The first use of an installed windrow, in an empty folder: one text by every way that the extras open.

    python first_use.py [torch fast hf io ray ...]

Prints the sha256 of tokens and batches once for each way: the same text is the same, whatever is installed.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import windrow as wr

TEXT = "".join(
    f"On day {day} the farmer raked {day * 7 % 50} rows of hay, naïve goat and all. 干草\n" for day in range(300)
)


def digest(store: wr.TokenStore, device: str | None = None) -> str:
    """Of all tokens, and of the inputs and targets of an epoch."""
    loader: Any = wr.Loader(wr.Windows(store, max_length=64), batch_size=4, seed=7, device=device)
    parts = [store.gather(np.array([0]), store.num_tokens), *(part for batch in loader for part in batch)]
    return sha256(b"".join(np.asarray(part).astype("<i8").tobytes() for part in parts)).hexdigest()


def plain(source: str = "story.txt", **settings: Any) -> wr.TokenStore:
    return wr.prepare(source, f"of-{source}-{len(settings)}", **settings)["train"]


def of_base() -> Iterator[str]:
    Path("story.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    yield digest(plain())


def of_torch() -> Iterator[str]:
    yield digest(plain(), "cpu")


def of_fast() -> Iterator[str]:
    importlib.import_module("gigatoken")  # the engine wherever it is installed: the first way was by it already
    yield digest(plain())


def of_hf() -> Iterator[str]:
    """A small byte-level ``tokenizer.json``: other ids, so the text itself is what must come back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    made.save("tokenizer.json")
    store = plain(tokenizer="tokenizer.json")
    assert store.decode(0, store.num_tokens - 1) == TEXT
    yield digest(plain())


def of_io() -> Iterator[str]:
    """The text as a table, and as a line of JSON that is compressed."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": [TEXT]}), "story.parquet")
    yield digest(plain("story.parquet"))
    zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    Path("story.jsonl.zst").write_bytes(zstd.compress(json.dumps({"text": TEXT}).encode()))
    yield digest(plain("story.jsonl.zst"))


def of_cloud() -> Iterator[str]:
    """The text through the client of far stores, on files."""
    from windrow.far.objects import Objects

    Objects(Path.cwd().as_uri()).write("far.txt", TEXT.encode())
    yield digest(plain("far.txt"))


def of_ray() -> Iterator[str]:
    from windrow.preparing.ray_executor import RayExecutor

    with RayExecutor() as executor:
        yield digest(plain(executor=executor))


if __name__ == "__main__":  # workers of prepare may import this file
    for extra in ["base", *sys.argv[1:]]:
        for line in globals()[f"of_{extra}"]():
            print(line)
