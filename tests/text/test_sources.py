"""What ``inputs`` may be: files, folders, links, patterns, standard input, iterables; their order and their names."""

import gzip
import io
import json
import ntpath
import os
import posixpath
from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import TEXTS, as_jsonl, same_ids, snapshot
from windrow import open_store, prepare
from windrow.errors import PrepareError, SourceError
from windrow.preparing.tally import Report
from windrow.text.sources import names_of


@pytest.mark.parametrize("documents", [TEXTS, [{"text": text, "id": 0} for text in TEXTS]], ids=["str", "dict"])
def test_an_iterable_holds_documents(tmp_path: Path, documents: list[Any]) -> None:
    same_ids(prepare(iter(documents), tmp_path)["train"], TEXTS)


def test_standard_input_is_one_text_and_with_any_text_key_or_a_form_it_is_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[tuple[dict[str, Any], bytes, list[str]]] = [
        ({}, b"one\ntwo\n", ["one\ntwo\n"]),
        ({}, b'"{text}" is no object', ['"{text}" is no object']),
        ({}, b"{text} is no object\n", ["{text} is no object\n"]),
        ({"text_key": "body"}, as_jsonl(TEXTS, "body"), TEXTS),
        ({"text_key": "text"}, as_jsonl(TEXTS), TEXTS),
        ({"form": "jsonl"}, as_jsonl(TEXTS), TEXTS),
        ({"form": "json"}, as_jsonl(TEXTS), TEXTS),
        ({"form": "json"}, json.dumps([{"text": text} for text in TEXTS]).encode(), TEXTS),
        ({"form": "text", "text_key": "body"}, b'{"text": 1}\n', ['{"text": 1}\n']),
    ]
    for number, (options, data, texts) in enumerate(ways):
        dest = tmp_path / str(number)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        prepare("-", dest, **options)
        same_ids(open_store(dest / "train"), texts)


def test_a_form_says_what_files_are_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.md", "b.txt", "c"):
        (tmp_path / "in" / name).write_text(f'{{"text": "{name}"}}\n')
    texts = prepare(tmp_path / "in", tmp_path / "text", form="text")["train"]
    same_ids(texts, [f'{{"text": "{name}"}}\n' for name in ("a.md", "b.txt", "c")])
    for form in ("jsonl", "json"):
        same_ids(prepare(tmp_path / "in", tmp_path / form, form=form)["train"], ["a.md", "b.txt", "c"])
    same_ids(prepare(tmp_path / "in/c", tmp_path / "one", form="text")["train"], ['{"text": "c"}\n'])
    with pytest.raises(PrepareError, match="made with form='jsonl', and this command has 'text'"):
        prepare(tmp_path / "in", tmp_path / "jsonl", form="text")
    with pytest.raises(ValueError, match=r"form is 'csv', and it is one of .*'jsonl'"):
        prepare(tmp_path / "in", tmp_path / "out", form="csv")  # type: ignore[arg-type]


def test_a_form_that_names_tell_anyway_is_not_written_down(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("text")
    prepare(tmp_path / "b.txt", tmp_path / "named")
    prepare(tmp_path / "b.txt", tmp_path / "told", form="text")
    assert snapshot(tmp_path / "named") == snapshot(tmp_path / "told")


def test_a_folder_says_and_counts_what_it_passes_over(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    for name in ("a.txt", "b.md", "c.CSV.gz", "sub/d.md", "sub/LICENSE", "dataset_info.json"):
        (tmp_path / "in" / name).write_text("text")
    reports: list[Report] = []
    for _ in range(2):  # its own stores and unfinished work are none of it
        dest = tmp_path / "in/corpus"
        store = prepare(tmp_path / "in", dest, on_report=reports.append)["train"]
        same_ids(store, ["text"])
        assert store.manifest is not None
        assert store.manifest.ledger["passed_over_files"] == 5
        assert reports[-1].passed_over == {".md": 2, ".csv.gz": 1, ".json": 1, "no suffix": 1}
        (dest / "train/manifest.json").unlink()  # as if it had been killed just before
    (tmp_path / "in/c4.json.gz").write_bytes(gzip.compress(b'{"text": "c4"}'))
    same_ids(prepare(tmp_path / "in", tmp_path / "out")["train"], ["text", "c4"])


def test_a_folder_of_nothing_but_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_text('[{"text": "one"}]')
    for _ in range(2):
        same_ids(prepare(tmp_path / "in", tmp_path / "in/corpus")["train"], ["one"])
        (tmp_path / "in/corpus/train/sources.jsonl").unlink()
        (tmp_path / "in/corpus/train/manifest.json").unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.md").write_text("text")
    with pytest.raises(SourceError, match=r"holds no file of a known form.*--form"):
        prepare(tmp_path / "other", tmp_path / "out")


def test_inputs_are_read_in_the_order_of_their_names_however_they_are_given(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / f"{name}.txt").write_text(name)
    ways: list[Any] = [
        tmp_path,
        str(tmp_path / "*.txt"),
        [tmp_path / f"{n}.txt" for n in "bca"],
        (tmp_path, tmp_path / "a.txt"),
    ]
    for number, way in enumerate(ways):
        same_ids(prepare(way, tmp_path / f"out{number}")["train"], ["a", "b", "c"])
    assert len({json.dumps(snapshot(tmp_path / f"out{number}")) for number in range(len(ways))}) == 1


def test_a_folder_is_read_with_all_below_it_and_where_links_lead_but_for_what_stores_keep(tmp_path: Path) -> None:
    (tmp_path / "in/sub/deeper").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in/sub/a.txt").write_text("beside a manifest that is no store's")
    (tmp_path / "in/sub/manifest.json").write_text("{}")
    (tmp_path / "in/sub/deeper/b.txt").write_text("deeper")
    (tmp_path / "elsewhere/c.txt").write_text("where a link leads")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "in")
    dest = tmp_path / "in/corpus"
    prepare(tmp_path / "in", dest)
    assert [json.loads(line)["path"] for line in (dest / "train/sources.jsonl").read_text().splitlines()] == [
        "link/c.txt",
        "sub/a.txt",
        "sub/deeper/b.txt",
    ]
    whole = snapshot(dest)
    (dest / "train/manifest.json").unlink()  # as if it had been killed just before
    prepare(tmp_path / "in", dest)
    assert snapshot(dest) == whole


def test_two_inputs_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "x.txt").write_text("one")
    (tmp_path / "in/x.txt").write_text("two")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"in/x\.txt and x\.txt would both be named 'x\.txt'"):
        prepare(["x.txt", str(tmp_path / "in/x.txt")], "out")
    same_ids(prepare(["x.txt", "in/x.txt"], "out")["train"], ["two", "one"])


