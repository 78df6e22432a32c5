"""The report in a browser: it loads in silence, its numbers are the library's, and a corpus cannot act in it."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import windrow as wr
from windrow import Loader, Mixture, TokenStore, Windows, write_report
from windrow.look.report_data import coverage, frequent_tokens
from windrow.text.demo import demo_text

EVIL = (
    '<script>alert(1)</script> </script><img src=x onerror="window.bad=1"> \x1b[31mred \x1b]0;t\x07 \u202e '
    "&lt;b&gt; ]]> \u2028 <!-- '\" javascript:alert(2) http://example.com/x.png "
)


def store_of(text: str, cuts: int = 1) -> TokenStore:
    ids = np.array(wr.load_tokenizer("gpt2").encode(text))
    ends = np.unique(np.linspace(0, len(ids), cuts + 1).astype(int))[1:]
    return TokenStore.from_ids(ids, tokenizer="gpt2", document_ends=ends)


class Phrases:
    """A tokenizer whose tokens are whole pieces of markup: cut into GPT-2's they could not act anyway."""

    pieces = (EVIL, "<script>window.bad=1</script>", "<img src=x onerror=window.bad=1>", "</script><b>", " hay")
    vocab_size, eos_id, fingerprint = len(pieces), 4, "phrases"

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[i] for i in ids)


class Seen:
    """A page, and what it did that it should not."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page, self.problems = self.context.new_page(), list[str]()
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.problems.append(f"request: {request.url}"))
        self.page.goto(path.as_uri())
        self.problems.remove(f"request: {path.as_uri()}")

    def __enter__(self) -> "Seen":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def slide(self, name: str, value: int) -> None:
        self.page.evaluate(
            "([id, value]) => { const one = document.getElementById(id); one.value = value; "
            "one.dispatchEvent(new Event('input', {bubbles: true})) }",
            [name, value],
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loader]:
    loader = Loader(Windows(store_of(f"{EVIL} the hay was cut. " * 60, cuts=9), 16, 8), batch_size=3, seed=5)
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(loader, path) == path.stat().st_size
    return path, loader


# -- in a browser --------------------------------------------------------------------------------------------------


def test_the_page_loads_with_no_console_message_no_error_and_no_request(
    browser: Any, made: tuple[Path, Loader]
) -> None:
    with Seen(browser, made[0]) as seen:
        assert seen.page.locator("h2").count() >= 8
        assert seen.problems == []


def test_a_corpus_cannot_act_in_the_page(browser: Any, made: tuple[Path, Loader]) -> None:
    with Seen(browser, made[0]) as seen:
        for step in (0, 1, 2):
            seen.slide("step", step)
        seen.slide("length", 9)
        assert seen.problems == []
        assert seen.page.evaluate("window.bad") is None
        assert seen.page.evaluate("document.querySelectorAll('img, iframe, object, link, base, form').length") == 0
        assert seen.page.evaluate("document.scripts.length") == 2
        assert "script" in (seen.page.text_content("#batch") or "")
    raw = made[0].read_text(encoding="utf-8")
    assert not [c for c in raw if not (c.isprintable() or c == "\n")]
    assert "<script>alert" not in raw
    assert raw.count("<script") == raw.count("</script>") == 2


def test_a_token_that_is_markup_as_a_whole_is_shown_as_text(browser: Any, tmp_path: Path) -> None:
    store = TokenStore.from_ids(np.arange(600) % 5, tokenizer=Phrases())
    write_report(Loader(Windows(store, 6, 3), batch_size=2), tmp_path / "report.html")
    raw = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert raw.count("<script") == 2
    assert "<img" not in raw
    assert "<b>hay" not in raw
    with Seen(browser, tmp_path / "report.html") as seen:
        for step in (1, 0):
            seen.slide("step", step)
        seen.slide("length", 3)
        assert seen.problems == []
        assert seen.page.evaluate("window.bad") is None
        assert seen.page.evaluate("document.querySelectorAll('img').length") == 0
        assert "<script>window.bad=1</script>" in seen.page.inner_text("#batch")


def test_the_policy_of_the_page_refuses_a_script_and_a_style_that_are_not_its_own(
    browser: Any, made: tuple[Path, Loader], tmp_path: Path
) -> None:
    page = made[0].read_text(encoding="utf-8")
    forged = tmp_path / "forged.html"
    extra = '<script>window.bad = 1</script><img src="https://example.com/x.png"><p onclick="window.bad = 1">x</p>'
    forged.write_text(page.replace("</main>", f"{extra}</main>"), encoding="utf-8")
    with Seen(browser, forged) as seen:
        assert seen.page.evaluate("window.bad") is None
        assert sum("Content Security Policy" in problem for problem in seen.problems) >= 2
        assert seen.page.evaluate("document.querySelector('img').naturalWidth") == 0


def test_the_sliders_make_the_windows_that_the_library_makes(browser: Any, made: tuple[Path, Loader]) -> None:
    path, loader = made
    store = loader.members[""].store  # type: ignore[attr-defined]
    with Seen(browser, path) as seen:
        longest = int(seen.page.get_attribute("#length", "max"))
        for length in {1, 2, 7, longest}:
            for stride in {1, 2, length, longest}:
                seen.slide("length", length)
                seen.slide("stride", stride)
                with pytest.warns(UserWarning, match="stride") if stride > length else _nothing():
                    windows = Windows(store, length, stride)
                assert f"+ 1 = {len(windows):,} windows" in seen.page.inner_text("#arithmetic")
                shown = seen.page.eval_on_selector_all("#windows .window", "all => all.map(one => ({...one.dataset}))")
                assert shown
                ids = np.arange(len(shown))
                assert [int(one["start"]) for one in shown] == windows.starts(ids).tolist()
                assert [one["ids"] for one in shown] == [" ".join(map(str, row)) for row in windows.gather(ids)]


class _nothing:  # noqa: N801 - a context
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_the_step_box_shows_the_batch_of_the_loader(browser: Any, made: tuple[Path, Loader]) -> None:
    path, loader = made
    with Seen(browser, path) as seen:
        for step in (0, 1, 5, len(loader), len(loader) + 2):
            seen.slide("step", step)
            shown = seen.page.eval_on_selector_all("#batch .sample", "all => all.map(one => ({...one.dataset}))")
            inputs, targets = loader[step]
            assert [one["inputs"] for one in shown] == [" ".join(map(str, row)) for row in inputs]
            assert [one["targets"] for one in shown] == [" ".join(map(str, row)) for row in targets]
        seen.slide("step", 10_000)
        assert "windrow show STORE --step 10000" in seen.page.inner_text("#batch")


CONTRAST = """() => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (one) => { for (; one; one = one.parentElement) {
    const c = rgb(getComputedStyle(one).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return rgb(getComputedStyle(document.body).backgroundColor); };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const one = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !one.getClientRects().length || one.tagName === "SCRIPT") continue;
    const style = getComputedStyle(one), svg = one instanceof SVGElement;
    const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(behind(one))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push(one.tagName + "." + one.className + " " + ratio.toFixed(2)); }
  return [...new Set(found)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1600])
