"""The command ``windrow prepare``: what it prints, its flags, and how it stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from prepare_helpers import real_texts, same_ids, snapshot
from windrow import open_store
from windrow.cli.main import app
from windrow.cli.terminal import progress_text
from windrow.preparing.tally import Report


def windrow(*arguments: Any, code: int = 0) -> Result:
    out = CliRunner().invoke(app, ["prepare", *map(str, arguments)])
    assert out.exit_code == code, out.output
    return out


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "x.jsonl"
    path.parent.mkdir()
    rows = [{"body": f"document {n % 40}"} for n in range(50)] + [{"body": None}, {"other": "x"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("memory", ["0", "-1", "nan", "inf"])
def test_memory_that_is_no_size_is_refused(lines: Path, tmp_path: Path, memory: str) -> None:
    assert "--memory is" in windrow(lines, tmp_path / "out", "--memory", memory, code=2).stderr


def test_the_summary_says_what_was_made_and_what_was_left_out(lines: Path, tmp_path: Path) -> None:
    flags = ["--text-key", "body", "--dedupe", "--on-error", "skip"]
    out = windrow(lines, tmp_path / "out", *flags)
    assert "longest document 3 tokens, shortest 3" in out.stdout
    assert "left out: 10 duplicates" in out.stderr
    assert "left out: 2 documents that cannot be read; the first:\n  x.jsonl, line 51: 'body' is null" in out.stderr
    assert "bytes of text a token" in out.stderr
    again = windrow(lines, tmp_path / "out", *flags)
    assert "finished already: verified" in again.stderr


def test_rows_of_ids_and_boundaries_have_their_flags_and_errors_name_them(tmp_path: Path) -> None:
    rows = [{"input_ids": [n, n + 1], "labels": [-100, n + 1]} for n in range(20)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = ["--ids-key", "input_ids", "--mask-key", "labels", "--tokenizer", "bytes"]
    out = windrow(tmp_path / "x.jsonl", tmp_path / "out", *flags, "--boundary", "eos")
    assert "bytes of text a token" not in out.stderr
    store = open_store(tmp_path / "out/train")
    assert (store.num_tokens, store.has_counts, store.boundary) == (60, True, "eos")
    other = windrow(tmp_path / "x.jsonl", tmp_path / "out", *flags, code=1).stderr
    assert "made with --boundary eos, and this command has 'none'" in other
    assert "no --ids-key says where" in windrow(tmp_path / "x.jsonl", tmp_path / "no", *flags[2:], code=1).stderr
    lost = windrow(tmp_path / "x.jsonl", tmp_path / "no", "--parts-key", "turns", code=1).stderr
    assert "line 1: no key 'turns' (it has 'input_ids', 'labels'). Name the right one with --parts-key" in lost


def test_the_summary_says_what_a_folder_passed_over_and_a_form_is_one_of_five(lines: Path, tmp_path: Path) -> None:
    (lines.parent / "notes.md").write_text("notes")
    (lines.parent / "marked.txt").write_bytes(b"\xef\xbb\xbftext")
    out = windrow(lines.parent, tmp_path / "out", "--text-key", "body", "--on-error", "skip")
    assert "passed over: 1 file in folders (.md); to read such files, name them and give --form" in out.stderr
    assert "left out: 1 byte order mark at the head of a text" in out.stderr
    windrow(lines.parent / "notes.md", tmp_path / "notes", "--form", "text")
    same_ids(open_store(tmp_path / "notes/train"), ["notes"])
    assert "'parquet', 'arrow'" in windrow(lines, tmp_path / "x", "--form", "csv", code=2).stderr


def test_json_is_for_programs(lines: Path, tmp_path: Path) -> None:
    out = windrow(lines, tmp_path / "out", "--text-key", "body", "--on-error", "skip", "--json")
    said = json.loads(out.stdout)
    assert said["stores"]["train"]["num_documents"] == 50
    assert said["run"]["num_skipped"] == 2
    assert sorted(said["run"]["worker_seconds"]) == ["encode", "read", "start", "write"]


def test_an_error_names_file_and_line_and_nothing_is_published(lines: Path, tmp_path: Path) -> None:
    out = windrow(lines, tmp_path / "out", "--text-key", "body", code=1)
    assert "x.jsonl, line 51: 'body' is null" in out.stderr
    assert not (tmp_path / "out/train").exists()


def test_a_dry_run_writes_nothing_and_is_about_right(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.txt").write_text("".join(real_texts(12_000_000)), encoding="utf-8")
    said = json.loads(windrow(tmp_path / "in", tmp_path / "out", "--dry-run", "--json").stdout)
    assert not (tmp_path / "out").exists()
    made = json.loads(windrow(tmp_path / "in", tmp_path / "out", "--json").stdout)["stores"]["train"]
    assert 0.5 < said["num_tokens"] / made["num_tokens"] < 2
    assert 0 < said["seconds"] < 100


def test_a_dry_run_refuses_the_flags_that_a_run_refuses(lines: Path, tmp_path: Path) -> None:
    for flags, message, code in (
        (["--literal-eos", "keep"], "'keep' is not one of", 2),
        (["--separator", ""], "--separator is ''", 1),
    ):
        for dry in ([], ["--dry-run"]):
            assert message in windrow(lines, tmp_path / "out", *flags, *dry, code=code).stderr


def test_parts_and_finish_make_the_store_of_one_run(lines: Path, tmp_path: Path) -> None:
    flags = ["--text-key", "body", "--on-error", "skip"]
    windrow(lines, tmp_path / "one", *flags)
    for part in ("2/2", "1/2"):
        assert f"part {part} is done" in windrow(lines, tmp_path / "parts", *flags, "--part", part).stderr
    finished = windrow(lines, tmp_path / "parts", *flags, "--finish", "--part", "1/1").stderr
    assert "part 1/1 of the stores' files is written" in finished
    windrow(lines, tmp_path / "parts", *flags, "--finish")
    assert snapshot(tmp_path / "parts") == snapshot(tmp_path / "one")
    assert "looks like 3/64" in windrow(lines, tmp_path / "x", "--part", "three", code=1).stderr
    windrow(lines, tmp_path / "x", "--dry-run", "--finish", code=2)


def test_a_separator_and_a_literal_end_of_text_divide_documents(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\n---\ntwo<|endoftext|>three")
    windrow(tmp_path / "x.txt", tmp_path / "out", "--separator=---", "--literal-eos", "split")
    same_ids(open_store(tmp_path / "out/train"), ["one\n", "two", "three"])


def test_ctrl_c_stops_all_processes_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("".join(real_texts(12_000_000)), encoding="utf-8")
    for number in range(100):  # so much that it cannot be done before it is stopped, and takes no disk
        (tmp_path / f"y{number}.txt").symlink_to("x.txt")
    command = [sys.executable, "-m", "windrow", "prepare", str(tmp_path / "*.txt"), str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        while not list((tmp_path / "out").glob("unfinished/*.item")):
            assert run.poll() is None, "it was done before it could be stopped"
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=60)  # ends when the last process has closed the pipe
    assert run.returncode == 130
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    for path in tmp_path.glob("y*.txt"):
        path.unlink()
    windrow(tmp_path / "*.txt", tmp_path / "out")
    assert not (tmp_path / "out/unfinished").exists()


def test_progress_has_rates_and_the_time_left() -> None:
    report = Report(1000, 3_000_000, 12_000_000, 36_000_000, 2.0, 0, {}, 0, ())
    assert progress_text(report) == "1,000 documents  6.0 MB/s  1,500,000 tokens/s  0:04 left"
    assert Report(1, 1, 1, None, 1.0, 0, {}, 0, ()).seconds_left is None
