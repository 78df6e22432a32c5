"""Puts the figures of bench/*.json into the documents that show them.

Run: python bench/render.py [--check]

A document marks a place with ``<!-- figures: NAME -->`` and ``<!-- end -->``; what stands between is made here from
the results file, so that no figure is typed by hand. ``--check`` changes nothing and exits 1 when one is out of date.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *([*row] for row in rows)]
    lines.insert(1, ["---"] + ["---:"] * (len(lines[0]) - 1))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def order_quality(results: dict[str, Any]) -> str:
    shuffles = ["windrow", "Fisher-Yates", "shuffle_block=64"]
    rows = [
        [name, *(f"{results[shuffle][name][what]:.1f}" for shuffle in shuffles for what in ("largest", "rms"))]
        for name in results["windrow"]
    ]
    head = ["statistic", *(f"{shuffle}, {what}" for shuffle in shuffles for what in ("largest", "rms"))]
    sizes = results["sizes"]
    return (
        f"{len(sizes)} sizes from {min(sizes)} to {max(sizes)}, {results['seeds']} seeds each:\n\n{table(head, rows)}"
    )


def order_cost(results: dict[str, Any]) -> str:
    rows = [
        [name, "not installed" if value is None else f"{value:.0f}"]
        for name, value in results["nanoseconds_per_position"].items()
    ]
    head = ["order", "ns per position"]
    return f"{results['machine']}; medians of {results['rounds']} interleaved rounds:\n\n{table(head, rows)}"


def loader_cost(results: dict[str, Any]) -> str:
    rows = [
        [num, f"{row['make_ms']:.1f}", f"{row['resume_ms']:.1f}", f"{row['grown_mb']:.1f}"]
        for num, row in results["loader"].items()
    ]
    return table(["windows", "make, ms", "resume in the middle and read a batch, ms", "memory grown, MB"], rows)


def prepare_speed(results: dict[str, Any]) -> str:
    names = {
        "a": "(a) gigatoken's bare `encode_batch`, text and ids in memory: the limit",
        "b": "(b) `windrow prepare`, from disk to store",
        "b from jsonl.zst": "(b) the same from `.jsonl.zst`",
        "b at ten times the size": "(b) the same at ten times the size",
        "a at ten times the size": "(a) the same at ten times the size",
        "c": "(c) tiktoken in a process pool, ids to a memmap",
        "d": "(d) Hugging Face tokenizers, `encode_batch`",
    }
    ways = results["ways"]
    rows = [
        [text, f"{ways[name]['mb_per_second']:.1f}", f"{ways[name]['peak_mb']}"]
        for name, text in names.items()
        if name in ways
    ]
    ratios = (
        ways["b"]["mb_per_second"] / ways["a"]["mb_per_second"],
        ways["b"]["mb_per_second"] / ways["c"]["mb_per_second"],
    )
    seconds = ways["b from jsonl.zst"]["worker_seconds"]
    share = 100 * seconds["read"] / sum(seconds.values())
    return (
        f"{results['machine']} (load average {results['load_average']}), {results['nbytes'] / 1e6:.0f} MB in "
        f"{results['num_documents']} documents, medians of {results['rounds']} interleaved rounds:\n\n"
        f"{table(['way', 'MB/s', 'peak memory, MB'], rows)}\n"
        f"b is {ratios[0]:.2f} of a and {ratios[1]:.1f} times c. From `.jsonl.zst`, reading and parsing take "
        f"{share:.0f} % of the workers' time; unpacking runs beside them. Processor time, which a busy machine changes "
        f"less: a {ways['a']['cpu_ms_per_mb']} ms/MB, b {ways['b']['cpu_ms_per_mb']} ms/MB.\n"
    )


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "order-quality": ("order_quality.json", order_quality),
    "order-cost": ("bench_order.json", order_cost),
    "loader-cost": ("bench_order.json", loader_cost),
    "prepare": ("prepare.json", prepare_speed),
}


def rendered(text: str) -> str:
    def fill(place: re.Match[str]) -> str:
        file, render = FIGURES[place[2]]
        return place[1] + render(json.loads((ROOT / "bench" / file).read_text(encoding="utf-8"))) + place[3]

    return PLACE.sub(fill, text)


def main() -> int:
    stale = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (new := rendered(text)) != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{'out of date' if '--check' in sys.argv else 'rendered'}: {path.relative_to(ROOT)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
