"""Small stores whose documents are of every awkward length, for property tests."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from windrow import TokenStore

EOS = 60_000

MAX_LENGTH = st.integers(1, 9)


def store_of(lengths: list[int], first: int = 0) -> TokenStore:
    """Documents of these lengths over the ids ``first``, ``first + 1``, ...: an id tells its place."""
    ids = np.arange(first, first + sum(lengths))
    return TokenStore.from_ids(ids, eos_id=EOS, document_ends=np.cumsum(lengths))


def counting(store: TokenStore, counts: Any) -> TokenStore:
    """The same tokens and documents, with these counts."""
    ends = store.document_ends(np.arange(store.num_documents))
    return TokenStore.from_ids(store.tokens(), eos_id=store.eos_id, document_ends=ends, counts=counts)


def document_lengths(max_length: int) -> Any:
    """Empty, one-token and tiny documents, exactly L and L + 1 tokens, and huge ones. (An empty text is one eos.)"""
    edge = st.sampled_from([1, 2, max_length, max_length + 1, 2 * max_length, 2 * max_length + 1])
    return st.lists(edge | st.integers(1, 5 * max_length + 3), min_size=1, max_size=14)


@st.composite
def corpora(draw: Any) -> tuple[TokenStore, list[int], int]:
    """``(store, lengths of its documents, max_length)``, with at least one target that is no document's first token."""
    max_length = draw(MAX_LENGTH)
    lengths = draw(document_lengths(max_length).filter(lambda lengths: max(lengths) > 1))
    return store_of(lengths), lengths, max_length
