"""The folder of unfinished work: parts, reruns and locks. The bytes are always the same."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import Broken, read_by, real_texts, snapshot
from windrow import open_store, prepare
from windrow.errors import PrepareError, StoreError
from windrow.preparing import publish
from windrow.preparing.crew import Here
from windrow.preparing.unfinished import DamagedItemError, ItemFile, locked

MB = 1_000_000


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


def test_the_stores_are_written_in_parts_too_in_any_order_and_the_last_call_only_joins_them(
    inputs: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"valid_fraction": 0.1, "executor": Here()}
    monkeypatch.setattr(publish, "SHARD_TOKENS", 1 << 18)
    prepare(inputs, tmp_path / "one", **options)
    for number in (3, 1, 3, 2):  # what the first of them misses it makes
        assert prepare(inputs, tmp_path / "many", part=(number, 3), finish=True, **options) == {}
        assert not list((tmp_path / "many").glob("*/manifest.json"))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*/*.bin")}
    assert len(written) > 5
    _, nbytes = read_by(lambda: prepare(inputs, tmp_path / "many", **options))
    assert nbytes < 0.1 * sum(path.stat().st_size for path in written)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert snapshot(tmp_path / "many") == snapshot(tmp_path / "one") != undisturbed


def test_where_nothing_is_left_out_the_last_call_reads_no_table(inputs: Path, tmp_path: Path) -> None:
    sources = [inputs / "a.jsonl", inputs / "b.txt"]
    prepare(sources, tmp_path, part=(1, 1), finish=True, executor=Here())
    _, nbytes = read_by(lambda: prepare(sources, tmp_path, executor=Here()))
    assert nbytes < 200_000 < 0.1 * (tmp_path / "train/tokens-00000.bin").stat().st_size


def test_a_shard_that_another_run_wrote_over_is_written_again(inputs: Path, tmp_path: Path) -> None:
    prepare(inputs, tmp_path / "whole", executor=Here())
    for options in ({}, {"literal_eos": "split"}):  # other text, the same names
        prepare(inputs, tmp_path / "out", part=(1, 1), finish=True, executor=Here(), **options)  # type: ignore[arg-type]
    prepare(inputs, tmp_path / "out", executor=Here())
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_parts_may_run_at_the_same_time_but_not_with_the_finish(inputs: Path, tmp_path: Path) -> None:
    with locked(tmp_path, (1, 2)):
        prepare(inputs / "d000.txt", tmp_path, part=(2, 2))
        with pytest.raises(PrepareError, match="another windrow prepare is writing"):
            prepare(inputs / "d000.txt", tmp_path, part=(1, 2))
        with pytest.raises(PrepareError, match="another windrow prepare is writing"):
            prepare(inputs / "d000.txt", tmp_path)
    with pytest.raises(PrepareError, match="cannot be done in parts"):
        prepare(iter(["x"]), tmp_path, part=(1, 2))


def test_work_on_an_input_that_changed_between_two_runs_is_not_used_again(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    lines = [json.dumps({"text": text}) for text in real_texts(12 * MB) * 2]
    source.write_text("\n".join(lines))
    with pytest.raises(PrepareError, match="broke"):
        prepare(source, out, executor=Broken())
    assert any((out / "unfinished").glob("*.item"))
    source.write_text("\n".join(lines[1:]))
    prepare(source, out)
    prepare(source, tmp_path / "undisturbed")
    assert snapshot(out) == snapshot(tmp_path / "undisturbed")


def test_damaged_unfinished_work_is_done_again(inputs: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    prepare(inputs, tmp_path, valid_fraction=0.1, part=(1, 1))
    items = sorted((tmp_path / "unfinished").glob("*.item"))
    items[0].write_bytes(items[0].read_bytes()[:-30])  # cut short
    data = bytearray(items[1].read_bytes())
    data[100] ^= 1
    items[1].write_bytes(data)  # a bit flipped
    items[2].write_bytes(items[3].read_bytes())  # another item's content
    items[4].write_bytes(b"")
    (tmp_path / "unfinished" / "junk.item").write_bytes(b"junk")
    prepare(inputs, tmp_path, valid_fraction=0.1)
    assert snapshot(tmp_path) == undisturbed


@pytest.mark.parametrize("num_files", [1, 8], ids=["unpacked here", "unpacked by workers"])
def test_a_damaged_item_of_a_compressed_file_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_files: int
) -> None:
    monkeypatch.setattr("windrow.preparing.tasks._SMALL", {"": 1, "gz": 1, "zst": 1})
    monkeypatch.setattr("windrow.text.blocks._BLOCK", 1 << 12)
    (tmp_path / "in").mkdir()
    for number in range(num_files):
        lines = "".join(f'{{"text": "line {n} of file {number}"}}\n' for n in range(600))
        (tmp_path / f"in/{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    options: dict[str, Any] = {"tokenizer": "bytes", "executor": Here(), "workers": 2}
    prepare(tmp_path / "in", tmp_path / "whole", **options)
    prepare(tmp_path / "in", tmp_path / "out", part=(1, 1), **options)
    damaged = sorted((tmp_path / "out" / "unfinished").glob("*.item"), key=lambda path: path.stat().st_size)[-4:]
    for place, path in zip((0, 1, 5000, 9000), damaged, strict=True):  # tokens, and tables of documents
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
    prepare(tmp_path / "in", tmp_path / "out", **options)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def test_an_item_that_is_damaged_whenever_it_is_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(item: ItemFile) -> None:
        raise DamagedItemError(str(item.path))

    monkeypatch.setattr(ItemFile, "require_whole", refuse)
    (tmp_path / "x.txt").write_text("text")
    for inputs in (iter(["text"]), tmp_path / "x.txt"):
        with pytest.raises(PrepareError, match=r"\.item was changed or damaged after it was written\. Run the same"):
            prepare(inputs, tmp_path / "out", executor=Here())
    monkeypatch.undo()
    prepare(iter(["text"]), tmp_path / "out", executor=Here())


def test_an_unfinished_store_cannot_be_opened(inputs: Path, tmp_path: Path) -> None:
    prepare(inputs, tmp_path, part=(1, 1))
    for folder in (tmp_path, tmp_path / "train", tmp_path / "unfinished"):
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
