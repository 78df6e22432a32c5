"""Stores copied away and back, through the client on files."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import windrow as wr

pytest.importorskip("obstore")

from windrow.errors import StoreError
from windrow.far.objects import Objects
from windrow.store import copying
from windrow.store.copying import copy_store, parse_sums

BLOCK = 100  # bytes: many blocks, and a last one that is short


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BLOCK", BLOCK)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = ({"parts": [[f"question {n}", 0], [f" answer {n}", 1]], "score": n / 7} for n in range(40))
    wr.prepare(rows, tmp_path / "corpus", parts_key="parts", keep=["score"], tokenizer="bytes", valid_fraction=0.25)
    return tmp_path / "corpus"


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all objects that are written from here on."""
    names, write = list[str](), Objects.write

    def noted(self: Objects, name: str, *given: Any, **more: Any) -> bool:
        names.append(name)
        return write(self, name, *given, **more)

    monkeypatch.setattr(Objects, "write", noted)
    return names


def test_a_copy_there_and_back_is_the_same_files(corpus: Path, tmp_path: Path) -> None:
    url = (tmp_path / "far").as_uri()
    (tmp_path / "far").mkdir()
    assert copy_store(corpus, url) == [f"{url}/train", f"{url}/valid"]
    copy_store(url, tmp_path / "back")
    assert files_below(tmp_path / "back") == files_below(corpus)
    away = files_below(tmp_path / "far")
    assert {name for name in away if "blocks" not in name} == set(files_below(corpus))
    copy_store(f"{url}/valid", tmp_path / "one")
    assert files_below(tmp_path / "one") == files_below(corpus / "valid")


def test_beside_each_shard_lie_the_sums_of_its_blocks(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    copy_store(corpus / "train", (tmp_path / "far").as_uri())
    found = parse_sums((tmp_path / "far" / "blocks-00000.sha256").read_bytes(), "here")
    assert [one.file for one in found][:2] == ["tokens-00000.bin", "documents-00000.npy"]
    assert {one.file for one in found} == set(files_below(corpus / "train")) - {"manifest.json", "sources.jsonl"}
    for one in found:
        data = (corpus / "train" / one.file).read_bytes()
        assert (one.nbytes, one.sha256) == (len(data), sha256(data).hexdigest())
        cut = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        assert list(one.blocks) == [sha256(block).hexdigest() for block in cut]


def test_a_copy_that_was_killed_goes_on_with_what_is_missing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    copy_store(corpus, far.as_uri())
    whole = files_below(far)
    for name in ("train/manifest.json", "valid/manifest.json", "valid/blocks-00000.sha256"):
        (far / name).unlink()  # as after a kill: sums come after a shard, a manifest after all
    names = written(monkeypatch)
    copy_store(corpus, far.as_uri())
    assert files_below(far) == whole
    assert not [name for name in names if name.startswith("train/tokens")], "that shard was there"
    assert "valid/tokens-00000.bin" in names
    names.clear()
    copy_store(corpus, far.as_uri())
    assert {name.rpartition("/")[2] for name in names} <= {"sources.jsonl", "manifest.json"}


def test_a_folder_that_a_file_url_names_is_made_for_a_copy_and_for_nothing_else(corpus: Path, tmp_path: Path) -> None:
    far = tmp_path / "new folder" / "far"
    with pytest.raises(StoreError, match="new folder/far holds no store"):
        copy_store(f"file://{far}", tmp_path / "back")
    with pytest.raises(StoreError, match="there is no store at"):
        copy_store(tmp_path / "nowhere", f"file://{far}")
    assert not far.parent.exists()
    copy_store(corpus, f"file://{far}")
    assert set(files_below(corpus)) <= set(files_below(far))


def test_a_damaged_store_is_not_copied(corpus: Path, tmp_path: Path) -> None:
    tokens = corpus / "train" / "tokens-00000.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\xff")
    (tmp_path / "far").mkdir()
    with pytest.raises(StoreError, match="the manifest says"):
        copy_store(corpus / "train", (tmp_path / "far").as_uri())
    assert not (tmp_path / "far" / "manifest.json").exists()


def test_what_was_damaged_far_away_does_not_come_back(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    copy_store(corpus / "train", (tmp_path / "far").as_uri())
    tokens = tmp_path / "far" / "tokens-00000.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\xff")
    with pytest.raises(StoreError, match=r"tokens-00000.bin has the sha256"):
        copy_store((tmp_path / "far").as_uri(), tmp_path / "back")
    assert not (tmp_path / "back" / "tokens-00000.bin").exists()
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        wr.open_store(tmp_path / "back")


def test_another_store_is_never_written_over(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    copy_store(corpus / "train", (tmp_path / "far").as_uri())
    before = files_below(tmp_path / "far")
    with pytest.raises(StoreError, match="holds another store"):
        copy_store(corpus / "valid", (tmp_path / "far").as_uri())
    assert files_below(tmp_path / "far") == before
    copy_store((tmp_path / "far").as_uri(), tmp_path / "back")
    wr.prepare(iter(["other"]), tmp_path / "other", tokenizer="bytes")
    with pytest.raises(StoreError, match="holds another store"):
        copy_store((tmp_path / "far").as_uri(), tmp_path / "other" / "train")


def test_of_two_that_copy_at_once_the_second_finds_the_store_there(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far").mkdir()
    write = Objects.write

    def raced(self: Objects, name: str, *given: Any, only_if_absent: bool = False) -> bool:
        if only_if_absent:
            write(self, name, *given)  # the other one was quicker
        return write(self, name, *given, only_if_absent=only_if_absent)

    monkeypatch.setattr(Objects, "write", raced)
    copy_store(corpus / "train", (tmp_path / "far").as_uri())
    assert (tmp_path / "far" / "manifest.json").read_bytes() == (corpus / "train" / "manifest.json").read_bytes()


@pytest.mark.parametrize("sides", [("corpus", "other"), ("s3://a/b", "s3://a/c")])
def test_one_side_is_here_and_one_is_far(sides: tuple[str, str]) -> None:
    with pytest.raises(StoreError, match="are both"):
        copy_store(*sides)


def test_where_there_is_no_store_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    with pytest.raises(StoreError, match="no store"):
        copy_store((tmp_path / "far").as_uri(), tmp_path / "back")
    with pytest.raises(StoreError, match="there is no store at"):
        copy_store(tmp_path / "nothing", (tmp_path / "far").as_uri())


@pytest.mark.parametrize("raw", [b"a 5", b"a 500 " + b"0" * 64, b"a x " + b"0" * 64, b"\xff", b"a 50 00\n" + b"0" * 64])
def test_damaged_sums_are_an_error_that_names_them(raw: bytes) -> None:
    with pytest.raises(StoreError, match="blocks-00000"):
        parse_sums(raw, "far/blocks-00000.sha256")
