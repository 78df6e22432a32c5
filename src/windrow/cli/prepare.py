"""``windrow prepare``: the summary, and the engines by name. Each run is one call of ``prepare``."""

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from windrow.cli.terminal import error_console, output_console, preparing_progress
from windrow.distribution import name_clash
from windrow.look.info import print_stores, store_facts
from windrow.preparing.prepare import prepare
from windrow.preparing.tally import Report
from windrow.shown import counted, size, visible

__all__ = ["run_dry", "run_prepare"]

_TOLD = ("text_nbytes", "reused_nbytes", "num_skipped", "skipped", "num_duplicates", "num_marks", "passed_over")


def run_prepare(inputs: list[str], dest: Path, *, engine: str, part: str | None, as_json: bool, **options: Any) -> None:
    """Prepare, and say what was made. Raises ``ValueError`` for flags that make no sense."""
    chosen = _part(part)
    if clash := name_clash():
        error_console().print(clash, soft_wrap=True)
    report: Report | None = None
    with preparing_progress() as show, _executor(engine) as executor:

        def on_report(made: Report) -> None:
            nonlocal report
            report = made
            show(made)

        stores = prepare(inputs, dest, **options, part=chosen, executor=executor, on_report=on_report)
    facts = {name: store_facts(store) for name, store in stores.items()}
    if as_json:
        print(json.dumps({"stores": facts, "run": report and _as_dict(report)}, indent=1))
        return
    if chosen:
        made = "of the stores' files is written" if options["finish"] else "is done"
        error_console().print(f"part {part} {made}; when all are: windrow prepare ... --finish", soft_wrap=True)
        return
    print_stores(output_console(), facts)
    for name, fact in facts.items():
        ledger = fact["ledger"]
        longest, shortest = ledger["longest_document_tokens"], ledger["shortest_document_tokens"]
        output_console().print(f"{name}: longest document {longest:,} tokens, shortest {shortest:,}", soft_wrap=True)
    for line in _told(report):
        error_console().print(line, soft_wrap=True)
    error_console().print(f"next: windrow train {visible(str(dest))}", soft_wrap=True)


def run_dry(inputs: list[str], *, as_json: bool, **options: Any) -> None:
    """Say what it would take."""
    from windrow.preparing.estimate import estimate

    found = estimate(inputs, **options)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    minutes, seconds = divmod(int(found.seconds), 60)
    output_console().print(
        f"{counted(found.num_inputs, 'input')}, {size(found.nbytes)}\n"
        f"about {found.num_tokens:,} tokens in {counted(found.num_documents, 'document')}, "
        f"{size(found.disk_nbytes)} on disk ({size(found.work_nbytes)} more while it runs)\n"
        f"about {minutes} min {seconds} s with {counted(found.num_workers, 'worker')}"
    )


def _part(part: str | None) -> tuple[int, int] | None:
    if part is None:
        return None
    numbers = part.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"--part is {part!r}, and it looks like 3/64: the third of 64 parts")
    return int(numbers[0]), int(numbers[1])


def _executor(engine: str) -> AbstractContextManager[Executor | None]:
    if engine == "ray":
        from windrow.preparing.ray_executor import RayExecutor

        return RayExecutor()
    return nullcontext()


def _as_dict(report: Report) -> dict[str, Any]:
    worked = {name: round(value, 3) for name, value in report.worker_seconds.items()}
    told = {"seconds": round(report.seconds, 3), "input_nbytes": report.nbytes, "worker_seconds": worked}
    return told | {name: getattr(report, name) for name in _TOLD}


def _told(report: Report | None) -> Iterator[str]:
    """What the run did, and what it left out."""
    if report is None:
        yield "the store was finished already: verified, nothing done"
        return
    reused = f", {size(report.reused_nbytes)} of them done before" if report.reused_nbytes else ""
    rate = size(report.nbytes_per_second)
    yield f"{size(report.nbytes)} in {report.seconds:,.1f} s{reused}: {rate}/s"
    if report.text_nbytes:
        yield f"{report.text_nbytes / max(report.num_tokens, 1):.2f} bytes of text a token"
    if report.passed_over:
        files, suffixes = counted(sum(report.passed_over.values()), "file"), visible(", ".join(report.passed_over))
        yield f"passed over: {files} in folders ({suffixes}); to read such files, name them and give --form"
    if num := report.num_marks:
        marks = "byte order mark at the head of a text" if num == 1 else "byte order marks at the heads of texts"
        yield f"left out: {num:,} {marks}"
    if report.num_duplicates:
        yield f"left out: {counted(report.num_duplicates, 'duplicate')}"
    if report.num_skipped:
        yield f"left out: {counted(report.num_skipped, 'document')} that cannot be read; the first:"
        yield from (f"  {visible(place)}" for place in report.skipped[:10])