def test_the_page_fits_its_width_and_every_word_stands_out_from_its_ground(
    browser: Any, made: tuple[Path, Loader], width: int, scheme: str
) -> None:
    with Seen(browser, made[0], viewport={"width": width, "height": 800}, color_scheme=scheme) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        assert seen.page.evaluate(CONTRAST) == []
        dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        assert seen.page.evaluate("parseFloat(getComputedStyle(document.querySelector('p')).fontSize)") >= 16


def test_without_javascript_everything_is_there_but_the_controls(browser: Any, made: tuple[Path, Loader]) -> None:
    path, loader = made
    with Seen(browser, path, java_script_enabled=False) as seen:
        assert seen.page.locator("h2").count() >= 8
        assert seen.page.locator("svg").count() >= 4
        assert seen.page.locator("#batch .sample").count() == 3
        assert seen.page.locator("#windows .window").count() == 5
        assert not seen.page.locator("#length").is_visible()
        assert f"window {loader.lookup(0)[0].window} of epoch 0" in seen.page.inner_text("#batch")


def test_keys_alone_move_the_sliders_and_the_step(browser: Any, made: tuple[Path, Loader]) -> None:
    with Seen(browser, made[0]) as seen:
        page = seen.page
        page.focus("#step")
        page.keyboard.press("ArrowUp")
        assert page.get_attribute("#batch", "data-step") == "1"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator("#batch details[open]").count() == 0
        page.focus("#length")
        before = int(page.input_value("#length"))
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#length-out") == str(before + 1)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "stride"