def test_a_pipe_is_refused_and_not_taken_for_an_empty_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.txt")
    with pytest.raises(SourceError, match=r"x\.txt is a pipe or a device"):
        prepare(tmp_path / "x.txt", tmp_path / "out")


def test_names_of_sources_are_never_absolute(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.txt").write_text("text")
    prepare(tmp_path / "in", tmp_path / "out")
    assert str(tmp_path) not in "".join(path.read_text("latin-1") for path in (tmp_path / "out/train").iterdir())


def test_things_that_are_no_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="document 1 of the iterable is a int"):
        prepare(iter(["one", 2]), tmp_path)  # type: ignore[list-item]
    with pytest.raises(SourceError, match=r"document 0 .* has NoneType under 'text' \(its keys are 'body'"):
        prepare(iter([{"body": "x"}]), tmp_path)
    with pytest.raises(SourceError, match="document 1 of the iterable: half a surrogate pair"):
        prepare(iter(["one", "\ud800"]), tmp_path)
    with pytest.raises(SourceError, match="is not there"):
        prepare(tmp_path / "nothing", tmp_path / "out")


def test_an_input_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one")

    def change(_: Report) -> None:
        (tmp_path / "x.txt").write_text("other")

    with pytest.raises(SourceError, match="changed while it was read"):
        prepare(tmp_path / "x.txt", tmp_path / "out", on_report=change)
    assert not (tmp_path / "out/train").exists()


@pytest.mark.parametrize(
    ("here", "paths", "names"),
    [
        (ntpath, ["C:\\d\\sB.txt", "C:\\d\\s\\a.txt", "C:\\d\\b.txt"], ["b.txt", "s/a.txt", "sB.txt"]),
        (posixpath, ["/d/sB.txt", "/d/s/a.txt", "/d/b.txt"], ["b.txt", "s/a.txt", "sB.txt"]),
        (ntpath, ["d/sB.txt", ".\\d\\b.txt", "d\\s\\a.txt"], ["d/b.txt", "d/s/a.txt", "d/sB.txt"]),
        (posixpath, ["d/sB.txt", "./d/b.txt", "d/s/a.txt"], ["d/b.txt", "d/s/a.txt", "d/sB.txt"]),
        (ntpath, ["D:\\e\\a.txt", "C:\\b.txt", "x\\y.txt"], ["C/b.txt", "D/e/a.txt", "x/y.txt"]),
        (ntpath, ["\\\\host\\share\\b.txt", "D:\\a.txt"], ["host/share/b.txt", "D/a.txt"]),
        (ntpath, ["-", "C:\\d\\b.txt"], ["-", "b.txt"]),
        (posixpath, ["/d/odd:na\\me.txt", "-"], ["-", "odd:na\\me.txt"]),
    ],
)
def test_the_names_of_sources_and_their_order_are_the_same_on_windows(
    here: Any, paths: list[str], names: list[str]
) -> None:
    assert [*names_of(paths, here).values()] == names
