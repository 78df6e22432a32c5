"""explain: the loader's own batch, as HTML in which a corpus cannot act."""

import json
import re
from pathlib import Path

import pytest

import windrow as wr
from look_helpers import harmful_corpus, store_of
from windrow import Loader, Mixture, Windows


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