def test_every_control_and_figure_has_a_name_and_headings_skip_no_level(
    browser: Any, made: tuple[Path, Loader]
) -> None:
    with Seen(browser, made[0]) as seen:
        assert seen.page.evaluate("[...document.querySelectorAll('input')].every(one => one.labels.length)")
        assert seen.page.evaluate("[...document.querySelectorAll('svg')].every(one => one.getAttribute('aria-label'))")
        levels = seen.page.eval_on_selector_all("h1, h2, h3", "all => all.map(one => Number(one.tagName[1]))")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        links = seen.page.eval_on_selector_all(
            "nav a", "all => all.map(one => document.querySelector(one.hash) !== null)"
        )
        assert all(links)


TEXT_OF_SCRIPTS = "春天来了，桃花开了。\n في الصباح الباكر خرج. הבוקר יצא 🌾👩\u200d🌾 hay  was cut. नमस्ते\n"


@pytest.mark.parametrize("tokenizer", ["gpt2", "bytes"])
def test_tokens_of_one_character_are_one_chip_and_the_script_makes_the_chips_that_the_page_came_with(
    browser: Any, tmp_path: Path, tokenizer: str
) -> None:
    ids = [*wr.load_tokenizer(tokenizer).encode(TEXT_OF_SCRIPTS)] * 9
    store = TokenStore.from_ids(np.array(ids), tokenizer=tokenizer)
    loader = Loader(Windows(store, 48, 24), batch_size=3, shuffle=False)
    write_report(loader, tmp_path / "report.html")
    with Seen(browser, tmp_path / "report.html", java_script_enabled=False) as seen:
        came = [seen.page.locator(f"{place} .chip").all_text_contents() for place in ("#batch", "#windows")]
        chips = seen.page.locator("#batch details[open] .row .chip").all_text_contents()
        assert [chip[0] for chip in chips[:5]] == list("春天来了，")
        assert "·" in "".join(chips)
        text = seen.page.inner_text("#batch details[open] .reading")
        assert text.startswith("春天来了，桃花开了。\n في" if tokenizer == "gpt2" else "春天来了，桃花开了。")
        assert seen.page.get_attribute("#batch bdi", "dir") == "auto"
    with Seen(browser, tmp_path / "report.html") as seen:
        for step in (1, 0):
            seen.slide("step", step)
        made = [seen.page.locator(f"{place} .chip").all_text_contents() for place in ("#batch", "#windows")]
        assert made == came
        assert seen.page.get_attribute("#batch bdi", "dir") == "auto"
        assert seen.page.inner_text("#batch details[open] .reading") == text
        assert seen.problems == []


def test_a_token_has_its_colour_in_whatever_window_it_stands(browser: Any, made: tuple[Path, Loader]) -> None:
    with Seen(browser, made[0]) as seen:
        for length, stride in ((8, 4), (9, 3), (7, 1)):
            seen.slide("length", length)
            seen.slide("stride", stride)
            inputs, targets = ("#windows .window .row:first-child", "#windows .window .row:last-child")
            kinds = "all => all.map(one => [...one.querySelectorAll('.chip')].map(chip => chip.className))"
            rows = seen.page.eval_on_selector_all(inputs, kinds)
            assert len({kind for row in rows for kind in row}) == 5
            for row, after in pairwise(rows):
                assert row[stride:] == after[: length - stride]
            for row, shifted in zip(rows, seen.page.eval_on_selector_all(targets, kinds), strict=True):
                assert row[1:] == shifted[:-1]


def test_any_step_coverage_and_the_ledger_come_first_and_the_way_there_stays_in_sight(
    browser: Any, made: tuple[Path, Loader]
) -> None:
    with Seen(browser, made[0], viewport={"width": 400, "height": 700}) as seen:
        ids = seen.page.eval_on_selector_all("h2, h3[id]", "all => all.map(one => one.id)")
        assert ids[:3] == ["steps-h", "coverage", "ledger"]
        seen.page.locator("#shuffle").scroll_into_view_if_needed()
        seen.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        box = seen.page.locator("nav").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 1


# -- the page itself -----------------------------------------------------------------------------------------------


