"""The tour: its numbers are the library's, its tellers say the same, and no text in it acts."""

import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import windrow as wr
from windrow import Loader, Mixture, TokenStore, Windows
from windrow.audit.sizes import RunSizes
from windrow.look import tour
from windrow.look.report import write_report
from windrow.look.tour import Station
from windrow.look.trace import station_parts, trace_text
from windrow.shown import pairs, table

EVIL = "\x1b[31mred \u202e <b>bold</b> \n"


def loader_of(text: str, max_length: int = 8, stride: int = 4) -> Loader:
    tokenizer = wr.load_tokenizer("gpt2")
    store = TokenStore.from_ids(np.array(tokenizer.encode(text)), tokenizer=tokenizer)
    return Loader(Windows(store, max_length, stride), batch_size=2, seed=3, drop_last=False)


def printed(*parts: object, width: int = 400) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def stations_of(loader: Loader) -> list[Station]:
    (windows,) = loader.members.values()
    assert isinstance(windows, Windows)
    store, tokenizer = windows.store, windows.store.tokenizer
    return [
        tour.tokens(store, tokenizer),
        tour.next_token(store, tokenizer, windows.max_length),
        tour.windows(store.num_tokens, RunSizes(windows.max_length, windows.stride, 2), store, tokenizer),
        tour.order(loader),
        tour.slices(loader, windows),
        tour.batch(loader, tokenizer),
    ]


@given(st.integers(2, 400), st.integers(1, 40), st.integers(1, 40))
def test_the_windows_of_the_tour_are_those_of_the_library(num_tokens: int, max_length: int, stride: int) -> None:
    stride = min(stride, max_length)
    station = tour.windows(num_tokens, RunSizes(max_length, stride, 1))
    if num_tokens <= max_length:
        assert "no window fits" in dict(station.facts)["left over"]
        assert not station.rows
        return
    windows = Windows(TokenStore.from_ids(np.zeros(num_tokens, dtype=int)), max_length, stride)
    assert f"+ 1 = {len(windows)}" in dict(station.facts)["windows"]
    rows = [row for row in station.rows if row[0] != "..."]
    assert len(rows) == min(len(windows), 6)
    assert [int(row[1]) for row in rows] == windows.starts(np.array([int(row[0]) for row in rows])).tolist()
    assert int(rows[-1][0]) == len(windows) - 1


def test_terminal_and_page_say_what_the_tour_says(tmp_path: Path) -> None:
    text = "The hay was cut on Monday, and by noon it lay in long rows. " * 20
    loader = loader_of(text)
    traced = io.StringIO()
    trace_text(Console(file=traced, width=400, markup=False), text, RunSizes(8, 4, 2, 3))
    write_report(loader, tmp_path / "report.html")
    made = re.sub("</?bdi>", "", (tmp_path / "report.html").read_text(encoding="utf-8"))
    page = html.unescape(re.sub(r"(<[^>]*>)+", "|", made))
    for station in stations_of(loader):
        assert station.says in traced.getvalue()
        assert station.says in page
        for value in [*(value for _, value in station.facts), *station.lines]:
            assert value in traced.getvalue()
            assert value in page
        for row in station.rows:
            assert "|".join(row) in page


def test_text_of_a_station_is_raw_and_nothing_of_it_acts_on_a_terminal() -> None:
    stations = stations_of(loader_of(EVIL * 20))
    assert any("\x1b" in text for station in stations for *_, row in station.tokens for _, text in row)
    for station in stations:
        shown = printed(*station_parts(station, 80), width=100)
        assert not [c for c in shown if not (c.isprintable() or c == "\n")]


@pytest.mark.parametrize("width", [35, 80, 200])
def test_as_many_inputs_and_targets_as_fit_stand_below_each_other_over_their_ids(width: int) -> None:
    station = stations_of(loader_of("The hay was cut on Monday, and by noon it lay in long rows. " * 20))[1]
    shown = printed(*station_parts(station, width), width=width)
    lines = shown[shown.index("place") :].splitlines()
    inputs, targets = (re.findall(r"'[^']*'", line) for line in lines if "  '" in line)
    assert inputs[1:] == targets[:-1]
    assert lines[2].index(inputs[0]) == lines[3].index("464") == lines[4].index(targets[0])
    assert all(len(line) <= width for line in lines)


def test_a_mixture_and_rows_of_documents_and_ids_without_a_tokenizer_have_an_order_and_a_batch() -> None:
    stores = [TokenStore.from_ids(np.arange(90), document_ends=[40, 90], eos_id=0) for _ in range(2)]
    packed = Loader(Windows(stores[0], 8, policy="pack"), batch_size=2)
    mixed = Loader(Mixture({"a": (Windows(stores[0], 8), 0.5), "b": (Windows(stores[1], 8), 0.5)}), batch_size=2)
    for loader in (packed, mixed):
        assert len(tour.order(loader).rows) == min(8, len(loader))
        station = tour.batch(loader, None)
        assert station.lines[0].startswith("inputs[0]  [")
        assert printed(*station_parts(station, 80))
    assert tour.tokens(stores[0], None).tokens[0][2][3] == (3, "<3>")
    shown = " ".join(row[1] for row in tour.order(mixed).rows)
    assert {named.split()[0] for named in shown.split(" · ")} == {"a", "b"}


def test_no_cell_of_a_table_acts_and_a_long_value_wraps_beside_its_label() -> None:
    shown = printed(table(["a", "b\nc"], [[EVIL, "1"]], left=[0]), pairs([("label", EVIL)]))
    assert not [c for c in shown if not (c.isprintable() or c == "\n")]
    assert "\\x1b[31mred \\u202e <b>bold</b> \\n" in shown
    assert printed(pairs([("label", "word " * 30)]), width=40).splitlines()[1].startswith("       word")
