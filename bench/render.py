"""Puts the figures of bench/results/*.json into the documents that show them.

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
RESULTS = ROOT / "bench" / "results"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1) -> str:
    """Rows of cells under ``head``; all but the first ``left`` columns are figures."""
    lines = [list(head), *([*row] for row in rows)]
    lines.insert(1, ["---"] * left + ["---:"] * (len(lines[0]) - left))
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


def block_cost(results: dict[str, Any]) -> str:
    said = ", ".join(f"{ratio:.1f} with a block of {num}" for num, ratio in results["blocks"].items())
    return f"Processor time of a batch (two members, 8 rows of 1 024 tokens) over that with the usual block: {said}.\n"


def prepare_speed(results: dict[str, Any]) -> str:
    names = {
        "a": "(a) gigatoken's bare `encode_batch`, text and ids in memory: the limit",
        "b": "(b) `windrow prepare`, from disk to store",
        "b from jsonl.zst": "(b) the same from `.jsonl.zst`",
        "b at ten times the size": "(b) the same at ten times the size",
        "b from jsonl.zst at ten times the size": "(b) the same from `.jsonl.zst`, at ten times the size",
        "a at ten times the size": "(a) the same at ten times the size",
        "c": "(c) tiktoken in a process pool, ids to a memmap",
        "d": "(d) Hugging Face tokenizers, `encode_batch`",
        "e": "(e) `windrow prepare` with a `tokenizer.json`: 128 000 ids, Llama 3's pattern",
        "e at ten times the size": "(e) the same at ten times the size",
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


def millions(row: dict[str, Any]) -> str:
    return f"{row['tokens_per_second'] / 1e6:.3g}" if "tokens_per_second" in row else "-"


def times(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.3g}" if row.get("ratio") else "-"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def of_kind(results: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    return [contender for contender in results["contenders"] if contender["kind"] in kinds]


def loaders_machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = dict.fromkeys(c["versions"] for c in of_kind(results, "windrow", "loader") if c["versions"])
    return (
        f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, Linux "
        f"{machine['kernel']}, Python {machine['python']}, NumPy {machine['numpy']}. One file of "
        f"{results['num_tokens'] / 1e6:.0f} million tokens, in the page cache; {results['rounds']} rounds, "
        f"{results['seconds']:g} seconds a measurement.\n\nVersions, by environment: {'; '.join(versions)}.\n"
    )


def loaders_limits(results: dict[str, Any]) -> str:
    """Windrow's NumPy batches beside what NumPy and the memory can do."""
    rows = []
    for contender in of_kind(results, "windrow", "limit"):
        if contender["beside"] == "windrow" and contender["runs"]:
            speed = contender["runs"][0]["speed"]
            cells = [
                cell for setting in results["settings"] for cell in (millions(speed[setting]), times(speed[setting]))
            ]
            rows.append([contender["name"], *cells])
    head = [cell for setting in results["settings"] for cell in (f"{setting}: M tokens/s", "windrow / it")]
    return table(["", *head], rows)


def loaders_speed(results: dict[str, Any]) -> str:
    """A table for each setting: every loader without workers and with its best number of them."""
    parts = []
    for setting in results["settings"]:
        rows = [loader_row(contender, setting) for contender in of_kind(results, "windrow", "loader")]
        head = ["loader", "M tokens/s", "windrow / it", "best workers", "M tokens/s", "windrow / it"]
        parts.append(f"(max_length, batch_size) = {setting}:\n\n{table(head, rows)}")
    return "\n".join(parts)


def loader_row(contender: dict[str, Any], setting: str) -> list[str]:
    if contender["reason"]:
        return [f"{contender['name']}: {escaped(contender['reason'])}", *"-----"]
    none, *some = contender["runs"]
    row, best = none["speed"][setting], some[0]["speed"][setting] if some else {}
    why = f": {escaped(row['reason'])}" if "reason" in row else ""
    count = str(some[0]["workers"]) if "tokens_per_second" in best else "-"
    return [contender["name"] + why, millions(row), times(row), count, millions(best), times(best)]


