"""Documents that came before: the same ones are found whatever memory there is."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.arrays import Int64
from windrow.preparing.duplicates import repeated

DOCUMENTS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-1, 1), st.booleans()), max_size=60)


def tables_of(documents: list[tuple[int, int, bool]], size: int) -> Iterator[Int64]:
    """Tables of ``size`` documents each: their digests, and which of them could not be read."""
    for start in range(0, len(documents), size):
        yield np.array([(0, 0, 0, 0, 0, *row) for row in documents[start : start + size]], np.int64)


@settings(max_examples=200, deadline=None)
@given(documents=DOCUMENTS, size=st.integers(1, 9), memory=st.sampled_from([64, 1 << 10, 1 << 30]))
def test_the_first_of_equal_documents_stays(
    tmp_path_factory: pytest.TempPathFactory, documents: list[tuple[int, int, bool]], size: int, memory: int
) -> None:
    seen, expected = set[tuple[int, int, bool]](), []
    for document in documents:
        expected.append(document in seen and not document[2])
        seen.add(document)
    num, folder = len(documents), tmp_path_factory.getbasetemp()
    again = repeated(tables_of(documents, size), folder, num_documents=num, memory=memory)
    assert again[:num].tolist() == expected


def test_it_takes_a_quarter_of_the_memory_however_many_documents_there_are(tmp_path: Path) -> None:
    num, memory = 400_000, 8_000_000
    digests = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, (num, 8))
    digests[:, 7] = 0
    tracemalloc.start()
    again = repeated(np.split(digests, 400), tmp_path, num_documents=num, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not again.any()
    assert peak < memory / 4 + 600_000  # and what numpy is at work with
    assert not list(tmp_path.iterdir())
