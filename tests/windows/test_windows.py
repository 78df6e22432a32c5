"""Windows against the plain loop, and the reference values."""

import warnings
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import shared_text
from windrow import TokenStore, Windows, load_tokenizer
from windrow.errors import NotEnoughTokensError

ARANGE = TokenStore.from_ids(np.arange(100), eos_id=99)


def quiet(*args: Any, **kwargs: Any) -> Windows:
    """Windows without the warning about gaps, for tests that are about something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Windows(*args, **kwargs)


def textbook_loop(ids: list[int], max_length: int, stride: int) -> list[list[int]]:
    return [ids[i : i + max_length + 1] for i in range(0, len(ids) - max_length, stride)]


@pytest.mark.parametrize("stride", range(1, 10))
@pytest.mark.parametrize("max_length", range(1, 9))
def test_windows_are_those_of_the_textbook_loop(max_length: int, stride: int) -> None:
    for n in range(61):
        ids = list(range(n))
        expected = textbook_loop(ids, max_length, stride)
        if not expected:
            with pytest.raises(NotEnoughTokensError):
                quiet(TokenStore.from_ids(ids), max_length, stride)
            continue
        windows = quiet(TokenStore.from_ids(ids), max_length, stride)
        assert windows.num_samples == len(expected)
        assert windows.gather(np.arange(len(expected))).tolist() == expected


def test_counts_and_contents_are_the_reference_values(golden: dict[str, Any]) -> None:
    for name, text in golden["texts"].items():
        tokenizer = load_tokenizer("gpt2")
        store = TokenStore.from_ids(tokenizer.encode(shared_text(name)))
        for case in text["windows"]:
            windows = quiet(store, case["max_length"], case["stride"])
            rows = windows.gather(np.arange(windows.num_samples)).astype("<u2")
            assert windows.num_samples == case["num_windows"]
            assert sha256(rows[:, :-1].tobytes()).hexdigest() == case["inputs_sha256_u16"]
            assert sha256(rows[:, 1:].tobytes()).hexdigest() == case["targets_sha256_u16"]
        assert [s.num_tokens for s in store.split(0.1)] == list(text["split_0.9"].values())


def test_counts_of_windows_and_splits_are_the_reference_values(golden: dict[str, Any]) -> None:
    for text in golden["texts"].values():
        store = TokenStore.from_ids(np.arange(text["num_tokens"]))  # no count depends on what the ids are
        for case in text["windows"]:
            assert quiet(store, case["max_length"], case["stride"]).num_samples == case["num_windows"]
        assert [s.num_tokens for s in store.split(0.1)] == list(text["split_0.9"].values())


def test_the_default_stride_makes_every_token_a_target_once() -> None:
    rows = Windows(ARANGE, 9).gather(np.arange(11))
    assert sorted(rows[:, 1:].ravel()) == list(range(1, 100))


@given(st.integers(2, 80), st.integers(1, 12), st.integers(1, 15))
def test_a_padded_tail_leaves_no_target_out_within_the_last_window(n: int, max_length: int, stride: int) -> None:
    windows = quiet(TokenStore.from_ids(np.arange(n), eos_id=0), max_length, stride, tail="pad")
    ids = np.arange(windows.num_samples)
    rows, mask = windows.gather(ids), windows.rows(ids)[1]
    counted = rows[:, 1:] if mask is None else rows[:, 1:][mask]
    starts = range(0, n - 1, stride)
    expected = {t for s in starts for t in range(s + 1, min(s + max_length, n - 1) + 1)}
    assert set(counted.ravel().tolist()) == expected
    assert (rows[:, :-1][:, 0] == ids * stride).all()


def test_a_padded_row_is_filled_with_eos_and_masked() -> None:
    windows = Windows(TokenStore.from_ids([5, 6, 7], eos_id=9), 5, tail="pad")
    mask = windows.rows(np.array([0]))[1]
    assert windows.gather(np.array([0])).tolist() == [[5, 6, 7, 9, 9, 9]]
    assert mask is not None
    assert mask.tolist() == [[True, True, False, False, False]]


def test_no_window_is_added_when_every_target_is_covered() -> None:
    assert Windows(ARANGE, 9, tail="pad").num_samples == Windows(ARANGE, 9).num_samples == 11


@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 40), st.integers(0, 5))
def test_with_phase_every_offset_holds_the_same_number_of_windows(
    max_length: int, stride: int, extra: int, epoch: int
) -> None:
    n = max_length + stride + extra
    windows = quiet(TokenStore.from_ids(np.arange(n)), max_length, stride, phase="epoch")
    starts = windows.starts(np.arange(windows.num_samples), epoch, key=(7, "web"))
    offset = int(windows.layout.offsets(epoch, key=(7, "web")))
    assert windows.num_samples == (n - max_length) // stride
    assert 0 <= offset < stride
    assert starts.tolist() == [i * stride + offset for i in range(windows.num_samples)]
    assert windows.gather(np.arange(windows.num_samples), epoch, key=(7, "web")).shape[1] == max_length + 1


def test_the_phase_moves_between_epochs_seeds_and_members() -> None:
    windows = Windows(TokenStore.from_ids(np.arange(10_000)), 64, phase="epoch")
    by_epoch = windows.layout.offsets(np.arange(500), key=(0, "")).tolist()
    assert set(by_epoch) == set(range(64))
    assert by_epoch != windows.layout.offsets(np.arange(500), key=(1, "")).tolist()
    assert by_epoch != windows.layout.offsets(np.arange(500), key=(0, "web")).tolist()


@pytest.mark.parametrize("name", ["max_length", "stride"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "4", True])
def test_sizes_that_are_no_positive_numbers_raise(name: str, value: Any) -> None:
    sizes: dict[str, Any] = {"max_length": 4, "stride": 4, name: value}
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        Windows(ARANGE, **sizes)


def test_a_store_too_short_says_by_how_much_and_what_to_do() -> None:
    with pytest.raises(NotEnoughTokensError) as caught:
        Windows(TokenStore.from_ids(np.arange(515)), 1024)
    assert str(caught.value) == (
        "the store has 515 tokens, and one window needs max_length + 1 = 1025. Use max_length <= 514, or "
        'tail="pad" (1 window, 510 targets masked), or add text.'
    )


@pytest.mark.parametrize("n", [0, 1])
def test_a_store_of_no_pair_of_tokens_raises_also_when_padded(n: int) -> None:
    with pytest.raises(NotEnoughTokensError, match=f"has {n} tokens, and the shortest window needs 2"):
        Windows(TokenStore.from_ids(np.arange(n)), 4, tail="pad")


def test_the_remedies_of_a_short_store_work() -> None:
    store = TokenStore.from_ids(np.arange(20))
    assert Windows(store, 19).num_samples == 1
    with pytest.raises(NotEnoughTokensError, match="max_length <= 15"):
        Windows(store, 18, 5, phase="epoch")
    assert Windows(store, 15, 5, phase="epoch").num_samples == 1


def test_a_stride_beyond_the_length_warns_of_what_is_never_trained_on() -> None:
    with pytest.warns(UserWarning, match=r"leaves 4 targets between .*: 44 of 99 targets are never trained on"):
        windows = Windows(ARANGE, 5, 9)
    trained = windows.gather(np.arange(windows.num_samples))[:, 1:]
    assert 99 - len(np.unique(trained)) == 44


@pytest.mark.parametrize("choice", [{"phase": "step"}, {"tail": "keep"}, {"phase": "epoch", "tail": "pad"}])
def test_unknown_choices_raise(choice: Any) -> None:
    with pytest.raises(ValueError, match="phase"):
        Windows(ARANGE, 4, **choice)


def test_ids_outside_the_windows_raise() -> None:
    for number in (24, -1):
        with pytest.raises(IndexError, match="leave the store"):
            Windows(ARANGE, 4).gather(np.array([number]))
        with pytest.raises(IndexError, match="of 24"):
            Windows(ARANGE, 4, phase="epoch").gather(np.array([number]))
    with pytest.raises(IndexError, match="of 25"):
        Windows(ARANGE, 4, tail="pad").gather(np.array([25]))
