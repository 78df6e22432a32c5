"""Characters that the engines may read differently."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.tokens import disputed
from windrow.tokens.disputed import disputed_parts, is_disputed

RARE = chr(0x11105)
TEXTS = st.lists(st.sampled_from(["a", "word, ", "1 ", " ", "é", "😀", "日本", RARE, "<|endoftext|>"])).map("".join)


@given(st.text())
def test_a_text_is_disputed_where_one_of_its_characters_is_in_the_list(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    listed = any(first <= ord(char) <= last for char in text for first, last in disputed.DISPUTED)
    assert is_disputed(text) == listed


def test_the_quick_search_finds_every_disputed_character() -> None:
    chars = [chr(number) for first, last in disputed.DISPUTED for number in range(first, last + 1)]
    assert len(chars) > 100_000
    assert all(disputed._may_be_disputed(f"é{char}".encode()) for char in chars)
    assert not disputed._may_be_disputed("é日本語 and 😀 and “quotes”".encode())


def test_text_of_the_usual_scripts_is_undisputed() -> None:
    assert not any(map(is_disputed, ("", "plain", "naïve", "日本語", "हिन्दी", "👩‍👩‍👧‍👦", "العربية", "𝒜")))


def test_half_a_surrogate_pair_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        is_disputed("a\ud800")


@given(TEXTS, st.integers(1, 12))
def test_parts_are_the_whole_text_and_undisputed_ones_have_no_disputed_character(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disputed, "_PART", size)
        parts = disputed_parts(text)
    assert "".join(part for _, part in parts) == text
    assert [flag for flag, _ in parts] == [is_disputed(part) for _, part in parts]
    assert all(one[0] != next_[0] for one, next_ in pairwise(parts))


def test_a_long_text_with_one_rare_character_is_undisputed_but_for_some_kilobytes() -> None:
    text = "some words, " * 5000 + RARE + "some more. " * 5000
    assert sum(len(part) for flag, part in disputed_parts(text) if flag) < 3 * disputed._PART
