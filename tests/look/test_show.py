"""What ``show`` and ``info`` print: the loader's own batch, with text that cannot act on the terminal."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import windrow as wr
from look_helpers import harmful_corpus
from windrow import Loader, TokenStore, Windows, load_tokenizer, prepare
from windrow.look.explain import row_facts, rows_of
from windrow.look.info import print_stores, store_facts
from windrow.look.pieces import token_text
from windrow.look.show import print_batch, print_raw
from windrow.shown import visible
from windrow.store.opening import open_splits

EVIL = "a\x1b[31mred\x1b[0m \x1b]0;title\x07 [bold]b[/bold] :smile: \u202eback \x9b2J\r\n end \u00e9\u4e16"


def printed(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    documents = ["the first one.", "a second, longer document about hay.", EVIL * 3]
    return prepare(iter(documents), tmp_path / "corpus", tokenizer="bytes")["train"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return harmful_corpus(tmp_path)


def test_every_row_is_that_of_the_loader_with_the_place_and_document_of_each_token(store: TokenStore) -> None:
    loader = Loader(Windows(store, 16, 5), batch_size=3, seed=7)
    ends = [store.document_span(number) for number in range(store.num_documents)]
    for step in (0, 1, len(loader) + 1):
        inputs, targets = loader[step]
        rows = rows_of(loader, step)
        assert len(rows) == 3
        for row in rows:
            assert row.inputs == inputs[row.row].tolist()
            assert row.targets == targets[row.row].tolist()
            assert row.start == row.window * 5
            assert row.inputs == store.tokens(row.start, row.start + 16).tolist()
            for place in range(16):
                start, stop = ends[row.documents[place]]
                assert start <= row.start + place < stop
                assert row.positions[place] == row.start + place - start


def test_padded_places_belong_to_no_document_and_do_not_count() -> None:
    store = TokenStore.from_ids(np.arange(10), eos_id=99, tokenizer="bytes")
    loader = Loader(Windows(store, 8, tail="pad"), batch_size=2, shuffle=False)
    last = rows_of(loader, 0)[1]
    assert last.documents == [0, 0] + [-1] * 6
    assert last.targets == [9] + [-100] * 7
    console = printed()
    print_batch(console, [last], load_tokenizer("bytes"), num_places=0)
    assert "1 of 8 targets count" in text_of(console)
    assert text_of(console).count(" no\n") == 7


def test_escapes_controls_and_markup_in_a_corpus_do_nothing(store: TokenStore) -> None:
    loader = Loader(Windows(store, 64), batch_size=4, shuffle=False)
    console = printed(200)
    print_batch(console, rows_of(loader, 0), store.tokenizer, num_places=0)
    shown = text_of(console)
    assert not [c for c in shown if not (c.isprintable() or c == "\n")]
    assert r"\x1b[31mred" in shown
    assert "[bold]b[/bold] :smile:" in shown


def test_visible_escapes_exactly_what_does_not_print() -> None:
    assert visible(EVIL) == (
        r"a\x1b[31mred\x1b[0m \x1b]0;title\x07 [bold]b[/bold] :smile: \u202eback \x9b2J\r\n end é世"
    )
    assert visible("one\ntwo\t", keep="\n") == "one\ntwo\\t"


def test_a_token_that_is_part_of_a_character_is_shown_as_its_bytes() -> None:
    tokenizer = load_tokenizer("bytes")
    assert [token_text(tokenizer, token) for token in "é".encode()] == [r"\xc3", r"\xa9"]


def test_only_the_places_asked_for_are_printed_and_the_rest_is_counted(store: TokenStore) -> None:
    loader, console = Loader(Windows(store, 64), batch_size=1, shuffle=False), printed()
    print_batch(console, rows_of(loader, 0), store.tokenizer, num_places=5)
    assert "and 59 more places" in text_of(console)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(store: TokenStore, width: int) -> None:
    loader, console = Loader(Windows(store, 64), batch_size=2, seed=3), printed(width)
    print_batch(console, rows_of(loader, 0), store.tokenizer, num_places=0)
    print_stores(console, {"train": store_facts(store)})
    assert max(len(line) for line in text_of(console).splitlines()) <= width


def test_row_facts_hold_the_text_of_every_token(store: TokenStore) -> None:
    loader = Loader(Windows(store, 8), batch_size=1, shuffle=False)
    facts = row_facts(rows_of(loader, 0)[0], store.tokenizer)
    assert "".join(facts["input_texts"]) == "the firs"
    assert "".join(facts["target_texts"]) == "he first"


def test_info_is_that_of_the_manifest_for_a_store_and_for_the_folder_of_its_splits(tmp_path: Path) -> None:
    texts = [f"document {number}" for number in range(40)]
    stores = prepare(iter(texts), tmp_path / "corpus", tokenizer="bytes", valid_fraction=0.3)
    opened = open_splits(tmp_path / "corpus")
    assert list(opened) == ["train", "valid"]
    for side, store in stores.items():
        facts = store_facts(opened[side])
        assert facts["num_tokens"] == store.num_tokens
        assert facts["num_documents"] == store.num_documents
        assert facts["fingerprint"] == store.fingerprint
        assert facts["tokenizer"]["name"] == "bytes"
    assert list(open_splits(tmp_path / "corpus" / "valid")) == ["valid"]
    console = printed()
    print_stores(console, {name: store_facts(store) for name, store in opened.items()})
    assert f"{stores['train'].num_tokens}" in text_of(console)


def test_a_printed_row_names_its_sources_and_marks_where_documents_begin(corpus: Path) -> None:
    store = wr.open_store(corpus)
    console = Console(file=io.StringIO(), width=100, markup=False)
    rows = rows_of(Loader(Windows(store, 200), batch_size=1, shuffle=False), 0)
    print_batch(console, rows, store.tokenizer, num_places=3)
    print_raw(console, rows, store.tokenizer)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "book.txt:1 (bytes 0 to " in shown
    assert "web.jsonl:1 (bytes 0 to " in shown
    assert "windrows\\n<|endoftext|> | line 1 of hay." in shown
    assert "\x1b" not in shown
