"""Separators between documents, wherever a block ends."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from prepare_helpers import origins, same_ids
from windrow import prepare
from windrow.text.blocks import delimiter
from windrow.text.reading import Reading
from windrow.text.sources import BOM


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


@given(st.lists(st.sampled_from([b"\n", b"+.", BOM, b"+", b"\r", b"a"]), max_size=12).map(b"".join), st.integers(0, 3))
def test_a_separator_is_a_line_of_its_own_from_wherever_it_is_looked_for(data: bytes, first: int) -> None:
    between, line = delimiter("text", Reading(separator="+.")), rb"(?:\A(?:%b)?|(?<=\n))\+\.\r?(?:\n|\Z)" % BOM
    assert between is not None
    assert [found.span() for found in between.finditer(data, first)] == [
        found.span() for found in re.compile(line).finditer(data, first)
    ]
