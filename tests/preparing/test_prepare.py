"""prepare: every form of input gives tiktoken's ids; nothing vanishes silently; errors name the place."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare_helpers import EOS, EOT, origins, real_texts, reference, same_ids, snapshot
from windrow import open_store, prepare
from windrow.errors import NotEnoughTokensError, PrepareError, SourceError, TokenizerError
from windrow.preparing.tally import Report

TEXTS = ["The hay was cut.", "", "日本語。\r\n  two  spaces\n", "a\0b \ufeff", "I'll \n\n\n go 1234567 <|endoftext|>!"]


def as_jsonl(texts: list[str], key: str = "text") -> bytes:
    return "".join(
        json.dumps({"id": n, key: text}, ensure_ascii=n % 2 == 0) + "\n" for n, text in enumerate(texts)
    ).encode()


def zst(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        zstd = pytest.importorskip("backports.zstd")
    return zstd.compress(data)


# -- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_text_file_is_one_document(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zst}[suffix]
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt{suffix}").write_bytes(pack(text.encode()))
    same_ids(prepare(tmp_path, tmp_path / "out")["train"], TEXTS)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_line_of_jsonl_is_a_document(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zst}[suffix]
    (tmp_path / f"x.jsonl{suffix}").write_bytes(pack(as_jsonl(TEXTS, "content") + b"\n  \n"))
    same_ids(prepare(tmp_path, tmp_path / "out", text_key="content")["train"], TEXTS)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["parquet", "arrow", "stream", "dictionary"])
def test_a_row_of_a_table_is_a_document(tmp_path: Path, form: str, suffix: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [*TEXTS, *(f"document {n}" for n in range(5000))]
    table = arrow.table({"id": list(range(len(texts))), "text": texts})
    path = tmp_path / ("x.parquet" if form == "parquet" else "x.arrow")
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=700)
    elif form == "dictionary":
        table = table.set_column(1, "text", table["text"].dictionary_encode())
        with arrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, 900)
    else:
        new = arrow.ipc.new_file if form == "arrow" else arrow.ipc.new_stream  # datasets caches are streams
        with new(path, table.schema) as writer:
            writer.write_table(table, 900)
    if suffix:
        path.with_name(path.name + suffix).write_bytes({".gz": gzip.compress, ".zst": zst}[suffix](path.read_bytes()))
        path.unlink()
    store = prepare(tmp_path, tmp_path / "out")["train"]
    same_ids(store, texts)
    assert [row[1] for row in origins(tmp_path / "out/train")] == list(range(1, len(texts) + 1))


def test_bytes_of_text_are_those_of_the_texts_whatever_they_lie_in(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = ["plain", "na\u00efve", 'a "quoted" line\n', "one<|endoftext|>two"]
    parquet.write_table(arrow.table({"text": texts}), tmp_path / "a.parquet")
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "c.txt").write_text("one<|endoftext|>two")
    store = prepare(tmp_path, tmp_path / "out", literal_eos="split")["train"]
    expected = 2 * (sum(len(text.encode()) for text in texts[:3]) + 6) + 6
    assert store.manifest.ledger["input_text_nbytes"] == expected


def test_members_of_a_gzip_and_frames_of_a_zstd_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"text") + b"\0" * 512)
    (tmp_path / "b.txt.zst").write_bytes(zst(b"one ") + zst(b"text"))
    same_ids(prepare(tmp_path, tmp_path / "out")["train"], ["one text"] * 2)


@pytest.mark.parametrize("documents", [TEXTS, [{"text": text, "id": 0} for text in TEXTS]], ids=["str", "dict"])
def test_an_iterable_holds_documents(tmp_path: Path, documents: list[Any]) -> None:
    same_ids(prepare(iter(documents), tmp_path)["train"], TEXTS)


def test_standard_input_is_one_text_and_with_a_text_key_it_is_jsonl(tmp_path: Path) -> None:
    for key, data, texts in (("text", b"one\ntwo\n", ["one\ntwo\n"]), ("body", as_jsonl(TEXTS, "body"), TEXTS)):
        code = f"import windrow; windrow.prepare('-', {str(tmp_path / key)!r}, text_key={key!r})"
        subprocess.run([sys.executable, "-c", code], input=data, check=True, timeout=60)
        same_ids(open_store(tmp_path / key / "train"), texts)


def test_a_separator_line_stands_between_documents(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"one\n---\ntwo\r\n---\r\n---- not\n---\n")
    store = prepare(tmp_path / "x.txt", tmp_path / "out", separator="---")["train"]
    same_ids(store, ["one\n", "two\r\n", "---- not\n"])
    assert origins(tmp_path / "out/train") == [[0, 1, 0, 4], [0, 3, 8, 13], [0, 5, 18, 27]]


def test_half_a_line_at_the_end_of_a_block_is_no_separator(tmp_path: Path) -> None:
    before = ("line of words\n" * (1 << 20))[: (1 << 23) - 4] + "\n"  # the first block ends after the three dashes
    after = "more words\n" * 900_000  # and there is no other separator near
    for number, (line, documents) in enumerate(
        [("---x and more\n", [f"{before}---x and more\n{after}"]), ("---\n", [before, after])]
    ):
        (tmp_path / "x.txt").write_text(before + line + after)
        store = prepare(tmp_path / "x.txt", tmp_path / f"out{number}", separator="---")["train"]
        same_ids(store, documents)


def test_inputs_are_read_in_the_order_of_their_names_however_they_are_given(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "notes.md").write_text("a folder gives files of known forms only")
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


# -- literal end of text -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_literal_end_of_text_is_plain_text_unless_asked_otherwise(tmp_path: Path, form: str) -> None:
    text = f"one{EOT}two{EOT}"
    path = tmp_path / f"x.{form}"
    path.write_bytes(text.encode() if form == "txt" else as_jsonl([text]))
    same_ids(prepare(path, tmp_path / "text")["train"], [text])
    same_ids(prepare(path, tmp_path / "split", literal_eos="split")["train"], ["one", "two"])
    special = prepare(path, tmp_path / "special", literal_eos="special")["train"]
    assert special.num_documents == 1
    assert special.tokens().tolist() == [*reference().encode(text, allowed_special={EOT}), EOS]
    with pytest.raises(SourceError, match=r"line 1: literal <\|endoftext\|>"):
        prepare(path, tmp_path / "error", literal_eos="error")
    assert not (tmp_path / "error/train").exists()


# -- real text, in parallel ------------------------------------------------------------------------------------------

MB = 1_000_000


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return real_texts(50 * MB)


def test_fifty_megabytes_of_real_files_have_tiktokens_ids_and_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, corpus: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number, text in enumerate(corpus):
        (tmp_path / f"in/{number:06d}.txt").write_bytes(text.encode())
    store = prepare(tmp_path / "in", tmp_path / "out2", workers=2)["train"]
    same_ids(store, corpus)
    prepare(tmp_path / "in", tmp_path / "out3", workers=3)
    assert snapshot(tmp_path / "out2") == snapshot(tmp_path / "out3")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/x.jsonl.zst").write_bytes(zst(as_jsonl(corpus)))
    assert np.array_equal(prepare(tmp_path / "one", tmp_path / "jsonl")["train"].tokens(), store.tokens())


def test_one_file_of_two_hundred_megabytes_is_cut_in_parallel_and_has_the_ids_of_the_whole(
    tmp_path: Path, corpus: list[str]
) -> None:
    text = "\n" + "".join(corpus) + " end"  # copies join where text may be cut: ids of 4 copies are 4 times the ids
    ids = np.array(reference().encode_ordinary(text[: 10 * MB] + " end"), np.int64)
    with open(tmp_path / "x.txt", "wb") as file:
        for _ in range(20):
            file.write((text[: 10 * MB] + " end").encode())
    store = prepare(tmp_path / "x.txt", tmp_path / "out")["train"]
    assert store.num_documents == 1
    assert np.array_equal(store.tokens(), np.append(np.tile(ids, 20), EOS))
    assert origins(tmp_path / "out/train") == [[0, 1, 0, (tmp_path / "x.txt").stat().st_size]]


@pytest.mark.parametrize("literal_eos", ["text", "split"])
def test_a_compressed_stream_and_a_plain_file_give_the_same_tokens(
    tmp_path: Path, corpus: list[str], literal_eos: Any
) -> None:
    data = EOT.join([*corpus[:300], "".join(corpus)[: 20 * MB], *corpus[300:600]]).encode()
    (tmp_path / "x.txt").write_bytes(data)
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(data, 1))
    plain = prepare(tmp_path / "x.txt", tmp_path / "plain", literal_eos=literal_eos)["train"]
    packed = prepare(tmp_path / "x.txt.gz", tmp_path / "packed", literal_eos=literal_eos)["train"]
    assert np.array_equal(plain.tokens(), packed.tokens())
    assert origins(tmp_path / "plain/train") == origins(tmp_path / "packed/train")
    assert plain.num_documents == (1 if literal_eos == "text" else 601)


def test_ten_thousand_small_files_are_read_many_to_an_item(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    texts = [f"file number {number}\n" for number in range(10_000)]
    for number, text in enumerate(texts):
        (tmp_path / f"in/{number:05d}.txt").write_text(text)
    same_ids(prepare(tmp_path / "in", tmp_path / "out")["train"], texts)


LONG = 5 * MB
ADVERSARIAL = {
    "letter": "a" * LONG,
    "spaces": " " * LONG,
    "newlines": "\n" * LONG,
    "digits": "7" * LONG,
    "crlf": "\r\n" * (LONG // 2),
    "emoji": "👩\u200d👩\u200d👧\u200d👦" * (LONG // 25),
    "nul": "\0" * LONG,
    "controls": EOT * (LONG // 13),
    "chinese": "今天天气很好，我们去公园。" * (LONG // 39),
    "numbers": "3.14159,2.71828\n" * (LONG // 16),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_text_of_five_megabytes_has_tiktokens_ids(tmp_path: Path, kind: str) -> None:
    text = ADVERSARIAL[kind]
    (tmp_path / "x.txt").write_bytes(text.encode())
    try:
        ids = reference().encode_ordinary(text)
    except BaseException:  # a PanicException; what tiktoken cannot do is compared at the length it can
        text = text[: LONG // 50]
        ids = reference().encode_ordinary(text)
        (tmp_path / "x.txt").write_bytes(text.encode())
    store = prepare(tmp_path / "x.txt", tmp_path / "out")["train"]
    assert np.array_equal(store.tokens(), [*ids, EOS])


def test_random_unicode_from_every_plane_has_tiktokens_ids(tmp_path: Path) -> None:
    choose = random.Random(1)
    planes = [[chr(choose.randrange(low, low + 0x10000)) for _ in range(3000)] for low in range(0, 0x110000, 0x10000)]
    pool = [char for plane in planes for char in plane if not "\ud800" <= char <= "\udfff"]
    text = "".join(choose.choices([*pool, *"abc 123\n.,'"], k=1_500_000))
    (tmp_path / "x.txt").write_bytes(text.encode())
    assert (tmp_path / "x.txt").stat().st_size > 1 << 22  # long enough to be cut
    same_ids(prepare(tmp_path / "x.txt", tmp_path / "out")["train"], [text])


# -- what is wrong with inputs -----------------------------------------------------------------------------------------


def test_invalid_utf8_is_an_error_with_file_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"good\n\xff")
    with pytest.raises(SourceError, match=r"x\.txt, line 2: not UTF-8: byte 0xff at offset 5"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    assert not (tmp_path / "out/train").exists()


def test_a_byte_that_is_not_utf8_far_into_a_long_document_is_named_by_its_offset(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"some words \n" * 2_000_000 + b"\xfe more")
    with pytest.raises(SourceError, match=r"line 2000001: not UTF-8: byte 0xfe at offset 24000000"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    (tmp_path / "y.txt").write_text("good")
    store = prepare(tmp_path, tmp_path / "out", on_error="skip")["train"]
    same_ids(store, ["good"])  # all of a bad document goes, not only its bad piece
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1


def test_a_long_document_that_is_bad_in_many_places_counts_once_and_is_no_duplicate(tmp_path: Path) -> None:
    for name, size in (("a", 9_000_000), ("b", 9_000_000), ("c", 7_000_000)):
        data = bytearray(b"some words \n" * (size // 12))
        data[100] = data[-100] = 0xFE
        (tmp_path / f"{name}.txt").write_bytes(data)
    (tmp_path / "d.txt").write_text("good")
    reports: list[Any] = []
    prepare(tmp_path, tmp_path / "out", on_error="skip", dedupe=True, on_report=reports.append)
    store = open_store(tmp_path / "out/train")
    same_ids(store, ["good"])
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == reports[-1].num_skipped == 3
    assert store.manifest.ledger["duplicate_documents"] == reports[-1].num_duplicates == 0


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("lost", [1, 4, 1000])
@pytest.mark.parametrize("size", [100_000, 30_000_000], ids=["small", "large"])
def test_a_truncated_stream_is_an_error_and_never_half_a_corpus(
    tmp_path: Path, suffix: str, lost: int, size: int
) -> None:
    text = "".join(real_texts(50 * MB))[:size]
    data = gzip.compress(text.encode(), 1) if suffix == ".gz" else zst(text.encode())
    (tmp_path / f"x.txt{suffix}").write_bytes(data[:-lost])
    with pytest.raises(SourceError, match="is damaged near byte"):
        prepare(tmp_path / f"x.txt{suffix}", tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out/train").exists()


@pytest.mark.parametrize("data", [b"", b"not compressed at all", gzip.compress(b"text", mtime=0) + b"garbage"])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path: Path, data: bytes, suffix: str) -> None:
    (tmp_path / f"x.txt{suffix}").write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        prepare(tmp_path / f"x.txt{suffix}", tmp_path / "out")


BAD_LINES = {
    b'{"text": "x"': "not JSON",
    b'{"text": null}': "'text' is null",
    b'{"text": 7}': "'text' is int",
    b'{"body": "x"}': r"no key 'text' \(it has 'body'\)",
    b'["x"]': "a JSON list, and each line must be an object",
    b'{"text": "\xff"}': "not UTF-8: byte 0xff",
    b'{"text": "\\ud800"}': "surrogate",
    b'{"text": ' + b"[" * 100_000: "nested too deep|not JSON",
    b'{"text": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deep",
    b'{"text": ' + b"9" * 5000 + b"}": "not JSON that can be read: .* 5000 digits",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line_or_skipped_and_counted(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "two"}\n')
    with pytest.raises(SourceError, match=rf"x\.jsonl, line 2: .*({BAD_LINES[line]})"):
        prepare(tmp_path / "x.jsonl", tmp_path / "out")
    reports: list[Any] = []
    store = prepare(tmp_path / "x.jsonl", tmp_path / "out", on_error="skip", on_report=reports.append)["train"]
    same_ids(store, ["one", "two"])
    assert store.manifest is not None
    assert store.manifest.ledger["skipped_documents"] == 1
    assert reports[-1].is_finished
    assert reports[-1].num_skipped == 1
    assert reports[-1].skipped[0].startswith("x.jsonl, line 2: ")


def test_json_that_the_fast_decoder_refuses_but_python_takes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "one", "score": NaN}\n{"text": "two", "text": "three"}\n')
    same_ids(prepare(tmp_path / "x.jsonl", tmp_path / "out")["train"], ["one", "three"])


def test_null_rows_and_missing_columns_of_tables_are_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["one", None, "two"], "n": [1, 2, 3]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet, row 2: 'text' is null"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(SourceError, match=r"no column 'body'; it has 'text', 'n'"):
        prepare(tmp_path, tmp_path / "out", text_key="body")
    with pytest.raises(SourceError, match=r"column 'n' of .* is of type int64"):
        prepare(tmp_path, tmp_path / "out", text_key="n")
    same_ids(prepare(tmp_path, tmp_path / "out", on_error="skip")["train"], ["one", "two"])
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-9])
    with pytest.raises(SourceError, match="no whole parquet file"):
        prepare(tmp_path, tmp_path / "out2")


def test_a_row_of_a_table_that_is_not_utf8_is_named_or_skipped(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    ends = arrow.array([0, 3, 5, 8], arrow.int32()).buffers()[1]
    texts = arrow.Array.from_buffers(arrow.string(), 3, [None, ends, arrow.py_buffer(b"onex\xfftwo")])
    parquet.write_table(arrow.table({"text": texts}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x\.parquet, row 2: 'text' is not UTF-8: byte 0xff at offset 1"):
        prepare(tmp_path, tmp_path / "out")
    same_ids(prepare(tmp_path, tmp_path / "out", on_error="skip")["train"], ["one", "two"])


def test_a_separator_or_a_key_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    for name in ("separator", "text_key"):
        with pytest.raises(ValueError, match=rf"{name} is '\\udcff', which is not UTF-8"):
            prepare(tmp_path, tmp_path / "out", **{name: os.fsdecode(b"\xff")})  # type: ignore[arg-type]


def test_things_that_are_no_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="document 1 of the iterable is a int"):
        prepare(iter(["one", 2]), tmp_path)  # type: ignore[list-item]
    with pytest.raises(SourceError, match=r"document 0 .* has NoneType under 'text' \(its keys are 'body'"):
        prepare(iter([{"body": "x"}]), tmp_path)
    with pytest.raises(SourceError, match="document 1 of the iterable: half a surrogate pair"):
        prepare(iter(["one", "\ud800"]), tmp_path)
    with pytest.raises(SourceError, match="is not there"):
        prepare(tmp_path / "nothing", tmp_path / "out")


def test_no_documents_at_all_is_an_error_and_empty_files_are_documents(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match="hold no document"):
        prepare(iter([]), tmp_path / "none")
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "y.txt").write_text("")
    with pytest.raises(NotEnoughTokensError, match="hold 2 documents, all of them empty"):
        prepare([tmp_path / "x.txt", tmp_path / "y.txt"], tmp_path / "empty")
    (tmp_path / "y.txt").write_text("!")
    store = prepare([tmp_path / "x.txt", tmp_path / "y.txt"], tmp_path / "out")["train"]
    assert store.tokens().tolist() == [EOS, 0, EOS]


class Doubling:
    """A tokenizer that ends each text itself."""

    vocab_size, eos_id, fingerprint = 300, 256, "doubling"

    def encode(self, text: str) -> list[int]:
        return [*text.encode(), 256]

    def decode(self, ids: Any) -> str:
        return bytes(ids).decode()


class Wrapping(Doubling):
    """A tokenizer with ids that its vocab_size denies."""

    def encode(self, text: str) -> list[int]:
        return [70_000]


def test_a_tokenizer_that_writes_eos_itself_or_ids_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="made 1 eos tokens"):
        prepare(iter(["x"]), tmp_path, tokenizer=Doubling())
    with pytest.raises(TokenizerError, match="70000"):
        prepare(iter(["x"]), tmp_path, tokenizer=Wrapping())
    assert not (tmp_path / "train").exists()


def test_a_wrong_id_is_caught_by_the_comparison_with_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windrow.tokens import encoder

    real = encoder.Encoder._encode
    monkeypatch.setattr(
        encoder.Encoder, "_encode", lambda self, texts: (real(self, texts)[0] ^ 1, real(self, texts)[1])
    )
    with pytest.raises(TokenizerError, match=r"at the start of an item the ids .* differ from the reference"):
        prepare(iter(["some text"]), tmp_path)


def test_a_wrong_cut_is_caught_at_the_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    from windrow.tokens import cuts

    monkeypatch.setattr(cuts, "_CUT", re.compile(r"(?<=\n)(?=a)"))  # ids do change there
    (tmp_path / "x.txt").write_bytes(b"a line of text\n\n" * 300_000)
    with pytest.raises(TokenizerError, match="at a seam the ids"):
        prepare(tmp_path / "x.txt", tmp_path / "out")
    monkeypatch.undo()
    prepare(tmp_path / "x.txt", tmp_path / "out")


def test_an_input_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one")

    def change(_: Report) -> None:
        (tmp_path / "x.txt").write_text("other")

    with pytest.raises(SourceError, match="changed while it was read"):
        prepare(tmp_path / "x.txt", tmp_path / "out", on_report=change)
    assert not (tmp_path / "out/train").exists()
