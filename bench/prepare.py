"""How fast text becomes a store, and in how much memory.

Run: make bench-prepare        (writes bench/results/prepare.json; ten minutes; --small for a try)

On the same text, in one run, each in a process of its own, interleaved:
(a) gigatoken's bare ``encode_batch`` on a list of texts in memory, the limit;
(b) ``windrow.prepare`` from disk to store, the file plain, and as .jsonl.zst;
(c) the usual script: tiktoken in a process pool of as many workers as cores, ids to a uint16 memmap;
(d) Hugging Face tokenizers' ``encode_batch``, a thousand texts at a time;
(e) ``windrow.prepare`` with a tokenizer.json of 128 000 ids and Llama 3's pattern, trained on the same text before.
Memory is the sum over all processes of the proportional set size, taken ten times a second.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "prepare.json"
EOT = "<|endoftext|>"
ROUNDS = 5

COMMON = """
import json, os, sys, time
import numpy as np
EOT = "<|endoftext|>"
path, llama = sys.argv[1:3]
cores = len(os.sched_getaffinity(0))
def texts():
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().split(EOT)
def done(started, num_tokens, **more):
    print(json.dumps({"seconds": time.perf_counter() - started, "num_tokens": num_tokens, **more}))
def cpu():
    return sum(os.times()[:4])  # this process and those that it waited for
"""
WAYS = {
    "a": """
import tempfile, gigatoken
from windrow.tokens.bpe import tiktoken_form
from windrow.tokens.tokenizer import load_tokenizer
ranks = tempfile.mktemp(".tiktoken")
open(ranks, "wb").write(tiktoken_form(load_tokenizer("gpt2")._model.ranks))
tokenizer = gigatoken.Tokenizer.from_tiktoken(ranks, pretokenizer="gpt2", special_tokens={})
os.unlink(ranks)
documents = texts()
used, started = cpu(), time.perf_counter()
layout = tokenizer.encode_batch(documents, parallel=True).layout
done(started, len(np.asarray(layout.content.data)), cpu_seconds=cpu() - used)
""",
    "b": """
import windrow, tempfile
with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as dest:
    reports = []
    used, started = cpu(), time.perf_counter()
    store = windrow.prepare(path, dest, tokenizer="gpt2", literal_eos="split", on_report=reports.append)["train"]
    done(started, store.num_tokens - store.num_documents, cpu_seconds=cpu() - used,
        worker_seconds=dict(reports[-1].worker_seconds))
""",
    "c": """
import tempfile
from multiprocessing import Pool
import tiktoken
from windrow.tokens.tokenizer import load_tokenizer
ranks = load_tokenizer("gpt2")._model.ranks
pattern = r"'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s"
encoding = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={EOT: 50256})
def encode(text):
    return np.array(encoding.encode_ordinary(text) + [50256], np.uint16)
started = time.perf_counter()
documents = texts()
with Pool(cores) as pool, tempfile.NamedTemporaryFile(dir=os.path.dirname(path)) as file:
    rows = list(pool.imap(encode, documents, chunksize=16))
    memmap = np.memmap(file.name, np.uint16, "w+", shape=(sum(map(len, rows)),))
    place = 0
    for row in rows:
        memmap[place : place + len(row)] = row
        place += len(row)
    memmap.flush()
    done(started, place - len(rows))
""",
    "d": """
from tokenizers import Tokenizer, models, pre_tokenizers
from windrow.tokens.tokenizer import load_tokenizer
ranks = load_tokenizer("gpt2")._model.ranks
letters = [b for b in (*range(33, 127), *range(161, 173), *range(174, 256))]
table = {b: chr(b) for b in letters} | {b: chr(256 + n) for n, b in enumerate(sorted(set(range(256)) - set(letters)))}
def parts(token, rank):
    pieces = [bytes([b]) for b in token]
    while len(pieces) > 2:
        joined = [(ranks.get(x + y, rank), n) for n, (x, y) in enumerate(zip(pieces, pieces[1:]))]
        best, n = min(joined)
        if best >= rank:
            break
        pieces[n : n + 2] = [pieces[n] + pieces[n + 1]]
    return pieces
