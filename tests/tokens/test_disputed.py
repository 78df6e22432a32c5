"""Characters that the engines may read differently."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.tokens import disputed as unsettled
from windrow.tokens.disputed import is_unsettled, settled_parts

RARE = chr(0x11105)
TEXTS = st.lists(st.sampled_from(["a", "word, ", "1 ", " ", "é", "😀", "日本", RARE, "<|endoftext|>"])).map("".join)


@given(st.text())
def test_a_text_is_unsettled_where_one_of_its_characters_is_in_the_list(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    listed = any(first <= ord(char) <= last for char in text for first, last in unsettled.UNSETTLED)
    assert is_unsettled(text) == listed


def test_the_quick_search_finds_every_unsettled_character() -> None:
    chars = [chr(number) for number in np.flatnonzero(unsettled._unsettled_table()).tolist()]
    assert len(chars) > 100_000
    assert all(unsettled._may_be_unsettled(f"é{char}".encode()) for char in chars)
    assert not unsettled._may_be_unsettled("é日本語 and 😀 and “quotes”".encode())


def test_text_of_the_usual_scripts_is_settled() -> None:
    assert not any(map(is_unsettled, ("", "plain", "naïve", "日本語", "हिन्दी", "👩‍👩‍👧‍👦", "العربية", "𝒜")))


def test_half_a_surrogate_pair_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        is_unsettled("a\ud800")


@given(TEXTS, st.integers(1, 12))
def test_parts_are_the_whole_text_and_settled_ones_have_no_unsettled_character(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unsettled, "_PART", size)
        parts = settled_parts(text)
    assert "".join(part for _, part in parts) == text
    assert [is_settled for is_settled, _ in parts] == [not is_unsettled(part) for _, part in parts]
    assert all(one[0] != next_[0] for one, next_ in pairwise(parts))


def test_a_long_text_with_one_rare_character_is_settled_but_for_some_kilobytes() -> None:
    text = "some words, " * 5000 + RARE + "some more. " * 5000
    assert sum(len(part) for is_settled, part in settled_parts(text) if not is_settled) < 3 * unsettled._PART
