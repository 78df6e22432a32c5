"""Pieces: tokens joined into whole characters, never a character split, invented or lost."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import windrow as wr
from windrow.look.pieces import Piece, chip_text, passages, pieces, token_text

WORDS = ["aé ß\n\t", "春天来了，", "في الصباح", "הבוקר", "नमस्ते", "한국어", "🌾👩\u200d🌾👍🏽🇫🇷", "\u202e\x1b\x00·"]
SCRIPTS = st.sampled_from(WORDS)
TEXTS = st.lists(SCRIPTS.flatmap(lambda script: st.text(script, max_size=6)), max_size=6).map("".join)
NAMES = st.sampled_from(["gpt2", "bytes"])


class Halves:
    """Bytes in pairs, whatever characters they cut, decoded to text as a ``tokenizer.json`` is: by U+FFFD."""

    vocab_size, eos_id, fingerprint = 65536, 0, "halves"

    def encode(self, text: str) -> list[int]:
        data = text.encode() + b" " * (len(text.encode()) % 2)
        return [int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2)]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(token.to_bytes(2, "big") for token in ids).decode(errors="replace")


@given(NAMES, st.one_of(TEXTS, st.text(st.characters(exclude_characters="\ufffd", codec="utf-8"), max_size=20)))
def test_pieces_are_the_text_and_no_character_is_in_two(name: str, text: str) -> None:
    tokenizer = wr.load_tokenizer(name)
    ids = list(tokenizer.encode(text))
    made = [*pieces(ids, tokenizer)]
    assert [token for piece in made for token in piece.ids] == ids
    assert "".join(piece.text for piece in made) == text
    for piece in made:
        for count in range(1, len(piece.ids)):
            with pytest.raises(UnicodeDecodeError):
                tokenizer.decode_bytes(piece.ids[:count]).decode()


@given(NAMES, TEXTS, st.integers(0, 20), st.integers(0, 20))
def test_a_stretch_cut_anywhere_shows_the_bytes_of_the_characters_it_cuts(
    name: str, text: str, start: int, length: int
) -> None:
    tokenizer = wr.load_tokenizer(name)
    ids = list(tokenizer.encode(text))[start : start + length]
    made = [*pieces(ids, tokenizer)]
    assert [token for piece in made for token in piece.ids] == ids
    assert "".join(piece.text for piece in made) == tokenizer.decode_bytes(ids).decode(errors="backslashreplace")


@given(TEXTS)
def test_a_tokenizer_that_decodes_to_text_has_its_characters_joined_too(text: str) -> None:
    tokenizer = Halves()
    ids = tokenizer.encode(text[:8])  # at most 16 tokens, of which none may end a character but the last
    made = [*pieces(ids, tokenizer)]
    assert [token for piece in made for token in piece.ids] == ids
    assert "".join(piece.text for piece in made) == tokenizer.decode(ids)


def test_targets_that_do_not_count_ids_without_a_tokenizer_and_ends_are_pieces_of_their_own() -> None:
    tokenizer = wr.load_tokenizer("bytes")
    first, *rest = "中".encode()
    ids = [first, -100, 256, first, *rest]
    assert [*pieces(ids, tokenizer)] == [
        Piece(0, [first], r"\xe4"),
        Piece(1, [-100], "-100"),
        Piece(2, [256], "<|endoftext|>"),
        Piece(3, [first, *rest], "中"),
    ]
    assert [*pieces([7, -100], None)] == [Piece(0, [7], "<7>"), Piece(1, [-100], "-100")]
    assert token_text(tokenizer, first) == r"\xe4"


def test_passages_are_the_documents_and_a_chip_shows_blanks_and_controls() -> None:
    tokenizer = wr.load_tokenizer("gpt2")
    ids = [token for text in ("春天 is here\n", "في الصباح") for token in [*tokenizer.encode(text), tokenizer.eos_id]]
    assert passages(ids, tokenizer, tokenizer.eos_id) == ["春天 is here\n", "في الصباح"]
    assert passages(ids, None, tokenizer.eos_id) == []
    assert chip_text("  a\n\u202e") == r"··a\n\u202e"