spell = lambda token: "".join(table[b] for b in token)
ordered = sorted(ranks.items(), key=lambda item: item[1])
merges = [tuple(map(spell, parts(token, rank))) for token, rank in ordered if len(token) > 1]
tokenizer = Tokenizer(models.BPE({spell(token): rank for token, rank in ordered}, [m for m in merges if len(m) == 2]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
documents = texts()
started = time.perf_counter()
num = 0
for first in range(0, len(documents), 1000):
    num += sum(len(e.ids) for e in tokenizer.encode_batch_fast(documents[first : first + 1000]))
done(started, num)
""",
}
WAYS["e"] = WAYS["b"].replace('"gpt2"', "llama")


def train(texts: list[str], folder: Path, vocab_size: int) -> None:
    """A tokenizer.json as Llama 3's is, of which ``texts`` are all it knows."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from windrow.tokens.patterns import PATTERNS

    level = pre_tokenizers.ByteLevel
    made = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(PATTERNS["cl100k_base"][2]), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, level(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=level.alphabet(), show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    made.save(str(folder / "tokenizer.json"))


def corpus(nbytes: int) -> list[str]:
    """Source files and prose of this machine, mixed; repeated where there is not enough."""
    roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/share", "/usr/lib/python3"}
    paths = sorted(
        {path for root in roots for path in Path(root).rglob("*") if path.suffix in (".py", ".txt", ".rst", ".h")}
    )
    random.Random(0).shuffle(paths)
    found, held = [], 0
    for path in paths:
        try:
            text = path.read_bytes().decode("utf-8").replace(EOT, "")
        except (UnicodeDecodeError, OSError):
            continue
        if 0 < len(text) < 1_000_000:
            found.append(text)
            held += len(text.encode())
        if held >= nbytes:
            break
    print(f"{held / 1e6:.0f} MB of different text in {len(found)} documents")
    while held < nbytes:
        again = found[: max(1, len(found) * (nbytes - held) // max(held, 1))]
        found += again
        held += sum(len(text.encode()) for text in again)
    return found


def pss(pid: int) -> int:
    """Bytes of a process and of those below it, shared pages counted once."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(pss(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def measure(code: str, path: Path) -> dict[str, Any]:
    """What the code says, and the peak of its memory."""
    command = [sys.executable, "-c", COMMON + code, str(path), str(path.parent / "tokenizer.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], pss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    stop.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"one way failed on {path}")
    return {**json.loads(out), "peak_nbytes": peak[0]}


def best(runs: list[dict[str, Any]], nbytes: int) -> dict[str, Any]:
    rates = [nbytes / 1e6 / run["seconds"] for run in runs]
    row: dict[str, Any] = {
        "mb_per_second": round(statistics.median(rates), 1),
        "all_rounds": [round(rate, 1) for rate in rates],
        "peak_mb": round(max(run["peak_nbytes"] for run in runs) / 1e6),
        "num_tokens": runs[0]["num_tokens"],
    }
    if "cpu_seconds" in runs[0]:
        row["cpu_ms_per_mb"] = round(statistics.median(run["cpu_seconds"] for run in runs) * 1e9 / nbytes, 2)
    if "worker_seconds" in runs[0]:
        seconds = runs[-1]["worker_seconds"]
        row["worker_seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="20 MB, one round, nothing written")
    small = parser.parse_args().small
    nbytes, rounds = (20_000_000, 1) if small else (200_000_000, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = corpus(nbytes)
        plain, packed = folder / "x.txt", folder / "x.jsonl.zst"
        large, packed_large = folder / "large.txt", folder / "large.jsonl.zst"
        data = EOT.join(texts).encode()
        plain.write_bytes(data)
        pack(texts, packed)
        train(texts[: len(texts) // 3], folder, 4000 if small else 128_000)
        runs: dict[str, list[dict[str, Any]]] = {}
        for number in range(rounds):
            ways = (("a", plain), ("b", plain), ("b from jsonl.zst", packed), ("c", plain), ("d", plain), ("e", plain))
            for way, path in ways:
                if way == "d" and number:
                    continue  # once is enough for the slowest by far
                runs.setdefault(way, []).append(measure(WAYS[way[0]], path))
                print(number, way, runs[way][-1], flush=True)
        pack(texts * 10, packed_large)
        with open(large, "wb") as file:
            for _ in range(10):
                file.write(data + EOT.encode())
        for number in range(1 if small else 2):
            for way, path in (("b", large), ("b from jsonl.zst", packed_large), ("a", large), ("e", large)):
                way += " at ten times the size"
                runs.setdefault(way, []).append(measure(WAYS[way[0]], path))
                print(number, way, runs[way][-1], flush=True)
        sizes = {way: (10 if "ten times" in way else 1) * len(data) for way in runs}
        figures = {way: best(found, sizes[way]) for way, found in runs.items()}
    results = {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[1], 1),
        "nbytes": len(data),
        "num_documents": len(texts),
        "rounds": rounds,
        "ways": figures,
    }
    tokens = {figures[way]["num_tokens"] for way in ("a", "b", "b from jsonl.zst", "c", "d")}
    assert len(tokens) == 1, f"the ways disagree about the number of tokens: {tokens}"
    print(json.dumps(results, indent=1))
    if not small:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def pack(texts: list[str], path: Path) -> None:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    with zstd.open(path, "wt", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
