"""What a row of JSON is, by the keys that were named."""

from typing import Any

import pytest

from windrow.text.reading import Reading
from windrow.text.rows import row_of


def test_a_row_is_a_text_parts_or_ids_by_the_key_that_was_named() -> None:
    row = {"text": "a", "parts": [["b", 0], ["", 1], ["c", True]], "input_ids": [1], "mask": [0]}
    assert row_of(row, Reading()) == ("a", None)
    assert row_of(row, Reading(parts_key="parts")) == ("bc", (("b", 0), ("", 1), ("c", 1)))
    assert row_of(row, Reading(ids_key="input_ids")) == ("", ([1],))
    assert row_of(row, Reading(ids_key="input_ids", mask_key="mask")) == ("", ([1], [0]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (None, "'parts' is null, and parts are a list"),
        ("ab", "'parts' is str"),
        ([["a"]], "part 0 of 'parts' is no pair"),
        ([["a", 1], ["b", 2]], "part 1 of 'parts' is no pair"),
        ([["a", "1"]], "no pair"),
        ([["a", 1.0]], "no pair"),
        ([[1, 1]], "'part 0 of parts' is int, and text is a string"),
        ([["\ud800", 1]], "half a surrogate pair"),
    ],
)
def test_what_is_no_list_of_texts_that_count_or_not_is_refused(parts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row_of({"parts": parts}, Reading(parts_key="parts"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text_key": "a", "ids_key": "b"}, "ids_key is given with text_key"),
        ({"parts_key": "a", "mask_key": "b"}, "mask_key is given with parts_key"),
        ({"parts_key": "a", "ids_key": "b"}, "ids_key is given with parts_key"),
        ({"mask_key": "b"}, "no ids_key says where the ids are"),
        ({"ids_key": "a", "literal_eos": "split"}, "literal_eos is 'split', and with ids_key a literal eos is text"),
        ({"boundary": "pad"}, "boundary is 'pad', and it is one of 'eos', 'bos', 'both', 'none'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reading(**given)


def test_a_recipe_of_plain_text_is_what_it_was() -> None:
    usual = {"text_key": "text", "separator": None, "literal_eos": "text", "on_error": "raise"}
    assert Reading().recipe == Reading(boundary="eos").recipe == usual
    assert Reading(ids_key="i").recipe == usual | {"ids_key": "i", "boundary": "none"}
