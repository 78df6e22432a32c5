"""What is left out, from which position on, beside a look at each sample."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpora import corpora
from windrow import Loader, Windows
from windrow.errors import LARGEST
from windrow.loader.exclusions import Exclusion, LeftOut
from windrow.windows.windows import POLICIES, Policy


@given(corpora(), st.sampled_from(POLICIES), st.data())
def test_a_sample_is_left_out_from_the_first_position_at_which_it_or_a_document_of_it_was(
    corpus: Any, policy: Policy, data: Any
) -> None:
    store, lengths, max_length = corpus
    windows = Windows(store, max_length, policy=policy, **({"tail": "pad"} if policy == "concat" else {}))
    given: list[Exclusion] = []
    for _ in range(data.draw(st.integers(0, 5))):
        documents, ids = (
            data.draw(st.sets(st.integers(0, num - 1), max_size=3)) for num in (len(lengths), len(windows))
        )
        given.append(Exclusion.of(data.draw(st.integers(0, 9)), data.draw(st.sampled_from("ab")), documents, ids))
    every, never = np.arange(len(windows)), [LARGEST]
    rows = [{*row} for row in windows.documents(every).tolist()]
    expected = [
        min([e.position for e in given if e.member == "a" and (w in e.windows or rows[w] & {*e.documents})] + never)
        for w in every.tolist()
    ]
    found = LeftOut(given, "a").since(windows, every, np.zeros_like(every), key=(0, "a"))
    assert found.tolist() == expected


def test_a_thousand_exclusions_are_looked_up_at_once(monkeypatch: Any) -> None:
    from windrow import TokenStore

    store = TokenStore.from_ids(np.arange(40_000) % 250, document_ends=np.arange(4, 40_001, 4))
    loader, calls = Loader(Windows(store, 8), 4, seed=1), list[int]()
    real = LeftOut.since
    monkeypatch.setattr(LeftOut, "since", lambda one, *given, **key: calls.append(1) or real(one, *given, **key))
    for document in range(1000):
        loader.exclude(documents=[document])
    loader[0]
    loader[1]
    assert len(calls) == 2
    assert sum(int(loader[step].num_targets == 0) for step in range(2)) < 2