def pages() -> dict[str, Any]:
    text = demo_text()
    big = store_of(text[:500_000] * 2, cuts=300)
    web, code = Windows(store_of(text[:60_000], 20), 64), Windows(store_of(text[60_000:90_000], 7), 64)
    return {
        "20 kB": lambda: Loader(Windows(store_of(text[:20_000], 3), 64, 32), batch_size=4),
        "1 MB": lambda: Loader(Windows(big, 256), batch_size=16, dp_rank=1, dp_world_size=2),
        "long rows": lambda: Loader(Windows(big, 2048), batch_size=32),
        "packed": lambda: Loader(Windows(big, 256, policy="pack"), batch_size=4),
        "one window": lambda: Loader(Windows(TokenStore.from_ids([1, 2, 3]), 2), batch_size=1),
        "padded": lambda: Loader(Windows(store_of("a few words"), 8, tail="pad"), 4, drop_last=False),
        "mixture": lambda: Loader(Mixture({"web <b>": (web, 0.7), "code": (code, 0.3)}), batch_size=2),
        "phase": lambda: Loader(Windows(big, 64, 32, phase="epoch"), batch_size=8, epochs=None),
    }


@pytest.mark.parametrize("name", list(pages()))
def test_every_kind_of_run_has_a_page_of_less_than_300_kb_that_asks_nothing_of_others(
    name: str, tmp_path: Path
) -> None:
    loader = pages()[name]()
    before = loader.position
    assert write_report(loader, tmp_path / "report.html") < 300_000
    assert loader.position == before
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "<b>" not in page.replace("<b>max_length</b>", "").replace("<b>stride</b>", "")
    outside = page[: page.index('<script type="application/json"')]
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?[^#"'\s>]|url\(|@import""", outside)
    assert ("The mixture" in page) == (name == "mixture")
    assert ('href="#mixture"' in page) == (name == "mixture")
    assert {*re.findall(r'href="#([\w-]+)"', page)} <= {*re.findall(r'id="?([\w-]+)', page)}


def test_the_stream_that_ranks_cut_is_that_of_all_ranks_whoever_writes_the_page(tmp_path: Path) -> None:
    windows = Windows(store_of("the hay was cut on Monday and raked. " * 60), 8)
    pages = []
    for rank, world in ((0, 1), (2, 3)):
        write_report(Loader(windows, 2, dp_rank=rank, dp_world_size=world), tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        pages.append(page[page.index("How ranks cut the stream</h2>") : page.index('<h2 id="data-h">')])
    assert pages[0] == pages[1]
    first = [sample.window for step in range(8) for sample in Loader(windows, 2).lookup(step)]
    assert re.findall(r">(\d+)</span>", pages[0])[:16] == [str(window) for window in first]


@pytest.mark.parametrize("kind", [{"stride": 3}, {"stride": 8}, {"policy": "pack"}, {"policy": "pad"}])
def test_the_coverage_of_all_stretches_together_is_every_target_of_an_epoch(kind: dict[str, Any]) -> None:
    windows = Windows(store_of("the hay was cut on Monday and raked. " * 30, cuts=11), 8, **kind)
    loader = Loader(windows, batch_size=1)
    found = coverage(loader, windows, "")
    assert found is not None
    stretches, num_epochs = found
    assert num_epochs == 1
    assert stretches[0][0] == 0
    assert stretches[-1][1] == windows.num_tokens
    total = sum((stop - start) * times for start, stop, times in stretches)
    assert total == pytest.approx(sum(batch.num_targets for batch in loader))


def test_the_page_ends_with_the_recipe_in_a_line_that_reads(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(Loader(Windows(store_of(demo_text()[:20_000]), 64, 32), 2, seed=5), page)
    assert "<p class=soft>Recipe: concat, max_length 64, stride 32, batch_size 2, seed 5</p>" in page.read_text()


@pytest.mark.parametrize("kind", [{"phase": "epoch"}, {"documents": "epoch"}, {"policy": "pack", "documents": "epoch"}])
def test_the_coverage_of_rows_that_move_is_the_mean_of_64_epochs(kind: dict[str, Any], tmp_path: Path) -> None:
    windows = Windows(store_of("the hay was cut on Monday and raked. " * 30, cuts=11), 8, **kind)
    loader = Loader(windows, batch_size=1, epochs=None)
    found = coverage(loader, windows, "")
    assert found is not None
    stretches, num_epochs = found
    assert num_epochs == 64
    num_targets = sum(loader[step].num_targets for step in range(64 * windows.num_samples))
    total = sum((stop - start) * times for start, stop, times in stretches)
    assert total == pytest.approx(num_targets / 64)
    write_report(loader, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "on average over the stretch and the first 64 epochs." in page


def test_an_evaluation_has_a_report_whose_stretches_count_each_target_once(tmp_path: Path) -> None:
    loader = Loader.evaluation(Windows(store_of("a few words and a few more"), 4, 2), batch_size=1)
    assert write_report(loader, tmp_path / "report.html") > 1000
    (windows,) = loader.members.values()
    found = coverage(loader, windows, "")
    assert found
    assert sum((stop - start) * times for start, stop, times in found[0]) == pytest.approx(windows.num_tokens - 1)


@pytest.mark.parametrize(("tokenizer", "cjk"), [("gpt2", 1.0), ("bytes", 3.0)])
def test_tokens_a_character_are_counted_by_script(tokenizer: str, cjk: float) -> None:
    text = "hay " * 30 + "の" + "天" * 20 + " 12 \u200d <|x|>"
    store = TokenStore.from_ids(np.array(wr.load_tokenizer(tokenizer).encode(text)), tokenizer=tokenizer)
    windows = Windows(store, 8)
    found = frequent_tokens(windows, store.tokenizer)["scripts"]
    counted = {name: (count, tokens / count) for name, count, tokens in found}
    assert counted["cjk"] == (20, cjk)
    assert set(counted) == {"latin", "cjk", "hiragana"}
    assert frequent_tokens(windows, None)["scripts"] == []


# -- train.html ----------------------------------------------------------------------------------------------------


def test_training_writes_a_page_that_refreshes_until_it_is_done(tmp_path: Path, browser: Any) -> None:
    from windrow.training.train_page import TRAIN_PAGE, write_train_page

    row = {"loss": 5.0, "tokens_per_second": 900.0, "wait_share": 0.25}
    log: list[dict[str, float]] = [{"step": float(step), **row} for step in range(40)]
    log[3]["valid_loss"], log[-1]["loss"] = 4.75, 4.5
    folder = tmp_path / "<b>run"
    folder.mkdir()
    write_train_page(folder, log, 100)
    assert 'http-equiv="refresh"' in (folder / TRAIN_PAGE).read_text(encoding="utf-8")
    with Seen(browser, folder / TRAIN_PAGE, viewport={"width": 375, "height": 700}, color_scheme="dark") as seen:
        words = seen.page.inner_text("body")
        assert seen.page.locator("svg").count() == 3
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 375
        assert seen.problems == []
    for part in ("<b>run: step 40 of 100", "4.5000", "4.7500", "900", "25.00%", "training"):
        assert part in words
    for log_now, state in ((log, "stopped"), (log * 3, "done")):
        write_train_page(folder, log_now, 100, is_done=True)
        page = (folder / TRAIN_PAGE).read_text(encoding="utf-8")
        assert 'http-equiv="refresh"' not in page
        assert f"<p>{state}</p>" in page
    write_train_page(folder, [], 100)


def test_train_leaves_a_page_and_a_log_with_every_figure(tmp_path: Path) -> None:
    import json

    from typer.testing import CliRunner

    from windrow.cli.main import app

    (tmp_path / "story.txt").write_text("the hay was cut on Monday and raked. " * 60, encoding="utf-8")
    sizes = [
        "--max-length",
        "16",
        "--batch-size",
        "2",
        "--width",
        "16",
        "--num-heads",
        "2",
        "--num-layers",
        "1",
        "--steps",
        "4",
        "--tokenizer",
        "bytes",
    ]
    done = CliRunner().invoke(
        app, ["train", "--text", str(tmp_path / "story.txt"), "--out", str(tmp_path / "run"), *sizes]
    )
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all({"step", "loss", "tokens_per_second", "wait_share"} <= set(row) for row in rows)
    assert "valid_loss" in rows[-1]
    assert f"{rows[-1]['loss']:.4f}" in (tmp_path / "run" / "train.html").read_text(encoding="utf-8")
