"""Inputs that are far away, read through the client on files; ``tests/far`` has a real server."""

import glob
import gzip
import io
import os
import random
from pathlib import Path

import pytest

import windrow as wr

pytest.importorskip("obstore")

from windrow.errors import SourceError
from windrow.far.objects import FarError
from windrow.text import far_files
from windrow.text.far_files import FarFile, find_far, opened

NAMES = ["a.txt", "b.txt", "in/a.txt", "in/b.jsonl", "in/deep/a.txt", "inside.txt", "x[1].txt"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        text = f"Document {number} of {name}. " * (number + 1)
        if name.endswith("jsonl"):
            text = f'{{"text": "{text}"}}\n{{"text": "ein zweiter Text"}}\n'
        (tmp_path / "texts" / name).write_text(text)
    return tmp_path / "texts"


@pytest.mark.parametrize(
    "pattern", ["*.txt", "**/*.txt", "in/*", "in/**", "**", "*/a.txt", "**/deep/*", "[ab].txt", "none*", "*/*/*"]
)
def test_a_glob_finds_what_glob_finds_on_disk(texts: Path, pattern: str) -> None:
    here = [path for path in glob.glob(f"{texts}/{pattern}", recursive=True) if os.path.isfile(path)]
    found, is_folder = find_far(f"file://{texts}/{pattern}")
    assert found == [f"file://{path}" for path in sorted({*here})]
    assert not is_folder


def test_a_folder_is_all_below_it_and_not_what_only_begins_so(texts: Path) -> None:
    found, is_folder = find_far(f"file://{texts}/in")
    assert is_folder
    assert [path.removeprefix(f"file://{texts}/") for path in found] == ["in/a.txt", "in/b.jsonl", "in/deep/a.txt"]


def test_an_object_of_exactly_that_name_is_taken_before_those_that_a_glob_matches(texts: Path) -> None:
    assert find_far(f"file://{texts}/x[1].txt") == ([f"file://{texts}/x[1].txt"], False)


def test_what_is_not_there_is_an_error(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(FarError, match="is not there"):
        wr.prepare(f"file://{texts}/nothing.txt", tmp_path / "corpus", tokenizer="bytes")
    with pytest.raises(SourceError, match="matches nothing"):
        wr.prepare(f"file://{texts}/*.zst", tmp_path / "corpus", tokenizer="bytes")


def test_a_far_file_reads_and_seeks_as_a_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_files, "CHUNK", 1000)
    data = random.Random(3).randbytes(12_345)
    (tmp_path / "data").write_bytes(data)
    far, here, dice = FarFile(f"file://{tmp_path}/data"), io.BytesIO(data), random.Random(4)
    for _ in range(300):
        place, length = dice.randrange(13_000), dice.randrange(3_000)
        assert far.seek(place) == here.seek(place) == far.tell()
        found = b""
        while len(found) < length and (more := far.read(length - len(found))):
            found += more
        assert found == here.read(length)
    with opened(f"file://{tmp_path}/data") as file:
        assert file.read() == data
        assert file.seek(-5, io.SEEK_END) == 12_340
        assert file.read() == data[-5:]


def files_of(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(store.rglob("*.*"))}


def test_prepare_from_far_gives_the_bytes_of_prepare_from_disk(texts: Path, tmp_path: Path) -> None:
    (texts / "packed.txt.gz").write_bytes(gzip.compress(b"A packed text. " * 1000))
    (texts / "long.txt").write_text("The hay was cut on Monday. " * 10_000)
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": ["one row", "another row"]})
    pytest.importorskip("pyarrow.parquet").write_table(table, texts / "table.parquet")
    with pyarrow.ipc.new_file(str(texts / "table.arrow"), table.schema) as file:
        file.write_table(table)
    for name, given in (("here", texts), ("far", texts.as_uri())):
        wr.prepare(str(given), tmp_path / name, tokenizer="bytes", valid_fraction=0.3, workers=2)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "far")
    wr.prepare(texts.as_uri(), tmp_path / "far", tokenizer="bytes", valid_fraction=0.3)  # verified, not done again


def test_a_far_text_that_changes_meanwhile_is_refused(texts: Path, tmp_path: Path) -> None:
    def change(_: object) -> None:
        (texts / "a.txt").write_text("longer than it was before, by far")

    with pytest.raises(ValueError, match="changed while it was read"):
        wr.prepare(texts.as_uri(), tmp_path / "corpus", tokenizer="bytes", workers=1, on_report=change)
