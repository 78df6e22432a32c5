"""prepare as a run: workers, engines, parts, reruns, locks, splits, duplicates. The bytes are always the same."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from prepare_helpers import EOT, origins, real_texts, same_ids, snapshot
from windrow import open_store, prepare
from windrow.errors import NotEnoughTokensError, PrepareError, StoreError
from windrow.preparing.tally import Report
from windrow.preparing.unfinished import WORK, locked
from windrow.preparing.workers import Workers

MB = 1_000_000


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB: a file of many documents, a long one, a compressed one and a hundred small ones."""
    folder = tmp_path_factory.mktemp("inputs")
    texts = real_texts(12 * MB)
    joined = "".join(texts)
    lines = [json.dumps({"text": text}) for text in texts[:400]]
    (folder / "a.jsonl").write_text("\n".join(lines + lines[:50]), encoding="utf-8")  # 50 duplicates
    (folder / "b.txt").write_text(joined[: 9 * MB], encoding="utf-8")
    import gzip

    (folder / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[100:]).encode(), 1))
    for number, text in enumerate(texts[:100]):
        (folder / f"d{number:03d}.txt").write_bytes(text.encode())
    return folder


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes that every run must write."""
    dest = tmp_path_factory.mktemp("undisturbed")
    prepare(inputs, dest, workers=1, valid_fraction=0.1)
    return snapshot(dest)


# -- engines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["workers", "threads", "spawned processes"])
def test_any_executor_gives_the_same_bytes(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, kind: str
) -> None:
    executor: Executor = {
        "workers": lambda: Workers(3),
        "threads": lambda: ThreadPoolExecutor(2),
        "spawned processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }[kind]()
    with executor:
        prepare(inputs, tmp_path, valid_fraction=0.1, executor=executor)
    assert snapshot(tmp_path) == undisturbed


SCRIPT = """
import sys
import windrow
print("top level")  # once: no worker imports this file again
windrow.prepare(sys.argv[1], sys.argv[2], workers=2, valid_fraction=0.1)
"""


@pytest.mark.parametrize("way", ["script", "standard input", "-c"])
def test_a_script_needs_no_main_guard(inputs: Path, undisturbed: dict[str, str], tmp_path: Path, way: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    start: list[Any] = {"script": [script], "standard input": ["-"], "-c": ["-c", SCRIPT]}[way]
    out = subprocess.run(
        [sys.executable, "-W", "error", *start, str(inputs), str(tmp_path / "out")],
        input=SCRIPT if way == "standard input" else None,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, "top level\n", "")
    assert snapshot(tmp_path / "out") == undisturbed


def test_workers_are_not_started_for_little_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    prepare(iter(["a story"]), tmp_path)


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def test_a_task_whose_worker_is_killed_is_done_again_and_after_three_times_it_is_named(tmp_path: Path) -> None:
    from windrow.preparing.crew import run

    with Workers(2) as workers:
        paths = [str(tmp_path / name) for name in "abcd"]
        assert sorted(run(workers, die_once, paths, 3)) == [(n, path, path) for n, path in enumerate(paths)]
        with pytest.raises(PrepareError, match=r"died 3 times on the same work: 3 \(killed by signal 9\)"):
            list(run(workers, die, range(6), 3))
        assert sorted(run(workers, die, [1, 2], 3)) == [(0, 1, 1), (1, 2, 2)]  # and the workers go on


class OddError(Exception):
    """Cannot be made again of its own arguments, as pickle would do."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_oddly(number: int) -> int:
    raise OddError(number, number)


def test_an_error_that_cannot_travel_is_told_all_the_same() -> None:
    with Workers(1) as workers:
        with pytest.raises(RuntimeError, match="OddError: 3 and 3"):
            workers.submit(fail_oddly, 3).result(timeout=60)
        assert workers.submit(os.getpid).result(timeout=60)  # and the worker goes on


def test_workers_start_whatever_is_in_the_path_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current folder, and none of ours')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*filter(None, sys.path), Path("/tmp")])  # a Path there does nothing in Python
    with Workers(1) as workers:
        assert workers.submit(os.getcwd).result(timeout=60) == str(tmp_path)


