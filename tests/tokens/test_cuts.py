"""Places to cut: the ids of the parts are those of the whole, for the three patterns, and blocks cover their text."""

import re
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from windrow.errors import SourceError
from windrow.text import blocks
from windrow.text.reading import Reading
from windrow.text.sources import Source
from windrow.text.streams import FileBytes, StreamBytes
from windrow.tokens import cuts
from windrow.tokens.patterns import PATTERNS
from windrow.tokens.tokenizer import load_tokenizer

NASTY = (
    "I'll we've DON'T 'S ſ's  two  spaces\n\n\n x1234567 9's 8\u0301 e\u0301e\u0301 naïve\u2019s camelCaseHTTP/path//\n"
    "<|endoftext|> \r\n\r\n日本語。テキスト、 "
    "हिन्दी ไทย ½ Ⅳ ٣٤٥ 👩\u200d👩 a'b 1'd x\u3000y \u0130i\u0307 ǅ a\u200bb\ufeff"
)
texts = st.text(st.one_of(st.sampled_from(NASTY), st.characters(codec="utf-8")), max_size=60)


def cuts_of(text: str) -> list[int]:
    """All places where a text may be cut."""
    return [found.start() for found in cuts._CUT.finditer(text)]


@cache
def reference(pattern: str) -> tiktoken.Encoding:
    """tiktoken with GPT-2's ranks and one of the three patterns: cuts do not depend on the ranks."""
    ranks = load_tokenizer("gpt2")._model.ranks  # type: ignore[union-attr]
    return tiktoken.Encoding(pattern, pat_str=PATTERNS[pattern][-1], mergeable_ranks=ranks, special_tokens={})


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@given(texts, texts)
def test_parts_of_a_text_have_the_ids_of_the_whole(pattern: str, head: str, tail: str) -> None:
    text = head + NASTY + tail
    encode = reference(pattern).encode_ordinary
    whole = encode(text)
    places = cuts_of(text)
    assert places
    for place in places:
        assert encode(text[:place]) + encode(text[place:]) == whole
    edges = [0, *places, len(text)]
    assert [i for a, b in pairwise(edges) for i in encode(text[a:b])] == whole


def test_a_cut_after_a_newline_would_change_ids() -> None:
    encode = reference("gpt2").encode_ordinary
    assert encode("a\n\n") + encode("b") != encode("a\n\nb")  # why the rule is what it is


def test_the_tables_hold_letters_only_before_a_cut_and_neither_letters_nor_marks_after_it() -> None:
    letters, after = re.compile(f"[{cuts._LETTERS}]"), re.compile(f"[{cuts._AFTER}]")
    for char in map(chr, range(0x110000)):
        kind = unicodedata.category(char)
        if letters.match(char):
            assert kind[0] == "L", f"U+{ord(char):04X} is {kind}"
        if after.match(char):
            assert kind[0] not in "LMN", f"U+{ord(char):04X} is {kind}"
            assert char != "'"


@given(texts)
def test_no_cut_lies_within_a_literal_end_of_text(text: str) -> None:
    whole = text + "a<|endoftext|>b" + text
    for place in cuts_of(whole):
        for found in re.finditer(re.escape("<|endoftext|>"), whole):
            assert not found.start() < place < found.end()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some bytes instead of megabytes."""
    for module in (blocks, cuts):
        monkeypatch.setattr(module, "PIECE", 200)
        monkeypatch.setattr(module, "LIMIT", 500)
    monkeypatch.setattr(blocks, "_BLOCK", 300)
    monkeypatch.setattr(blocks, "_STEP", 32)
    monkeypatch.setattr(cuts, "_STEP", 128)
    monkeypatch.setattr(blocks, "_KEEP", 80)


def cut(path: Path, form: str, reading: Reading, compression: str = "") -> list[blocks.Block]:
    size = path.stat().st_size
    source = Source(path.name, str(path), form, compression, size)
    content = StreamBytes(source) if compression else FileBytes(source)
    return list(blocks.blocks(content, source, reading, True))


words = st.one_of(st.text("ab .\n", max_size=300), st.integers(1, 900).map(lambda n: "a b" * n))


@pytest.mark.usefixtures("small")
@given(st.lists(words, max_size=6), st.sampled_from(["<|endoftext|>", "==\n"]))
def test_blocks_cover_a_file_and_hold_whole_documents_or_pieces_of_one(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], between: str
) -> None:
    import gzip

    path = tmp_path_factory.mktemp("blocks") / "x.txt"
    data = ("\n" + between).join(documents).encode()
    path.write_bytes(data)
    reading = Reading(separator="==", literal_eos="split")
    found = cut(path, "text", reading)
    assert [block.start for block in found] == [0, *(block.next for block in found[:-1])]
    assert found[-1].next == len(data)
    whole = cuts_documents(data, reading)
    assert cuts_blocks(data, found, reading) == whole
    packed = path.with_name("x.gz")
    packed.write_bytes(gzip.compress(data))
    assert cut(packed, "text", reading, "gz") == found


def cuts_documents(data: bytes, reading: Reading) -> list[bytes]:
    """The oracle: the pieces of each document, by one split of the whole."""
    from windrow.text.parse import documents

    found = [document.text.encode() for document in documents(data, "text", 0, reading)]  # type: ignore[union-attr]
    return [piece for document in found for piece in cuts.cut_long(document) or ()]


def cuts_blocks(data: bytes, found: list[blocks.Block], reading: Reading) -> list[bytes]:
    pieces: list[bytes] = []
    for block in found:
        part = data[block.start : block.stop]
        pieces += [part] if block.piece else cuts_documents(part, reading)
    return pieces


@pytest.mark.usefixtures("small")
def test_text_without_a_place_to_cut_is_an_error_that_names_file_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "spaces.txt"
    path.write_text("word " + " " * 1000)
    with pytest.raises(SourceError, match=r"spaces.txt has no place to cut .* after byte 200"):
        cut(path, "text", Reading())


@pytest.mark.usefixtures("small")
def test_a_line_of_json_may_be_as_long_as_the_limit_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1000)
    path = tmp_path / "x.jsonl"
    lines = [b"1" * 10, b"2" * 900, b"3" * 10]
    path.write_bytes(b"\n".join(lines))
    found = cut(path, "jsonl", Reading())
    assert b"".join(path.read_bytes()[block.start : block.stop] for block in found) == path.read_bytes()
    assert all(block.piece is None for block in found)
    path.write_bytes(b"1\n" + b"2" * 2000)
    with pytest.raises(SourceError, match="a line longer than"):
        cut(path, "jsonl", Reading())
