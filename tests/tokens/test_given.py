"""Ids and masks that rows bring: taken as they are, or refused with the place."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.tokens.given import counts_given, ids_given

IDS = st.lists(st.integers(0, 99), max_size=9)


@given(IDS, st.data())
def test_ids_stay_and_a_mask_or_labels_say_the_same_of_each(ids: list[int], data: Any) -> None:
    taken = ids_given(ids, 100)
    assert (taken.tolist(), taken.dtype) == (ids, np.uint16)
    mask = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    labels = [token if counts else -100 for token, counts in zip(ids, mask, strict=True)]
    assert counts_given([int(counts) for counts in mask], taken).tolist() == mask
    assert counts_given(mask, taken).tolist() == mask
    if -100 in labels:
        assert counts_given(labels, taken).tolist() == mask


def test_a_wide_vocabulary_has_wide_ids() -> None:
    assert ids_given([65_536], 65_537).dtype == np.uint32


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "this is null"),
        ("12", "this is a str"),
        ({"a": 1}, "this is a dict"),
        ([1.0, 2.0], r"a list, \(2,\) float64"),
        ([1, None], r"a list, \(2,\) object"),
        ([[1], [2, 3]], "a list"),
        ([[1, 2]], r"a list, \(1, 2\) int64"),
        ([True, 3], "with bool"),
        ([True, False], r"\(2,\) bool"),
        (["1"], "a list"),
        ([10**30], "object"),
        ([3, 100], r"id 100 at place 1 is not in \[0, vocab_size = 100\)"),
        ([3, -1], "id -1 at place 1"),
        ([2**63], "id 9223372036854775808 at place 0"),
    ],
)
def test_what_is_no_row_of_ids_is_refused(ids: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ids_given(ids, 100)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "its mask must be a flat list of whole numbers, and this is null"),
        ([1, 1], "its mask has 2 values, and it has 3 ids"),
        ([0, 1, 2], "has 2 at place 2, where the id is 7"),
        ([6, 7, -100], "has 6 at place 0, where the id is 5"),  # labels shifted as targets are
        ([-100, -1, 7], "has -1 at place 1, where the id is 6"),
        ([0.0, 1.0, 0.0], "float64"),
        ([0, 1, "1"], "its mask must be a flat list"),
    ],
)
def test_a_mask_that_does_not_say_of_each_is_refused(mask: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counts_given(mask, ids_given([5, 6, 7], 100))
