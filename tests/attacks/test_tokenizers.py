"""Hostile tokenizer files: each is refused, or its text is, with a message that names what is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from token_helpers import EOT, hf_file, without_gigatoken
from windrow.cli.main import app
from windrow.errors import TokenizerError
from windrow.tokens.patterns import PATTERNS
from windrow.tokens.tokenizer import load_tokenizer

TOKEN = {"id": 0, "content": EOT, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
TOKEN |= {"special": True}
BACKTRACKS = "(a+)+$"  # twice the work for each further "a"


def split_by(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


def refuses(says: str, call: Any, *args: Any) -> str:
    with pytest.raises(TokenizerError, match=says) as caught:
        call(*args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ([1], "integer `1`, expected"),
        ([None], "invalid type: null"),
        ([[TOKEN]], "sequence|map|invalid"),
        ("x", 'string "x", expected a sequence'),
        ({"a": 1}, "map, expected a sequence"),
        (True, "boolean `true`, expected a sequence"),
        ([{"id": 1}], "missing field `content`"),
        ([TOKEN | {"content": 5}], "integer `5`, expected a string"),
        ([TOKEN | {"id": "5"}], 'string "5", expected u32'),
        ([TOKEN | {"id": -1}], "integer `-1`, expected u32"),
        ([TOKEN | {"special": "yes"}], 'string "yes", expected a boolean'),
    ],
    ids=str,
)
def test_added_tokens_of_a_wrong_type_are_refused(added: Any, says: str, tmp_path: Path) -> None:
    path = hf_file(tmp_path, added_tokens=added)
    said = refuses(says, load_tokenizer, path)
    assert re.search(rf"cannot read '{re.escape(str(path))}': .*Download the file again, or", said)


def test_a_tokenizer_json_nested_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("[" * 200_000, encoding="utf-8")
    refuses(r"is not a tokenizer.json \(ValueError: it is nested too deep\)", load_tokenizer, path)


def test_a_pattern_that_backtracks_without_end_is_an_error_that_names_the_text(tmp_path: Path) -> None:
    known = load_tokenizer(hf_file(tmp_path, pre_tokenizer=split_by(BACKTRACKS)))
    text = "a" * 40 + "!"
    said = refuses(f"tokenizers gave up on the text '{text}' of 41 characters: .*retry-limit", known.encode, text)
    assert "Shorten such runs in the text, or use a tokenizer whose pattern does not backtrack" in said
    refuses(f"one of 3 texts, the longest of which is the text '{text}'", known.encode_batch, ["a", text, "b"])
    assert known.encode("hay") == load_tokenizer(hf_file(tmp_path)).encode("hay")  # it goes on with other texts


def test_ten_million_blanks_are_an_error_that_names_the_text(tmp_path: Path) -> None:
    known = without_gigatoken(load_tokenizer(hf_file(tmp_path, pre_tokenizer=split_by(PATTERNS["cl100k_base"][2]))))
    says = "tokenizers gave up on the text 'word word .*'... of 10100051 characters: .*retry-limit.* Shorten such runs"
    refuses(says, known.encode, "word " * 10 + " " * 10_100_000 + "y")


def test_a_decoder_that_backtracks_without_end_is_an_error_that_names_the_ids(tmp_path: Path) -> None:
    decoder = {"type": "Replace", "pattern": {"Regex": BACKTRACKS}, "content": ""}
    path = hf_file(tmp_path, decoder=decoder, more=["a" * 40 + "!"])
    known = load_tokenizer(path)
    last = known.vocab_size - 1
    refuses(rf"tokenizers gave up on the ids \[{last}\]: .*retry-limit", known.decode, [last])


def test_prepare_says_which_text_its_tokenizer_gave_up_on(tmp_path: Path) -> None:
    path = hf_file(tmp_path, pre_tokenizer=split_by(BACKTRACKS))
    (tmp_path / "text.txt").write_text("a" * 40 + "! and more", encoding="utf-8")
    done = CliRunner().invoke(
        app, ["prepare", str(tmp_path / "text.txt"), str(tmp_path / "o"), "--tokenizer", str(path)]
    )
    assert done.exit_code == 1
    assert f"error: tokenizers gave up on the text '{'a' * 40}! and more'" in done.stderr
    assert not (tmp_path / "o" / "train").exists()


def test_a_file_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content in ("[1]", '{"model": []}', '{"model": {"vocab": NaN}}'):
        path.write_text(content, encoding="utf-8")
        refuses("is not a tokenizer.json|cannot read", load_tokenizer, path)
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}), encoding="utf-8")
    refuses("integer `-1`, expected u32", load_tokenizer, path)
