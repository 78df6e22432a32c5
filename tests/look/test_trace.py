"""trace: the arithmetic, windows and slices that it prints are those of the library."""

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import windrow as wr
from look_helpers import EVIL, invoke
from windrow import Loader, TokenStore, Windows
from windrow.cli.main import app
from windrow.textbook import create_dataloader_v1, drawn_batches


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


def test_a_trace_of_the_textbook_shows_what_torchs_sampler_drew(tmp_path: Path) -> None:
    text = f"{EVIL} the hay was cut on Monday.<|endoftext|> " * 20
    (tmp_path / "story.txt").write_text(text, encoding="utf-8")
    sizes = ["--max-length", 4, "--stride", 3, "--batch-size", 2, "--seed", 5]
    shown = invoke("trace", tmp_path / "story.txt", "--textbook", *sizes)
    assert "\x1b" not in shown
    torch.manual_seed(5)
    loader = create_dataloader_v1(text, batch_size=2, max_length=4, stride=3)
    first, second = ([batch.indices for batch in epoch] for epoch in drawn_batches(loader))
    for number, (now, then) in enumerate(zip(first, second, strict=True)):
        cells = [str(number), " · ".join(map(str, now)), "(2, 4)", "(2, 4)", " · ".join(map(str, then))]
        assert re.search(r" +".join(map(re.escape, cells)), shown), cells
    assert f"{len(loader.dataset)} windows" in shown
    assert "torch.manual_seed(5)" in shown


def test_a_trace_of_the_textbook_needs_a_text() -> None:
    done = CliRunner().invoke(app, ["trace", "--num-tokens", "600", "--textbook"])
    assert done.exit_code == 2
    assert "--textbook" in done.stderr