def loaders_short(results: dict[str, Any]) -> str:
    """How many times faster windrow is than each loader at its best, with workers or without."""
    rows = []
    for contender in of_kind(results, "loader"):
        cells = []
        for setting in results["settings"]:
            ratios = [run["speed"][setting].get("ratio") for run in contender["runs"]]
            best = min((ratio for ratio in ratios if ratio), default=None)
            cells.append(f"{best:.3g} x" if best else "not offered" if contender["runs"] else "not run")
        rows.append([contender["name"], *cells])
    return table(["windrow's tokens/s, by those of", *results["settings"]], rows)


def loaders_first(results: dict[str, Any]) -> str:
    rows = []
    for name, by_num in results["first"].items():
        for what, unit in (
            ("milliseconds", "ms"),
            ("peak_mb", "MB above imports"),
            ("mapped_mb", "MB of the file mapped"),
        ):
            cells = [f"{row[what]:.3g}" if what in row else escaped(row["reason"]) for row in by_num.values()]
            rows.append([f"{name}, {unit}", *cells])
    return table(["windows", *next(iter(results["first"].values()))], rows)


def loaders_resume(results: dict[str, Any]) -> str:
    """Time to the first batch after half an epoch; for those without a state, what reading up to there takes."""
    rows = []
    for contender in of_kind(results, "windrow", "loader"):
        found = {row["setting"]: row for row in results["resume"].get(contender["name"], []) if "setting" in row}
        cells = []
        for setting in results["settings"]:
            row = found.get(setting, {})
            speed = contender["runs"][0]["speed"][setting].get("tokens_per_second") if contender["runs"] else None
            if "milliseconds" in row:
                cells.append(f"{row['milliseconds']:.3g} ms")
            elif row.get("not_offered") == "no state" and speed:
                overlap = 2 if "stride" in setting else 1
                cells.append(f"no state; reading on: {results['num_tokens'] * overlap / 2 / speed:.3g} s")
            else:
                cells.append(escaped(row.get("failed", "-")))
        if contender["name"] in results["resume"]:
            rows.append([contender["name"], *cells])
    return table(["", *results["settings"]], rows)


def loaders_long(results: dict[str, Any]) -> str:
    long = results["long"]
    memory = long["anonymous_mb"]
    return (
        f"{long['batches']} batches over {long['epochs']:.0f} epochs from one loader: {memory[0]:.1f} MB after the "
        f"first tenth, {memory[-1]:.1f} MB after the last ({memory[-1] - memory[0]:+.2f} MB).\n"
    )


def neighbours(results: dict[str, Any]) -> str:
    names = next(iter(results["neighbours"].values()))
    rows = [
        [f"{int(num):,}", *(f"{share:.1%}" for share in shares.values())]
        for num, shares in results["neighbours"].items()
    ]
    return table(["documents", *names], rows)


def policy_cost(results: dict[str, Any]) -> str:
    cost, index = results["microseconds"], results["index"]["1"]
    rows = [
        [name, *(f"{of[name]:.0f} us ({of[name] / of['concat']:.1f})" for of in cost.values())] for name in cost["1"]
    ]
    head = ["a batch of (1024, 16)", *(f"{n} shard{'s' * (n != '1')}" for n in cost)]
    return (
        f"{results['machine']}; processor time, the least of {results['rounds']} interleaved rounds, in brackets "
        f"beside concat's:\n\n{table(head, rows)}\nThe index of ten million documents in an order of an epoch's own "
        f"took {index['cpu_seconds']:.1f} s of processor time and keeps {index['kept_mb']:.0f} MB.\n"
    )


