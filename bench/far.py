"""windrow, litdata and mosaicml-streaming beside each other, from one server of objects, through caches of one size.

Run: make bench-far        (python bench/far.py [--quick] [--rounds 2] [--skip-install]; writes bench/results/far.json)

A store of 2 GiB is copied to Ceph's gateway on loopback (packages ``ceph-mon ceph-osd radosgw``), and the same tokens
as each contender's own chunks. Four processes, one a rank, read an epoch, shuffled, through one empty cache of 256 MiB;
in every round each contender once. All read through a link that counts what comes. Seconds count from before the store
is opened to the last batch, without imports; processor time is that of the readers, the server's and the link's not
among it. Needs 14 GB of memory (the server keeps its objects there) and 4 GB under build/.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench" / "peers"), str(ROOT / "tests"), str(ROOT / "src")]

import loaders  # noqa: E402
from link import Link  # noqa: E402

import object_server  # noqa: E402
import windrow as wr  # noqa: E402
from windrow.far.objects import Objects  # noqa: E402

RESULTS, WORK = ROOT / "bench" / "results" / "far.json", ROOT / "build" / "far"
FAR, BLOCK, RANKS, SECONDS = "s3://far", 1 << 24, 4, 600
PACKAGES = {"litdata": "litdata", "streaming": "mosaicml-streaming"}
CONTENDERS = ["windrow", *PACKAGES]
FIGURES = ("tokens_per_second", "megabytes", "cpu_seconds")


class Sizes(NamedTuple):
    """``num_blocks`` of 16 MiB, a cache of ``cache_bytes``, ``mixed`` windows that are shuffled together."""

    num_blocks: int
    cache_bytes: int
    mixed: int
    max_length: int = 1024
    batch_size: int = 16


WHOLE, QUICK = Sizes(128, 1 << 28, (6 << 13) - 64), Sizes(12, 6 << 24, (1 << 13) - 64)


# -- data ------------------------------------------------------------------------------------------------------------


def write_texts(folder: Path, num_tokens: int) -> None:
    """Files of random letters, a document each, of 1 000 to 8 000 000 of them with its end: ``num_tokens`` in all."""
    random = np.random.default_rng(0)
    folder.mkdir()
    while num_tokens:
        length = min(num_tokens, int(10 ** random.uniform(3, 6.9)))
        (folder / f"{num_tokens:010}.txt").write_bytes(random.integers(97, 123, length - 1, dtype=np.uint8).tobytes())
        num_tokens -= length


def upload(folder: Path, url: str) -> None:
    far = Objects(url)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        far.write(str(path.relative_to(folder)), path)


def prepare(sizes: Sizes, ready: list[str]) -> None:
    """The store and the contenders' own copies of it, on the server; nothing of them stays here but small files."""
    tokens = WORK / "tokens.bin"
    write_texts(WORK / "texts", sizes.num_blocks * BLOCK // 2)
    wr.prepare(WORK / "texts", WORK / "corpus", tokenizer="bytes")
    shutil.rmtree(WORK / "texts")
    wr.copy_store(WORK / "corpus", f"{FAR}/windrow")
    with tokens.open("wb") as whole:
        for shard in sorted((WORK / "corpus" / "train").glob("tokens-*.bin")):
            whole.write(shard.read_bytes())
    shutil.rmtree(WORK / "corpus")
    for name in ready:
        folder = WORK / name
        given = [str(tokens), str(folder), str(sizes.max_length)]
        subprocess.run([python(name), reader(), name, "prepare", *given], check=True, stdout=subprocess.DEVNULL)
        upload(folder, f"{FAR}/{name}")
        shutil.rmtree(folder)
    tokens.unlink()


def reader() -> str:
    return str(ROOT / "bench" / "peers" / "far_reader.py")


def python(name: str) -> str:
    return contender(name).python if name in PACKAGES else sys.executable


def contender(name: str) -> loaders.Contender:
    return next(one for one in loaders.CONTENDERS if one.package == PACKAGES[name])


# -- one run ---------------------------------------------------------------------------------------------------------


def environment(rank: int, port: int, link: Link) -> dict[str, str]:
    """What tells a process its rank, in the names that each contender looks for, and the server."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "GLOBAL_RANK": rank, "WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS}
    given = {name: str(value) for name, value in {**ranks, "NNODES": 1, "OMP_NUM_THREADS": 1}.items()}
    given |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "AWS_ENDPOINT": link.url,
        "S3_ENDPOINT_URL": link.url,
    }
    return {**os.environ, **given, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}


def read(name: str, sizes: Sizes, link: Link) -> dict[str, Any]:
    """An epoch of all ranks with an empty cache, or why there is none."""
    cache, port = WORK / "cache" / name, object_server.free_port()
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    shape = [sizes.cache_bytes, sizes.max_length, sizes.batch_size, sizes.mixed, RANKS]
    started = []
    for rank in range(RANKS):
        job = json.dumps([f"{FAR}/{name}", str(cache), *shape, rank])
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        with open(WORK / f"{name}-{rank}.err", "w") as err:
            started.append(
                subprocess.Popen(
                    [python(name), reader(), name, "read", job],
                    **pipes,
                    stderr=err,
                    text=True,
                    env=environment(rank, port, link),
                    start_new_session=True,
                )
            )
    try:
        for process in started:
            process.stdout.readline()  # it is ready
        before = link.nbytes
        rows = [json.loads(process.communicate(timeout=SECONDS)[0].splitlines()[-1]) for process in begun(started)]
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        last = [(WORK / f"{name}-{rank}.err").read_text().strip().rpartition("\n")[2] for rank in range(RANKS)]
        return {"failed": next((line for line in last if "Error" in line), type(error).__name__)[:300]}
    finally:
        for process in started:
            loaders.stop(process)
        shutil.rmtree(cache)
    return summed(rows, link.nbytes - before)


def begun(started: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """All of them, told at once to begin."""
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return started


def summed(rows: list[dict[str, float]], nbytes: int) -> dict[str, Any]:
    seconds = max(row["stopped"] for row in rows) - min(row["started"] for row in rows)
    num_tokens = sum(row["num_tokens"] for row in rows)
    return {
        "tokens_per_second": num_tokens / seconds,
        "num_tokens": num_tokens,
        "megabytes": nbytes / 1e6,
        "cpu_seconds": sum(row["cpu_seconds"] for row in rows),
        "seconds": seconds,
        "blocks": sum(row.get("bytes_fetched", 0) for row in rows) / BLOCK,
    }


# -- the least that any cache fetches --------------------------------------------------------------------------------


def fewest_fetches(uses: list[int], num_slots: int) -> int:
    """How often Belady's rule fetches for ``uses``: it forgets what is used last, and knows when each is used next."""
    never = len(uses)
    after, last = [never] * len(uses), dict[int, int]()
    for place in reversed(range(len(uses))):
        after[place] = last.get(uses[place], never)
        last[uses[place]] = place
    held, fetches = dict[int, int](), 0
    for block, then in zip(uses, after, strict=True):
        if block not in held:
            fetches += 1
            if len(held) == num_slots:
                del held[max(held, key=held.__getitem__)]
        held[block] = then
    return fetches


def blocks_of(windows: Iterable[int], max_length: int) -> list[int]:
    """The blocks of each window's ``max_length`` tokens and the target after them, one window after the other."""
    found: list[int] = []
    for window in windows:
        first = window * max_length * 2
        found += range(first // BLOCK, (first + max_length * 2 + 1) // BLOCK + 1)
    return found


def least(sizes: Sizes, num_tokens: int) -> tuple[int, int]:
    """The fewest blocks that a cache of this size fetches for the stream of the four ranks, and its slots."""
    small = sum(one.nbytes for one in Objects(f"{FAR}/windrow/train").names() if is_small(one.name))
    num_slots, rows = (sizes.cache_bytes - small) // BLOCK, num_tokens // sizes.max_length
    ids = np.zeros(sizes.num_blocks * BLOCK // 2, np.uint8)
    windows = wr.Windows(wr.TokenStore.from_ids(ids, eos_id=1), sizes.max_length)
    loader = wr.Loader(windows, sizes.batch_size, seed=1, shuffle_block=sizes.mixed, dp_rank=0, dp_world_size=RANKS)
    stream = (sample.window for sample in loader.samples_at(0, rows))
    return fewest_fetches(blocks_of(stream, sizes.max_length), num_slots), num_slots


def is_small(name: str) -> bool:
    """Whether a file of a store is brought whole: neither tokens, nor the manifest, nor the sums of blocks."""
    return not name.startswith(("tokens-", "blocks-")) and name != "windrow.json"


# -- all of it -------------------------------------------------------------------------------------------------------


def figures_of(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of the runs, or why there are none."""
    failed = [row["failed"] for row in rows if "failed" in row]
    if failed or not rows:
        return {"name": PACKAGES.get(name, name), "reason": failed[0] if failed else "not installed"}
    return {
        "name": PACKAGES.get(name, name),
        **{what: statistics.median(row[what] for row in rows) for what in FIGURES},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, and nothing is written")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--skip-install", action="store_true")
    given = parser.parse_args()
    sizes, rounds = (QUICK, 1) if given.quick else (WHOLE, given.rounds)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in PACKAGES:
        if not given.skip_install and (reason := loaders.install(contender(name))):
            print(f"{name} {reason}", flush=True)
    ready = [name for name in PACKAGES if Path(python(name)).exists()]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    with object_server.running(WORK / "server") as server:
        server.make_bucket("far")
        link = Link(urlsplit(server.url).port)
        prepare(sizes, ready)
        for number, name in itertools.product(range(rounds), ["windrow", *ready]):
            rows[name].append(read(name, sizes, link))
            print(number, name, rows[name][-1], flush=True)
        num_tokens = next(row["num_tokens"] for row in rows["windrow"] if "num_tokens" in row)
        fewest, num_slots = least(sizes, num_tokens)
        link.close()
    results = {
        "machine": loaders.machine(),
        "rounds": rounds,
        "sizes": sizes._asdict(),
        "num_slots": num_slots,
        "fewest": fewest,
        "blocks": [row["blocks"] for row in rows["windrow"]],
        "contenders": [figures_of(name, rows[name]) for name in CONTENDERS],
    }
    print(json.dumps(results, indent=1))
    if not given.quick:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(WORK)


if __name__ == "__main__":
    main()
