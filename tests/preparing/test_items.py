"""How inputs fall into work items."""

from pathlib import Path

from prepare_helpers import same_ids
from windrow import prepare


def test_ten_thousand_small_files_are_read_many_to_an_item(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    texts = [f"file number {number}\n" for number in range(10_000)]
    for number, text in enumerate(texts):
        (tmp_path / f"in/{number:05d}.txt").write_text(text)
    same_ids(prepare(tmp_path / "in", tmp_path / "out")["train"], texts)