def fresh_documents(results: dict[str, Any]) -> str:
    max_length, batch_size, width, num_layers = results["sizes"]
    rows = []
    for way, runs in results["runs"].items():
        last = [run["valid"][-1] for run in runs]
        cells = [*last, sum(last) / len(last), sum(run["train"][-1] for run in runs) / len(runs)]
        rows.append([way, *(f"{cell:.3f}" for cell in cells)])
    head = ["documents", *(f"seed {seed}" for seed in results["seeds"]), "mean", "train, mean"]
    return (
        f"{results['documents'][0]:,} documents of {results['tokens'][0]:,} tokens, {results['epochs']} epochs in rows "
        f"of {max_length}, {batch_size} a batch; a GPT of width {width} and {num_layers} layers. Nats a token after "
        f"the last epoch, over {results['documents'][1]} valid documents, each scored alone ({results['machine']}: "
        f"{results['cpu_minutes']} minutes of processor time in all):\n\n{table(head, rows)}"
    )


def trainers_proven(results: dict[str, Any]) -> str:
    """What held in each framework, in how many cases; a case that was skipped says why."""
    rows = []
    for framework, tests in results["tests"].items():
        for name, row in tests.items():
            skipped = f", {row['skipped']} skipped: {escaped(row['why'])}" if row["skipped"] else ""
            failed = f", {row['failed']} failed" if row["failed"] else ""
            rows.append([framework.replace("_", " "), name, f"{row['passed']}{failed}{skipped}"])
    versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    head = ["in", "what held", "cases"]
    about = f"{results['date']}, Python {results['python']}: {versions}. {results.get('note', '')}".strip()
    return f"{about}\n\n{table(head, rows, left=2)}"


def scale_axis(name: str) -> Callable[[dict[str, Any]], str]:
    """Each path over the stores of one axis: its cost at the largest, and how it grew from the one before."""

    def render(results: dict[str, Any]) -> str:
        axis = results["axes"][name]
        rows = []
        for path, found in axis["paths"].items():
            grown, last = axis["growth"][path], found[-1]
            memory = f"{last['memory_mb']:.0f}" + (f" (growth {grown['memory_mb']:.1f})" if grown["memory_mb"] else "")
            seconds = [f"{row['cpu_seconds']:.2f}" for row in found]
            rows.append([f"`{path}`", *seconds, f"{grown['cpu_seconds']:.1f}", memory, f"{last['read_mb']:.1f}"])
        head = ["processor time, s, of", *(f"{size:,}" for size in axis["sizes"]), "growth", "memory, MB", "read, MB"]
        return table(head, rows)

    return render


def scale_prepare(results: dict[str, Any]) -> str:
    rows = []
    for axis in results["prepare"].values():
        for path, found in axis["paths"].items():
            size, last = axis["sizes"][-1], found[-1]
            seconds = [f"{last[name]:.1f}" for name in ("cpu_seconds", "workers_cpu_seconds")]
            rows.append([path, f"{size:,}", *seconds, f"{last['memory_mb']:.0f}", f"{last['asked_mb']:.1f}"])
    head = ["input", "of", "parent, s", "workers, s", "parent's memory, MB", "all read, MB"]
    return f"{results['machine']}.\n\n{table(head, rows)}"


def scale_paper(results: dict[str, Any]) -> str:
    """20 TB of JSON lines on 1 000 nodes of 64 cores and a disk of 2 GB/s each, from what was measured here."""
    text_mb, nodes, cores, disk = 20e6, 1_000, 64_000, 2_000.0  # MB, and MB a second
    lines = results["prepare"][".jsonl of documents of 4 kB, bytes"]
    mb = lines["sizes"][-1] / 1e6
    whole, finish = (lines["paths"][f".jsonl of documents of 4 kB, bytes{way}"][-1] for way in ("", ", finish"))
    tokens_mb = text_mb * 0.23 * 2  # 0.23 tokens a byte, 2 bytes each
    opened = results["axes"]["shards"]["paths"]["open_store"][-1]["cpu_seconds"]
    opened *= 384 / results["axes"]["shards"]["sizes"][-1]
    encode = (whole["workers_cpu_seconds"] - finish["workers_cpu_seconds"]) / mb
    publish = (finish["workers_cpu_seconds"] + finish["cpu_seconds"]) / mb
    rows = [
        ["encode: processor time, a node", f"{encode * 1e3:.1f} ms/MB", f"{encode * text_mb / cores:.0f} s"],
        [
            "encode: disk, a node",
            "its share, read for its tokens and its sha256",
            f"{2 * text_mb / nodes / disk:.0f} s",
        ],
        [
            "publish, divided: processor time, a node",
            f"{publish * 1e3:.1f} ms/MB of text",
            f"{publish * text_mb / cores:.1f} s",
        ],
        ["publish, divided: disk, a node", "tokens read twice, written once", f"{3 * tokens_mb / nodes / disk:.0f} s"],
        ["open, each rank", "384 shards of 24 GB", f"{opened * 1e3:.0f} ms"],
    ]
    return table(["stage", "measured", "20 TB"], rows, left=2)


