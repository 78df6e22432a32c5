"""Token files as other tools write them, from their byte layouts: the plainest writers there can be."""

import csv
import gzip
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

EOS = 50256
Documents = Sequence[Sequence[int]]
MEGATRON_CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float64": 6, "float32": 7, "uint16": 8}


def documents(num: int = 40, dtype: str = "uint16", seed: int = 0, eos: int = EOS) -> list[list[int]]:
    """``num`` documents of 1 to 30 ids and ``eos``; wide ones have ids above 65 535."""
    random = np.random.default_rng(seed)
    highest = 50_000 if dtype == "uint16" else 120_000
    return [[*random.integers(0, highest, random.integers(1, 30)).tolist(), eos] for _ in range(num)]


def flat(docs: Documents, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.array([token for each in docs for token in each], np.dtype(dtype).newbyteorder("<"))


def write_megatron(prefix: Path, docs: Documents, dtype: str = "uint16", sequences: int = 1) -> Path:
    """``prefix.bin`` and ``prefix.idx``; each document is cut into up to so many ``sequences``."""
    parts = [[part.tolist() for part in np.array_split(each, sequences) if len(part)] for each in docs]
    lengths = [len(part) for each in parts for part in each]
    size = np.dtype(dtype).itemsize
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, MEGATRON_CODES[dtype], len(lengths), len(docs) + 1)
    index += struct.pack(f"<{len(lengths)}i", *lengths)
    index += struct.pack(f"<{len(lengths)}q", *(sum(lengths[:n]) * size for n in range(len(lengths))))
    index += struct.pack(f"<{len(docs) + 1}q", *(sum(map(len, parts[:n])) for n in range(len(docs) + 1)))
    Path(f"{prefix}.idx").write_bytes(index)
    flat(docs, dtype).tofile(f"{prefix}.bin")
    return Path(f"{prefix}.bin")


def write_llmc(path: Path, tokens: Sequence[int], magic: int = 20240520) -> Path:
    """A shard of ``tokens``, whose eos begin documents."""
    version, dtype = {20240520: (1, "<u2"), 20240801: (7, "<u4")}.get(magic, (1, "<u2"))
    head = struct.pack("<256i", magic, version, len(tokens), *[0] * 253)
    path.write_bytes(head + np.array(tokens, dtype).tobytes())
    return path


def write_datatrove(path: Path, docs: Documents, dtype: str = "uint16", loss: Sequence[int] | None = None) -> Path:
    flat(docs, dtype).tofile(path)
    ends = [sum(map(len, docs[: n + 1])) for n in range(len(docs))]
    Path(f"{path}.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    Path(f"{path}.metadata").write_text(f"gpt2|{np.dtype(dtype).itemsize}\n{sum(map(len, docs))}\n1.23 kT")
    if loss is not None:
        Path(f"{path}.loss").write_bytes(bytes(loss))
    return path


def write_olmo(path: Path, docs: Documents, dtype: str = "uint32") -> Path:
    flat(docs, dtype).tofile(path)
    ends = np.cumsum([0, *(len(each) for each in docs)]).tolist()
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        rows = enumerate(pairwise(ends))
        csv.writer(file).writerows([a, b, f"id-{n}", f"s3://a/part-{n % 3}.gz", n + 1] for n, (a, b) in rows)
    return path
