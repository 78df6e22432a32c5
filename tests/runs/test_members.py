"""A condition over columns chooses the documents that Python would choose, and what is no condition is refused."""

import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow import TokenStore, prepare
from windrow.errors import WindrowError
from windrow.runs.members import documents_where, open_described

ROWS: list[dict[str, Any]] = [
    {"text": f"row {n}", "score": n / 7, "n": n, "lang": ["en", "de", "a and b", "x > 1"][n % 4], "ok": n % 3 == 0}
    for n in range(30)
]
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    rows = iter([*ROWS, {"text": "without"}])
    return prepare(rows, tmp_path_factory.mktemp("s"), tokenizer="bytes", keep=["score", "n", "lang", "ok"], workers=1)[
        "train"
    ]


TERMS = st.tuples(
    st.sampled_from([("score", 2.0), ("score", -1), ("n", 7), ("n", 10**30), ("lang", "a and b"), ("lang", "x > 1")]),
    st.sampled_from([*OPERATORS]),
)


@given(st.lists(TERMS, min_size=1, max_size=3), st.sampled_from(["'", '"']), st.sampled_from([" ", ""]))
def test_a_condition_is_what_python_says_of_each_row(
    store: TokenStore, terms: list[Any], quote: str, blank: str
) -> None:
    def told(value: Any) -> str:
        return f"{quote}{value}{quote}" if isinstance(value, str) else str(value)

    condition = " and ".join(f"{name}{blank}{sign}{blank}{told(value)}" for (name, value), sign in terms)
    expected = [all(OPERATORS[sign](row[name], value) for (name, value), sign in terms) for row in ROWS]
    assert documents_where(store, condition)[: len(ROWS)].tolist() == expected


def test_a_column_may_begin_with_the_word_that_joins() -> None:
    columns = {"and-x": np.arange(5), "x": np.arange(5)[::-1], "and": np.arange(5)}
    store: Any = SimpleNamespace(columns=dict.fromkeys(columns, "int64"), column=columns.__getitem__)
    assert documents_where(store, "and-x > 2").tolist() == [False, False, False, True, True]
    assert documents_where(store, "x > 0 and and-x > 2 and and > 0").tolist() == [False, False, False, True, False]
    with pytest.raises(WindrowError, match="where is 'x > 0 and-x > 2'"):
        documents_where(store, "x > 0 and-x > 2")


def test_a_condition_that_no_document_meets_is_an_error(store: TokenStore) -> None:
    described = {"store": store.path.name, "where": "score > 1e9"}
    with pytest.raises(WindrowError, match="where is 'score > 1e9', and none of the store's 31 documents is so"):
        open_described(described, store.path.parent)


def test_what_is_missing_compares_as_the_column_has_it(store: TokenStore) -> None:
    assert documents_where(store, "score < 1e9").tolist() == [True] * 30 + [False]
    assert documents_where(store, "n < 1e9").tolist() == [True] * 31
    assert documents_where(store, "n >= 0 and ok == 1").sum() == 10


@pytest.mark.parametrize(
    "condition",
    [
        *["", "score", "score > ", "score > 1 or n > 2", "score > 1 and", "score > 'a", "score =< 1", "score > n"],
        *["__import__('os')", "score > (1)", "score > 1 n > 2", "score > 1and n > 2", "score > 1-2", "n == 0x10"],
    ],
)
def test_what_is_no_condition_is_refused(store: TokenStore, condition: str) -> None:
    with pytest.raises(WindrowError, match="where "):
        documents_where(store, condition)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("lang > 1", "compares lang with 1, and it is category: give a text in quotes"),
        ("score > '1'", "compares score with '1', and it is float64: give a number"),
        ("price > 1", "has no column 'price'"),
    ],
)
def test_a_value_that_a_column_cannot_have_is_refused(store: TokenStore, condition: str, said: str) -> None:
    with pytest.raises(WindrowError, match=said):
        documents_where(store, condition)
