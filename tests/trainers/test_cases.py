"""The matrix that trainers are tried in: what the short one leaves out, and that the oracle tells batches apart."""

from itertools import combinations, product

import pytest

from trainer_helpers import cases, digest, stream_digests, toy_loader

AXES = {
    "stop": ["middle", "epoch's end", "second epoch"],
    "accumulation": [1, 4],
    "workers": [0, 2, "kept"],
    "ranks": [1, 2],
}


def test_the_short_matrix_shows_each_stop_at_its_defaults_and_every_two_values_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WINDROW_ALL", raising=False)
    short = [case.values for case in cases(**AXES)]
    assert [case for case in short if case[1:] == (1, 0, 1)] == [(stop, 1, 0, 1) for stop in AXES["stop"]]
    for (i, one), (j, other) in combinations(enumerate(AXES.values()), 2):
        assert {(case[i], case[j]) for case in short} == set(product(one, other))
    assert len(short) < 36 / 2


def test_the_whole_matrix_has_every_combination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDROW_ALL", "1")
    assert {case.values for case in cases(**AXES)} == set(product(*AXES.values()))


def test_no_two_steps_of_the_toy_run_have_one_digest_and_targets_count_in_it() -> None:
    assert len(set(stream_digests(200))) == 200
    inputs, targets = next(iter(toy_loader()))
    assert digest(inputs, targets) != digest(inputs, inputs)