def test_a_run_whose_workers_are_killed_again_and_again_ends_with_the_same_bytes(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose, real, started, killed = random.Random(3), Workers._start, list[Any](), list[int]()

    def start(self: Workers) -> Any:
        started.append(real(self))
        return started[-1]

    def kill_some(_: Report) -> None:
        alive = [child for child in started if child.poll() is None]
        if alive and len(killed) < 4:
            killed.append(choose.choice(alive).pid)
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(Workers, "_start", start)
    prepare(inputs, tmp_path, workers=2, valid_fraction=0.1, on_report=kill_some)
    assert killed
    assert snapshot(tmp_path) == undisturbed


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, signal, time
        from windrow.preparing.workers import Workers
        workers = Workers(2)
        pids = [workers.submit(os.getpid).result()]
        workers.submit(time.sleep, 100)
        print(*pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)  # waits for stderr
    assert out.returncode == -signal.SIGKILL
    for _ in range(100):
        status = subprocess.run(["ps", "-o", "stat=", "-p", out.stdout.strip()], capture_output=True, text=True).stdout
        if status.strip()[:1] in ("", "Z"):  # gone, or dead and not yet collected
            return
        time.sleep(0.1)
    raise AssertionError(f"worker {out.stdout} is still {status}")


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


def test_a_broken_executor_says_so_and_the_next_run_goes_on(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(PrepareError, match="the executor Broken broke"):
        prepare(inputs, tmp_path, valid_fraction=0.1, executor=Broken())
    reports: list[Any] = []
    prepare(inputs, tmp_path, valid_fraction=0.1, on_report=reports.append)
    assert reports[-1].reused_nbytes > 0
    assert snapshot(tmp_path) == undisturbed


class Job:
    """What submitit gives: no Future, and nothing to wait on."""

    def __init__(self, call: Any) -> None:
        self._call, self._num_asked = call, 0

    def done(self) -> bool:
        self._num_asked += 1
        return self._num_asked > 1

    def result(self) -> Any:
        return self._call()

    def cancel(self) -> None:
        pass


class Jobs:
    def submit(self, call: Any, /, *args: Any) -> Job:
        return Job(partial(call, *args))


def test_jobs_that_can_only_be_asked_are_asked(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windrow.preparing.crew._ASK_EVERY", 0.001)
    prepare(inputs, tmp_path, valid_fraction=0.1, executor=cast(Executor, Jobs()), workers=2)
    assert snapshot(tmp_path) == undisturbed


def test_workers_that_are_started_early_take_the_tasks_and_end_without_any() -> None:
    with Workers(2) as workers:
        workers.start(5)
        assert len(workers._threads) == 2
        assert len({workers.submit(os.getpid).result() for _ in range(4)}) <= 2
        assert len(workers._threads) == 2
    with Workers(3) as workers:
        workers.start(1)
        workers.submit(os.getpid).result()
        assert len(workers._threads) == 1
    with Workers(2) as workers:
        workers.start(1)
        while not workers._children:
            time.sleep(0.01)
        (child,) = workers._children
    assert child.wait(timeout=20) == -signal.SIGKILL


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_workers() -> None:
    with Workers(1) as workers:
        assert workers.submit(os.getpgrp).result() != os.getpgrp()


def test_memory_decides_how_many_workers_there_are(tmp_path: Path) -> None:
    from windrow.preparing.crew import crew_for
    from windrow.tokens.tokenizer import load_tokenizer

    gpt2 = load_tokenizer("gpt2")
    assert crew_for(gpt2, workers=64, memory=1 << 30, executor=None).num_workers == 3
    assert crew_for(gpt2, workers=2, memory=None, executor=None).num_workers == 2
    assert crew_for(gpt2, workers=8, memory=1, executor=None).num_workers == 1
    with pytest.raises(ValueError, match="memory is 0 bytes"):
        crew_for(gpt2, workers=8, memory=0, executor=None)


def hold(nbytes: int) -> int:
    global held
    held = b"x" * nbytes
    return os.getpid()


@pytest.mark.parametrize("form", ["documents", "stream"])
def test_the_text_of_finished_work_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    import gzip

    from windrow.preparing import prepare as module
    from windrow.preparing.tally import Tally

    kept: list[Any] = []
    monkeypatch.setattr(Tally, "require_sizes", lambda tally: kept.extend(tally.results))
    texts = [f"text {number} " * 1000 for number in range(2500)]
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(2 * MB).hex().encode() * 5, 1))
    assert module.prepare(iter(texts) if form == "documents" else tmp_path, tmp_path / "out", tokenizer="bytes")
    assert len(kept) > 2
    assert all(item.data is None and not item.before for item, *_ in kept)


def test_a_worker_that_holds_too_much_memory_is_replaced() -> None:
    with Workers(1, max_rss=200 << 20) as workers:
        first = workers.submit(hold, 1).result()
        assert workers.submit(hold, 400 << 20).result() == first
        assert workers.submit(hold, 1).result() != first


# -- parts -------------------------------------------------------------------------------------------------------------


def test_four_parts_in_any_order_one_of_them_twice_make_the_same_bytes(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    for number in (3, 1, 4, 1, 2):
        assert prepare(inputs, tmp_path, valid_fraction=0.1, part=(number, 4), workers=1) == {}
        assert not (tmp_path / "train").exists()
    reports: list[Any] = []
    prepare(inputs, tmp_path, valid_fraction=0.1, on_report=reports.append)
    assert reports[-1].reused_nbytes == reports[-1].nbytes  # nothing was left to do
    assert snapshot(tmp_path) == undisturbed


def test_parts_may_run_at_the_same_time_but_not_with_the_finish(inputs: Path, tmp_path: Path) -> None:
    with locked(tmp_path, (1, 2)):
        prepare(inputs / "d000.txt", tmp_path, part=(2, 2))
        with pytest.raises(PrepareError, match="another windrow prepare is writing"):
            prepare(inputs / "d000.txt", tmp_path, part=(1, 2))
        with pytest.raises(PrepareError, match="another windrow prepare is writing"):
            prepare(inputs / "d000.txt", tmp_path)
    with pytest.raises(PrepareError, match="cannot be done in parts"):
        prepare(iter(["x"]), tmp_path, part=(1, 2))


# -- reruns ------------------------------------------------------------------------------------------------------------


def test_the_same_command_onto_a_finished_store_verifies_and_returns_it(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):
        stores = prepare(inputs, tmp_path, valid_fraction=0.1)
        assert sorted(stores) == ["train", "valid"]
        assert snapshot(tmp_path) == undisturbed
    tokens = tmp_path / "train/tokens-00000.bin"
    data = bytearray(tokens.read_bytes())
    data[1000] ^= 1
    tokens.write_bytes(data)
    with pytest.raises(StoreError, match=r"tokens-00000\.bin is damaged: its sha256"):
        prepare(inputs, tmp_path, valid_fraction=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": "bytes"}, "made with tokenizer = "),
        ({"valid_fraction": 0.5}, "made with valid_fraction = 0.1, and this command has 0.5"),
        ({"dedupe": True}, "made with dedupe = False"),
        ({"literal_eos": "split"}, "made with literal_eos = 'text'"),
    ],
)
def test_another_recipe_onto_a_finished_store_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    documents = [f"document {n}" for n in range(50)]
    prepare(iter(documents), tmp_path, valid_fraction=0.1)
    before = snapshot(tmp_path)
    with pytest.raises(PrepareError, match=message):
        prepare(iter(documents), tmp_path, **{"valid_fraction": 0.1, **change})
    with pytest.raises(PrepareError, match="iterable is not what it was made of"):
        prepare(iter([*documents, "new"]), tmp_path, valid_fraction=0.1)
    assert snapshot(tmp_path) == before


def test_work_on_an_input_that_changed_between_two_runs_is_not_used_again(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    lines = [json.dumps({"text": text}) for text in real_texts(12 * MB) * 2]
    source.write_text("\n".join(lines))
    with pytest.raises(PrepareError, match="broke"):
        prepare(source, out, executor=Broken())
    assert any((out / WORK).glob("*.item"))
    source.write_text("\n".join(lines[1:]))
    prepare(source, out)
    prepare(source, tmp_path / "undisturbed")
    assert snapshot(out) == snapshot(tmp_path / "undisturbed")


def test_damaged_unfinished_work_is_done_again(inputs: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    prepare(inputs, tmp_path, valid_fraction=0.1, part=(1, 1))
    items = sorted((tmp_path / WORK).glob("*.item"))
    items[0].write_bytes(items[0].read_bytes()[:-30])  # cut short
    data = bytearray(items[1].read_bytes())
    data[100] ^= 1
    items[1].write_bytes(data)  # a bit flipped
    items[2].write_bytes(items[3].read_bytes())  # another item's content
    items[4].write_bytes(b"")
    (tmp_path / WORK / "junk.item").write_bytes(b"junk")
    prepare(inputs, tmp_path, valid_fraction=0.1)
    assert snapshot(tmp_path) == undisturbed


def test_an_unfinished_store_cannot_be_opened(inputs: Path, tmp_path: Path) -> None:
    prepare(inputs, tmp_path, part=(1, 1))
    for folder in (tmp_path, tmp_path / "train", tmp_path / WORK):
        with pytest.raises(StoreError):
            open_store(folder)


def test_a_second_writer_gets_a_clear_error_and_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from windrow.preparing.unfinished import locked\n"
    code += "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(PrepareError, match="another windrow prepare is writing to"):
            prepare(iter(["x"]), tmp_path)
        holder.kill()
    prepare(iter(["x"]), tmp_path)


# -- splits ------------------------------------------------------------------------------------------------------------


def sides(dest: Path, documents: list[str], **options: Any) -> dict[str, str]:
    """The side that each document went to, by its text."""
    stores = prepare(iter(documents), dest, **options)
    found = {}
    for side, store in stores.items():
        for number in range(store.num_documents):
            start, stop = store.document_span(number)
            found[store.decode(start, stop - 1)] = side
    return found


def test_a_document_keeps_its_side_when_others_come_or_the_order_changes(tmp_path: Path) -> None:
    documents = [f"document number {n}" for n in range(400)]
    before = sides(tmp_path / "a", documents, valid_fraction=0.2)
    after = sides(tmp_path / "b", [f"new {n}" for n in range(50)] + documents[::-1] + documents, valid_fraction=0.2)
    assert 40 < list(before.values()).count("valid") < 120
    assert {text: after[text] for text in documents} == before


def test_equal_long_documents_fall_on_one_side_whatever_file_and_place_they_are_in(tmp_path: Path) -> None:
    """The digest of a document that came in pieces is that of one that came whole."""
    text = "".join(real_texts(12 * MB))[: 9 * MB]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes(text.encode())
    (folder / "b.jsonl").write_text(json.dumps({"text": "short"}) + "\n" + json.dumps({"text": text}))
    import gzip

    (folder / "c.txt.gz").write_bytes(gzip.compress(text.encode(), 1))
    store = prepare(folder, tmp_path / "out", dedupe=True)["train"]
    assert store.num_documents == 2
    assert store.manifest is not None
    assert store.manifest.ledger["duplicate_documents"] == 2
    again = prepare(iter([text, "short", text]), tmp_path / "again", dedupe=True)["train"]
    assert np.array_equal(again.tokens(), store.tokens())
    for number in range(8):  # and with a split: all of one document's copies on one side, whichever
        try:
            stores = prepare(folder, tmp_path / f"split{number}", valid_fraction=0.1 * number + 0.1)
        except NotEnoughTokensError:
            continue
        assert sorted(s.num_documents for s in stores.values()) == [1, 3]
        break


def test_dedupe_keeps_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    documents = ["one", "two", "one", "", "three", "", "two ", "two"]
    store = prepare(iter(documents), tmp_path, dedupe=True)["train"]
    same_ids(store, ["one", "two", "", "three", "two "])
    assert [row[1] for row in origins(tmp_path / "train")] == [1, 2, 4, 5, 7]
    assert store.manifest is not None
    assert store.manifest.ledger["duplicate_documents"] == 3


def test_a_side_that_comes_out_empty_is_an_error_that_names_the_tail_split(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match=r'split "?.valid.* got none of the 1 documents .* split="tail"'):
        prepare(iter(["one text"]), tmp_path, valid_fraction=0.1)
    assert not (tmp_path / "train").exists()
    stores = prepare(iter(["one text of some words"]), tmp_path, valid_fraction=0.3, split="tail")
    assert stores["train"].decode() + stores["valid"].decode() == "one text of some words" + EOT


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.77])
def test_a_tail_split_is_one_cut_through_all_tokens_wherever_it_falls(
    inputs: Path, tmp_path: Path, fraction: float
) -> None:
    whole = prepare(inputs, tmp_path / "whole")["train"]
    stores = prepare(inputs, tmp_path / "cut", valid_fraction=fraction, split="tail")
    train, valid = stores["train"], stores["valid"]
    assert train.num_tokens == int(np.floor(whole.num_tokens * (1 - fraction)))
    assert np.array_equal(np.concatenate([train.tokens(), valid.tokens()]), whole.tokens())
    ends = whole.document_ends(np.arange(whole.num_documents))
    expected = sorted({*ends.tolist(), train.num_tokens})
    found = train.document_ends(np.arange(train.num_documents)).tolist()
    found += (valid.document_ends(np.arange(valid.num_documents)) + train.num_tokens).tolist()
    assert found == expected
    joined = origins(tmp_path / "cut/train")[: train.num_documents] + origins(tmp_path / "cut/valid")
    assert [row for n, row in enumerate(joined) if not n or row != joined[n - 1]] == origins(tmp_path / "whole/train")
    assert train.manifest is not None
    assert train.manifest.ledger["eos_tokens"] == int((ends <= train.num_tokens).sum())


def test_a_short_text_can_be_cut_anywhere(tmp_path: Path) -> None:
    for number, fraction in enumerate((0.05, 0.34, 0.5, 0.66, 0.8)):
        stores = prepare(
            iter(["ab", "", "cde"]), tmp_path / str(number), tokenizer="bytes", valid_fraction=fraction, split="tail"
        )
        both = np.concatenate([stores["train"].tokens(), stores["valid"].tokens()])
        assert both.tolist() == [97, 98, 256, 256, 99, 100, 101, 256]


# -- origins and shards ------------------------------------------------------------------------------------------------


def test_every_documents_origin_is_where_its_text_lies(inputs: Path, tmp_path: Path) -> None:
    store = prepare([inputs / "a.jsonl", inputs / "b.txt"], tmp_path)["train"]
    files = [(inputs / name).read_bytes() for name in ("a.jsonl", "b.txt")]
    rows = origins(tmp_path / "train")
    assert len(rows) == store.num_documents == 451
    for number, (source, line, start, stop) in enumerate(rows):
        first, last = store.document_span(number)
        raw = files[source][start:stop].decode()
        assert store.decode(first, last - 1) == (json.loads(raw)["text"] if source == 0 else raw)
        assert files[source].count(b"\n", 0, start) + 1 == line


def test_many_shards_hold_what_one_holds(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.preparing import publish

    one = prepare(inputs, tmp_path / "one", valid_fraction=0.1)
    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 20)
    many = prepare(inputs, tmp_path / "many", valid_fraction=0.1)
    for side in ("train", "valid"):
        assert many[side].manifest is not None
        assert np.array_equal(one[side].tokens(), many[side].tokens())
        numbers = np.arange(one[side].num_documents)
        assert np.array_equal(one[side].document_ends(numbers), many[side].document_ends(numbers))
        assert origins(tmp_path / "one" / side) == origins(tmp_path / "many" / side)
        assert many[side].manifest.ledger == one[side].manifest.ledger  # type: ignore[union-attr]
    assert len(many["train"].manifest.shards) > 2  # type: ignore[union-attr]


def test_the_longest_document_counts_all_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from windrow.preparing import publish

    (tmp_path / "a.txt").write_text("ab")
    (tmp_path / "b.txt").write_text("one line of a long document. " * 500_000)
    (tmp_path / "c.txt").write_text("abc")
    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 20)
    store = prepare([tmp_path / f"{name}.txt" for name in "abc"], tmp_path / "out", tokenizer="bytes")["train"]
    assert store.manifest is not None
    assert len(store.manifest.shards) > 2
    assert store.manifest.ledger["longest_document_tokens"] == 29 * 500_000 + 1
    assert store.manifest.ledger["shortest_document_tokens"] == 3


def test_a_manifest_says_nothing_of_the_run(inputs: Path, tmp_path: Path) -> None:
    store = prepare(inputs, tmp_path)["train"]
    text = (tmp_path / "train/manifest.json").read_text() + (tmp_path / "train/sources.jsonl").read_text()
    assert store.path is not None
    for word in (str(tmp_path), str(inputs), os.uname().nodename, "workers", "seconds", "2026"):
        assert word not in text