def far(results: dict[str, Any]) -> str:
    sizes, machine = results["sizes"], results["machine"]
    rows = []
    for one in results["contenders"]:
        if "reason" in one:
            rows.append([one["name"], "-", "-", one["reason"]])
        else:
            speed, cpu = one["tokens_per_second"] / 1e6, one["cpu_seconds"]
            rows.append([one["name"], f"{speed:.1f}", f"{one['megabytes']:,.0f}", f"{cpu:.1f}"])
    head = ["reader", "million tokens/s", "MB fetched", "processor seconds"]
    blocks = " and ".join(f"{num:.0f}" for num in results["blocks"])
    shape = f"{sizes['num_blocks']} blocks of 16 MiB, a cache of {sizes['cache_bytes'] >> 20} MiB"
    windows = f"windows of {sizes['max_length']:,} tokens, {sizes['mixed']:,} of them shuffled together"
    rounds = f"{machine['cores']} cores that also run the server; medians of {results['rounds']} interleaved rounds"
    return (
        f"{shape}, four ranks, one epoch of {windows}; {rounds}:\n\n{table(head, rows)}\n"
        f"windrow fetched {blocks} blocks. The least that any cache with {results['num_slots']} places could fetch for "
        f"this stream is {results['fewest']}.\n"
    )


def formats(results: dict[str, Any]) -> str:
    gathers, openings = results["gather_microseconds"], results["opening_seconds"]
    rows = [
        [name, f"{each:.1f}", f"{gathers['windrow'] / each:.2f}", *(f"{s:.2f}" for s in openings.get(name, ()))]
        for name, each in gathers.items()
    ]
    head = [
        "",
        "a gather of 16 rows, us",
        "of windrow's speed",
        "opening 10 000 000 documents, s",
        "opening them again, s",
    ]
    filled = [[*row, *["-"] * (len(head) - len(row))] for row in rows]
    return f"{results['machine']}; medians of {results['rounds']} rounds in turns:\n\n{table(head, filled)}"


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "order-quality": ("order_quality.json", order_quality),
    "order-cost": ("order.json", order_cost),
    "block-cost": ("order.json", block_cost),
    "loader-cost": ("order.json", loader_cost),
    "prepare": ("prepare.json", prepare_speed),
    "neighbours": ("documents.json", neighbours),
    "policy-cost": ("documents.json", policy_cost),
    "fresh-documents": ("fresh_documents.json", fresh_documents),
    "loaders-machine": ("loaders.json", loaders_machine),
    "loaders-short": ("loaders.json", loaders_short),
    "loaders-limits": ("loaders.json", loaders_limits),
    "loaders-speed": ("loaders.json", loaders_speed),
    "loaders-first": ("loaders.json", loaders_first),
    "loaders-resume": ("loaders.json", loaders_resume),
    **{f"scale-{axis}": ("scale.json", scale_axis(axis)) for axis in ("tokens", "documents", "shards", "sources")},
    "scale-prepare": ("scale.json", scale_prepare),
    "scale-paper": ("scale.json", scale_paper),
    "trainers-proven": ("trainers.json", trainers_proven),
    "far": ("far.json", far),
    "formats": ("formats.json", formats),
    "loaders-long": ("loaders.json", loaders_long),
}


def rendered(text: str) -> str:
    def fill(place: re.Match[str]) -> str:
        file, render = FIGURES[place[2]]
        return place[1] + render(json.loads((RESULTS / file).read_text(encoding="utf-8"))) + place[3]

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
