"""How the work is divided: each item once, whatever the parts; and a part looks at its own bytes."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import read_by, same_ids
from windrow import prepare
from windrow.preparing import tasks as module
from windrow.preparing.crew import Here
from windrow.preparing.items import Item, Job, job_for
from windrow.preparing.tasks import Packed, Tasks
from windrow.text import blocks
from windrow.text.reading import Reading
from windrow.text.sources import Source, find_sources
from windrow.tokens import cuts
from windrow.tokens.tokenizer import load_tokenizer

MB = 1_000_000
LINE = json.dumps({"text": "Some hay that was cut and raked. " * 60}) + "\n"


def found(inputs: Any, work: Path, reading: Reading | None = None) -> tuple[list[Source], Job]:
    """The sources, and a job on them with the tokenizer of bytes."""
    reading = reading or Reading()
    work.mkdir(exist_ok=True)
    return find_sources(inputs, reading)[0], job_for(work, load_tokenizer("bytes"), reading, hashed=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of some kB instead of megabytes."""
    for one in (blocks, cuts):
        monkeypatch.setattr(one, "PIECE", 1 << 10)
        monkeypatch.setattr(one, "LIMIT", 1 << 12)
    for one, name in ((module, "ITEM"), (blocks, "_BLOCK")):
        monkeypatch.setattr(one, name, 1 << 12)
    monkeypatch.setattr(module, "_SMALL", {"": 1 << 11, "gz": 1 << 9, "zst": 1 << 9})


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("separator", [None, "=="])
def test_parts_have_each_item_once_between_them(tmp_path: Path, separator: str | None) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("some words of a long text, " * 2000)
    (tmp_path / "in/b.jsonl").write_text(LINE * 30)
    (tmp_path / "in/c.jsonl.gz").write_bytes(gzip.compress(b"".join(LINE.encode() + b"%d\n" % n for n in range(300))))
    parquet.write_table(arrow.table({"text": ["one", "two"] * 300}), tmp_path / "in/d.parquet", row_group_size=100)
    for number in range(40):
        (tmp_path / f"in/e{number:02}.txt").write_text("small " * number)
    sources, job = found(tmp_path / "in", tmp_path / "work", Reading(separator=separator))
    whole = [str(task) for task in Tasks(sources, job)]
    assert len(whole) > 40
    for num_parts in (1, 2, 3, 7, 50, 1000):
        parts = [[str(task) for task in Tasks(sources, job, (k, num_parts))] for k in range(1, num_parts + 1)]
        assert [task for part in parts for task in part] == whole


FORMS: dict[str, Callable[[int], bytes]] = {
    "x.txt": lambda nbytes: b"Some hay that was cut and raked. " * (nbytes // 33),
    "x.jsonl": lambda nbytes: LINE.encode() * (nbytes // len(LINE)),
    "x.json": lambda nbytes: LINE.encode() * (nbytes // len(LINE)),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_part_of_a_plain_file_looks_at_one_byte_in_a_hundred(tmp_path: Path, name: str) -> None:
    nbytes, num_parts = 80 * MB, 4
    (tmp_path / name).write_bytes(FORMS[name](nbytes))
    sources, job = found(tmp_path / name, tmp_path / "work")
    for k in range(1, num_parts + 1):
        taken, nbytes_read = read_by(lambda k=k: list(Tasks(sources, job, (k, num_parts))))
        assert len(taken) >= 2
        assert nbytes_read < 0.01 * nbytes / num_parts, k


def test_a_part_opens_no_file_that_is_anothers(tmp_path: Path) -> None:
    for letter in "abcd":
        (tmp_path / f"{letter}.jsonl").write_bytes(FORMS["x.jsonl"](20 * MB))
    sources, job = found(tmp_path, tmp_path / "work")
    own = {str(task).split(",")[0] for task in Tasks(sources, job, (2, 4))}
    assert own == {"b.jsonl"}
    for letter in "acd":
        (tmp_path / f"{letter}.jsonl").unlink()
    assert {str(task).split(",")[0] for task in Tasks(sources, job, (2, 4))} == own


@pytest.mark.usefixtures("small")
def test_compressed_files_are_unpacked_by_who_does_their_items(tmp_path: Path) -> None:
    lines = [LINE.replace("hay", f"hay {n}") for n in range(400)]
    (tmp_path / "in").mkdir()
    for number in range(8):
        data = "".join(lines[number * 50 : number * 50 + 50])
        (tmp_path / f"in/{number}.jsonl.gz").write_bytes(gzip.compress(data.encode()))
    sources, job = found(tmp_path / "in", tmp_path / "work")
    taken, nbytes_read = read_by(lambda: list(Tasks(sources, job)))
    assert [type(task) for task in taken] == [Packed] * 8
    assert nbytes_read < 1000
    assert all(isinstance(task, Item) for task in Tasks(sources[:1], job))  # one: all would wait for it
    for num_files, num_workers, who in ((2, 2, Packed), (2, 4, Item), (4, 4, Packed), (4, 64, Packed), (1, 1, Item)):
        tasks = Tasks([sources[0]] * num_files, job, num_workers=num_workers)
        assert {type(task) for task in tasks} == {who}
    made = prepare(tmp_path / "in", tmp_path / "one", executor=Here())["train"]
    same_ids(made, [json.loads(line)["text"] for line in lines])
