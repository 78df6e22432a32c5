"""explain: the loader's own batch, as HTML in which a corpus cannot act."""

import json
import re
from pathlib import Path

import pytest

import windrow as wr
from look_helpers import harmful_corpus, store_of
from windrow import Loader, Mixture, TokenStore, Windows


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return harmful_corpus(tmp_path)


def test_a_notebook_shows_the_corpus_as_text_and_nothing_of_it_as_markup(corpus: Path) -> None:
    loader = Loader(Windows(wr.open_store(corpus), 64), batch_size=4)
    html = "".join(wr.explain(loader, step)._repr_html_() for step in range(len(loader)))
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert 'title="' in html
    assert "<b" in html
    assert "&lt;" in html
    assert "web.jsonl" in html


def test_a_notebook_shows_the_text_and_one_chip_a_character_with_the_ids_and_targets_of_its_tokens() -> None:
    text = "春 天"
    store = wr.TokenStore.from_ids(list(text.encode()) * 4, tokenizer="bytes")
    loader = Loader(Windows(store, 7), batch_size=2, shuffle=False)
    html = wr.explain(loader, 0)._repr_html_()
    assert f'<bdi dir="auto">{text}</bdi>' in html
    assert [*re.findall(r"<b class=\"c\d\"[^>]*>([^<]*)", html)] == ["春", "·", "天"] * 2
    assert "230 152 165; target 152 " in html
    assert html.count("<small>×3</small>") == 4


def test_explain_is_the_batch_of_the_loader_also_on_a_device_and_with_two_members() -> None:
    a, b = (Windows(store_of([50] * n), 8) for n in (4, 9))
    loader = Loader(Mixture({"a": (a, 0.5), "b": (b, 0.5)}), batch_size=3, seed=3, device="cpu")
    made = wr.explain(loader, 2)
    inputs, targets = loader[2]
    assert [row.inputs for row in made.rows] == inputs.tolist()
    assert [row.targets for row in made.rows] == targets.tolist()
    assert json.dumps(made.to_json())


def staged(store: TokenStore) -> Loader:
    """A mixture whose second stage begins within its step 25, which has 10 rows."""
    windows = Windows(store, 4)
    mixture = Mixture({"a": (windows, 1), "b": (windows, 1)}, stages={256: {"a": 1, "b": 0}}, block=256)
    return Loader(mixture, 10, epochs=None)


def test_each_row_says_which_stage_it_belongs_to_where_there_is_more_than_one() -> None:
    loader = staged(store_of([30] * 20))
    made = wr.explain(loader, 25)
    assert [row.stage for row in made.rows] == [0] * 6 + [256] * 4
    assert [row["stage"] for row in made.to_json()["rows"]] == [0] * 6 + [256] * 4
    assert "of the stage that began at position 256" in made._repr_html_()
    plain = wr.explain(Loader(loader.members["a"], 10), 0)
    assert "stage" not in plain.to_json()["rows"][0]
    assert "stage" not in plain._repr_html_()
