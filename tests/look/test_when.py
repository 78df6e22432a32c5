"""Looking: what a step holds and when a document comes are inverses, at any size, at a cost that is bounded."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

import windrow as wr
from windrow import Loader, Mixture, TokenStore, Windows, prepare
from windrow.cli.main import app
from windrow.errors import WindrowError
from windrow.look.explain import explain, rows_of
from windrow.look.show import print_batch, print_raw
from windrow.look.when import sightings
from windrow.store.origins import Origins
from windrow.store.search import AT_A_TIME, find_text

EVIL = '<script>alert(1)</script>\x1b[31mred " onload=x \u202e &amp;'


def store_of(lengths: list[int]) -> TokenStore:
    ids = np.arange(sum(lengths)) % 256
    return TokenStore.from_ids(ids, tokenizer="bytes", document_ends=np.cumsum(lengths))


@st.composite
def loaders(draw: st.DrawFn) -> Loader:
    lengths = draw(st.lists(st.integers(1, 30), min_size=3, max_size=12).filter(lambda n: sum(n) > 24))
    store, policy = store_of(lengths), draw(st.sampled_from(["concat", "concat", "pad", "pack", "bos"]))
    kind = {"policy": policy}
    if policy == "concat":
        phase = draw(st.sampled_from([0, "epoch"]))
        tail = draw(st.sampled_from(["drop", "pad"])) if phase == 0 else "drop"
        kind |= {"stride": draw(st.integers(1, 6)), "phase": phase, "tail": tail}
    windows = Windows(store, 6, **kind)
    world = draw(st.integers(1, 3))
    sizes = {"dp_world_size": world, "drop_last": draw(st.booleans()), "epochs": draw(st.sampled_from([1, None]))}
    batch_size = draw(st.integers(1, max(1, len(windows) // world)))
    if len(windows) < batch_size * world:
        sizes["drop_last"] = False
    return Loader(windows, batch_size, seed=draw(st.integers(0, 9)), dp_rank=0, **sizes)


def on_rank(loader: Loader, rank: int) -> Loader:
    (windows,) = loader.members.values()
    tail = loader.sizes.tail
    made = Loader(
        windows,
        loader.batch_size,
        seed=loader.seed,
        dp_rank=rank,
        dp_world_size=loader.dp_world_size,
        drop_last=tail != "keep",
        epochs=None if tail == "straddle" else 1,
    )
    made.load_state_dict(loader.state_dict())
    return made


# -- show and when -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(loaders(), st.data())
def test_when_finds_exactly_the_rows_that_show_shows(loader: Loader, data: st.DataObject) -> None:
    (windows,) = loader.members.values()
    assert isinstance(windows, Windows)
    document = data.draw(st.integers(0, windows.store.num_documents - 1))
    start, stop = windows.store.document_span(document)
    found = sightings(loader, start, stop, epochs=2)
    by_when = {(s.step, s.dp_rank, s.row) for s in found if s.step is not None}
    by_show = set()
    ranks = [on_rank(loader, rank) for rank in range(loader.dp_world_size)]
    step = 0
    while loader._stream.segments.position_of(step) < 2 * loader.epoch_samples:
        for rank, one in enumerate(ranks):
            for sample, row in zip(one.lookup(step), rows_of(one, step), strict=True):
                last = windows.documents(np.array([sample.window]), np.array([sample.epoch]), key=(loader.seed, ""))[0]
                if sample.position < 2 * loader.epoch_samples and document in last:
                    by_show.add((step, rank, row.row))
        step += 1
    assert by_when == by_show


@settings(max_examples=40)
@given(loaders())
def test_the_tokens_of_a_sighting_stand_at_its_place_of_its_row(loader: Loader) -> None:
    (windows,) = loader.members.values()
    assert isinstance(windows, Windows)
    store = windows.store
    for one in sightings(loader, 0, store.num_tokens, epochs=2):
        if one.step is None:
            continue
        inputs, _ = on_rank(loader, one.dp_rank)[one.step]
        read = inputs[one.row][one.place : one.place + one.stop - one.first]
        assert read.tolist() == store.tokens(one.first, one.stop)[: len(read)].tolist()
        assert 0 <= one.num_targets <= one.stop - one.first


def test_the_targets_of_a_stretch_over_an_epoch_are_counted_once_each() -> None:
    loader = Loader(Windows(store_of([40, 30, 31]), 10), batch_size=1)
    found = sightings(loader, 40, 70)
    assert sum(one.num_targets for one in found) == 30


def test_a_member_of_a_mixture_is_found_in_the_steps_that_draw_from_it() -> None:
    a, b = (Windows(store_of([50] * n), 8, 4) for n in (4, 9))
    loader = Loader(Mixture({"a": (a, 0.5), "b": (b, 0.5)}), batch_size=2, seed=3)
    found = sightings(loader, 60, 70, member="a", epochs=2)
    assert len({one.epoch for one in found}) > 2
    for one in found:
        if one.step is not None:
            sample = loader.lookup(one.step)[one.row]
            assert (sample.member, sample.window, sample.epoch) == ("a", one.window, one.epoch)
    with pytest.raises(WindrowError, match="which member"):
        sightings(loader, 0, 1)


def test_a_resume_with_other_sizes_moves_what_comes_after_it_and_nothing_before() -> None:
    windows = Windows(store_of([200]), 5, 1)
    first = Loader(windows, batch_size=2, epochs=None)
    for _, _batch in zip(range(20), first, strict=False):
        pass
    later = Loader(windows, batch_size=7, epochs=None)
    later.load_state_dict(first.state_dict())
    for one in sightings(later, 100, 101, epochs=3):
        assert one.step is not None
        assert later.lookup(one.step)[one.row].window == one.window
        assert (one.step < 20) == (one.position < 40)


def test_what_is_skipped_or_dropped_is_never_seen() -> None:
    loader = Loader(Windows(store_of([100]), 3, 1), batch_size=7)
    never = [one for one in sightings(loader, 0, 100) if one.step is None]
    assert len(never) == loader.num_dropped == len(Windows(store_of([100]), 3, 1)) % 7
    loader.skip(21)
    assert sum(one.step is None for one in sightings(loader, 0, 100)) == loader.num_dropped + 21


class _Counting(TokenStore):
    """Counts the tokens that are read."""

    num_read = 0

    def gather(self, starts, length):  # type: ignore[no-untyped-def]
        type(self).num_read += len(starts) * length
        return super().gather(starts, length)


def test_show_and_when_read_no_more_of_a_billion_tokens_than_the_rows_asked_for(tmp_path: Path) -> None:
    num_tokens, num_documents = 10**9, 10**6
    with open(tmp_path / "tokens.bin", "wb") as file:
        file.truncate(2 * num_tokens)  # sparse: no disk is used
    tokens = np.memmap(tmp_path / "tokens.bin", dtype="<u2", mode="r")
    ends = np.arange(1, num_documents + 1) * (num_tokens // num_documents)
    store = _Counting([tokens], [ends], dtype=np.dtype("u2"), eos_id=0, fingerprint="f" * 64)
    store._tokenizer = "gpt2"
    loader = Loader(Windows(store, 1024), batch_size=4, seed=1, dp_rank=3, dp_world_size=8, epochs=None)
    for step in (0, 48_211, 10**9):
        _Counting.num_read = 0
        made = explain(loader, step)
        assert _Counting.num_read == 4 * 1025
        assert len(made.rows) == 4
    _Counting.num_read = 0
    start, stop = store.document_span(812)
    found = sightings(loader, start, stop, epochs=5)
    assert _Counting.num_read == 0
    assert 5 <= len(found) <= 15
    for one in found:
        assert one.step is not None
        place = Loader(Windows(store, 1024), 4, seed=1, dp_rank=one.dp_rank, dp_world_size=8, epochs=None)
        assert place.lookup(one.step)[one.row].window == one.window


# -- origins -------------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": f"line {n} of hay. {EVIL if n == 9 else ''}"}) for n in range(1, 41)]
    lines[19] = ""  # a blank line is nothing at all
    (tmp_path / "web.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "book.txt").write_text("one\ntwo\n\x1b[2J windrows\n", encoding="utf-8")
    prepare([tmp_path / "book.txt", tmp_path / "web.jsonl"], tmp_path / "corpus", tokenizer="bytes")
    return tmp_path / "corpus" / "train"


def test_every_document_names_the_source_line_and_bytes_that_it_was_read_from(corpus: Path) -> None:
    store = wr.open_store(corpus)
    origins = Origins(store).of(list(range(store.num_documents)))
    assert len(origins) == store.num_documents == 40
    for document, origin in origins.items():
        data = (corpus.parents[1] / Path(origin.source).name).read_bytes()[origin.first_byte : origin.stop_byte]
        text = json.loads(data)["text"] if origin.source.endswith("jsonl") else data.decode()
        assert bytes(store.document(document)[:-1].astype(np.uint8)).decode() == text


def test_a_source_line_finds_its_document_and_a_blank_or_unknown_one_says_so(corpus: Path) -> None:
    origins = Origins(wr.open_store(corpus))
    assert [origins.documents_at("web.jsonl", line) for line in (1, 19, 21)] == [[1], [19], [20]]
    assert origins.documents_at("book.txt", 3) == [0]
    with pytest.raises(WindrowError, match="line 20 of"):
        origins.documents_at("web.jsonl", 20)
    with pytest.raises(WindrowError, match=r"no source of this store is named other\.jsonl"):
        origins.documents_at("other.jsonl", 1)


def test_a_split_names_the_same_sources_as_the_whole(corpus: Path) -> None:
    store = wr.open_store(corpus)
    _, valid = store.split(0.5)
    for number in range(valid.num_documents):
        start, _ = valid.document_span(number)
        whole = int(store.document_at(np.array([store.num_tokens - valid.num_tokens + start]))[0])
        assert Origins(valid).of([number])[number] == Origins(store).of([whole])[whole]
    line = Origins(valid).of([3])[3].line
    assert Origins(valid).documents_at("web.jsonl", line) == [3]


def test_a_store_in_memory_has_no_origins() -> None:
    assert Origins(store_of([5])).of([0]) == {}


# -- text ----------------------------------------------------------------------------------------------------------


def test_a_phrase_is_found_wherever_it_stands_also_across_what_is_read_at_a_time() -> None:
    text = ("hay " * (AT_A_TIME // 2))[: 2 * AT_A_TIME]
    places = [0, 77, AT_A_TIME - 3, AT_A_TIME + 5, 2 * AT_A_TIME - 6]
    data = bytearray(text.encode())
    for place in places:
        data[place : place + 6] = "\u00e9rge ".encode()
    store = TokenStore.from_ids(np.frombuffer(bytes(data), dtype=np.uint8), tokenizer="bytes")
    assert list(find_text(store, "\u00e9rge")) == [(p, p + 5) for p in sorted(places)]


def test_a_phrase_is_found_inside_tokens_and_the_tokens_that_hold_it_are_named() -> None:
    from windrow.tokens.tokenizer import load_tokenizer

    text = "The windrows lay in windy rows. " * 50
    store = TokenStore.from_ids(np.array(load_tokenizer("gpt2").encode(text)), tokenizer="gpt2")
    found = list(find_text(store, "drows lay"))
    assert len(found) == 50
    assert all("drows lay" in store.decode(*place) for place in found)
    assert all("drows lay" not in store.decode(start + 1, stop) for start, stop in found)
    assert not list(find_text(store, "barley"))


# -- what is printed -----------------------------------------------------------------------------------------------


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


def test_explain_is_the_batch_of_the_loader_also_on_a_device_and_with_two_members() -> None:
    a, b = (Windows(store_of([50] * n), 8) for n in (4, 9))
    loader = Loader(Mixture({"a": (a, 0.5), "b": (b, 0.5)}), batch_size=3, seed=3, device="cpu")
    made = wr.explain(loader, 2)
    inputs, targets = loader[2]
    assert [row.inputs for row in made.rows] == inputs.tolist()
    assert [row.targets for row in made.rows] == targets.tolist()
    assert json.dumps(made.to_json())


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


# -- the program ---------------------------------------------------------------------------------------------------


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_when_and_show_agree_on_the_command_line(corpus: Path) -> None:
    sizes = ["--max-length", 32, "--batch-size", 2, "--dp-world-size", 2]
    facts = json.loads(invoke("when", corpus, "--source", "web.jsonl:9", "--epochs", 2, "--json", *sizes))
    assert facts["stretches"][0]["label"].startswith("document 9, ")
    assert len(facts["sightings"]) > 4
    for one in facts["sightings"]:
        if one["step"] is not None:
            words = ["show", corpus, "--step", one["step"], "--dp-rank", one["dp_rank"], "--row", one["row"], "--json"]
            (row,) = json.loads(invoke(*words, *sizes))["rows"]
            assert row["window"] == one["window"]
    text = json.loads(invoke("when", corpus, "--text", "line 9 of", "--json", "--epochs", 2, *sizes))
    assert {s["step"] for s in text["sightings"]} <= {s["step"] for s in facts["sightings"]}
    printed = invoke("when", corpus, "--document", 9, "--epochs", 2, *sizes)
    assert "of the first 2 epochs" in printed
    assert "recipe: " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--document", 99], "document 99 of 40"),
        (["--source", "web.jsonl"], "FILE:LINE"),
        (["--text", "barley"], "stands nowhere"),
        (["--text", ""], "empty"),
    ],
)
def test_what_is_not_there_is_one_message_and_exit_code_1(corpus: Path, words: list[object], message: str) -> None:
    done = CliRunner().invoke(app, ["when", str(corpus), *map(str, words)])
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_when_wants_exactly_one_thing_to_look_for(corpus: Path) -> None:
    assert CliRunner().invoke(app, ["when", str(corpus)]).exit_code == 2
    assert CliRunner().invoke(app, ["when", str(corpus), "--document", "1", "--text", "x"]).exit_code == 2


def test_a_trace_shows_the_windows_and_slices_that_the_library_makes(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text(f"{EVIL} the hay was cut on Monday. " * 20, encoding="utf-8")
    shown = invoke("trace", tmp_path / "story.txt", "--max-length", 4, "--stride", 3, "--batch-size", 2, "--seed", 5)
    assert "\x1b" not in shown
    store = TokenStore.from_ids(wr.load_tokenizer("gpt2").encode((tmp_path / "story.txt").read_text()))
    windows = Windows(store, 4, 3)
    assert f"// 3 + 1 = {len(windows)}" in shown
    loader = Loader(windows, 2, seed=5, drop_last=False)
    ids = store.tokens(0, 5).tolist()
    assert f"{ids[:4]} ----> {ids[4]}" in shown
    for step in (0, 1, 2, len(loader), len(loader) + 1):
        for sample in loader.lookup(step):
            start = sample.window * 3
            lines = [one.split() for one in shown.splitlines() if one.rstrip().endswith("]")]
            assert [str(step), str(sample.position), str(sample.window), str(start), f"[{start}:{start + 5}]"] in lines
    assert f"inputs[0]  {loader[0].inputs[0].tolist()}" in shown
    for word in ("DataLoader", "Sampler", "BatchSampler", "num_workers", "collate_fn"):
        assert word in shown


@pytest.mark.parametrize(("num_tokens", "count"), [(600, 2), (513, 2), (512, 1), (257, 1), (256, 0)])
def test_the_arithmetic_alone_is_that_of_the_windows(num_tokens: int, count: int) -> None:
    shown = invoke("trace", "--num-tokens", num_tokens, "--max-length", 256)
    assert re.search(rf"// 256 \+ 1 = {count} *\n", shown)
    assert ("no window fits" in shown) == (count == 0)
