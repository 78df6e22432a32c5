"""A rank that reads from a server of objects through a cache: windrow, litdata or mosaicml-streaming.

Run by bench/far.py, a process a rank: ``python far_reader.py NAME read JOB`` with a job in JSON. When its package is
imported it prints READY and waits for a line; then it reads, and prints its figures. ``python far_reader.py NAME
prepare TOKENS FOLDER MAX_LENGTH`` makes a contender's own copy of a token file.

Chunks and shards are of 16 MiB, as windrow's blocks are, so that a small cache has room for as many of them.
Credentials and endpoint are in the environment.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

CHUNK = 1 << 24  # bytes


class Job(NamedTuple):
    """``mixed`` windows are shuffled together where a loader can say so."""

    url: str
    cache: str
    cache_bytes: int
    max_length: int
    batch_size: int
    mixed: int
    ranks: int
    rank: int


Figures = dict[str, float]
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]  # inputs and targets, each (B, L) int64


# -- windrow ---------------------------------------------------------------------------------------------------------


def with_windrow(job: Job, figures: Figures) -> Batches:
    import windrow as wr

    store = wr.open_store(f"{job.url}/train", cache=job.cache, cache_bytes=job.cache_bytes)
    ranks = {"dp_rank": job.rank, "dp_world_size": job.ranks}
    windows = wr.Windows(store, job.max_length)
    loader = wr.Loader(windows, job.batch_size, seed=1, shuffle_block=job.mixed, device="cpu", **ranks)
    for batch in loader:
        yield batch.inputs, batch.targets
    figures |= {name: loader.stats()[name] for name in ("bytes_fetched", "hits", "waits")}


# -- litdata ---------------------------------------------------------------------------------------------------------


def part_of(first: int, path: str, size: int) -> Iterator[torch.Tensor]:
    yield torch.from_numpy(np.memmap(path, dtype="<u2", mode="r")[first : first + size].copy())


def prepare_litdata(tokens: Path, folder: Path, max_length: int) -> None:
    from litdata import TokensLoader, optimize

    size = CHUNK // 2 // (max_length + 1) * (max_length + 1)
    optimize(
        fn=partial(part_of, path=str(tokens), size=size),
        inputs=list(range(0, tokens.stat().st_size // 2, size)),
        output_dir=str(folder),
        chunk_size=size,
        item_loader=TokensLoader(),
        num_workers=1,
    )


def with_litdata(job: Job, figures: Figures) -> Batches:
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
    from litdata.streaming import downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # its client refuses a server without TLS otherwise
    data = StreamingDataset(
        input_dir=job.url,
        cache_dir=f"{job.cache}/{job.rank}",  # in one folder, ranks remove chunks that others wait for
        item_loader=TokensLoader(block_size=job.max_length + 1),
        shuffle=True,
        drop_last=True,
        max_cache_size=str(job.cache_bytes),
        storage_options={"endpoint_url": os.environ["AWS_ENDPOINT"], "region_name": os.environ["AWS_REGION"]},
    )
    for rows in StreamingDataLoader(data, batch_size=job.batch_size, drop_last=True):
        yield rows[:, :-1].long(), rows[:, 1:].long()


# -- mosaicml-streaming ----------------------------------------------------------------------------------------------


def prepare_streaming(tokens: Path, folder: Path, max_length: int) -> None:
    from streaming import MDSWriter

    rows = np.memmap(tokens, dtype="<u2", mode="r")
    columns = {"tokens": f"ndarray:uint16:{max_length + 1}"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=CHUNK) as out:
        for start in range(0, len(rows) - max_length, max_length):
            out.write({"tokens": np.asarray(rows[start : start + max_length + 1])})


def with_streaming(job: Job, figures: Figures) -> Batches:
    from streaming import StreamingDataset

    data = StreamingDataset(
        remote=job.url,
        local=job.cache,
        cache_limit=job.cache_bytes,
        shuffle=True,
        shuffle_block_size=job.mixed,
        batch_size=job.batch_size,
    )
    loader = DataLoader(data, batch_size=job.batch_size, drop_last=True, collate_fn=stacked)
    yield from loader


def stacked(samples: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = np.stack([sample["tokens"] for sample in samples]).astype(np.int64)  # (B, L + 1)
    return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])


READERS: dict[str, Callable[[Job, Figures], Batches]] = {
    "windrow": with_windrow,
    "litdata": with_litdata,
    "streaming": with_streaming,
}


# -- what is measured ------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def read(name: str, job: Job) -> Figures:
    """Tokens, the clock at the first and after the last, and processor time."""
    started, cpu, num_tokens = time.monotonic(), cpu_seconds(), 0
    figures: Figures = {}
    batches = READERS[name](job, figures)
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == (job.batch_size, job.max_length)
        assert inputs.dtype == torch.int64
        num_tokens += targets.numel()
    stopped = time.monotonic()
    del batches
    gc.collect()  # and workers end
    spent = {"started": started, "stopped": stopped, "cpu_seconds": cpu_seconds() - cpu}
    return {**figures, **spent, "num_tokens": num_tokens}


def main(name: str, what: str, *given: str) -> None:
    if name == "streaming":
        import_module("with_streaming")  # it stands in for torchvision where that does not load
    import_module(name)
    if what == "prepare":
        tokens, folder, max_length = given
        {"litdata": prepare_litdata, "streaming": prepare_streaming}[name](Path(tokens), Path(folder), int(max_length))
        return
    print("READY", flush=True)
    sys.stdin.readline()
    print(json.dumps(read(name, Job(*json.loads(given[0])))), flush=True)
    os._exit(0)  # some leave threads and processes that hold the interpreter back


if __name__ == "__main__":
    main(*sys.argv[1:])
