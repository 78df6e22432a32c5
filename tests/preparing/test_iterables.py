"""Documents that come from an iterable, a few at a time."""

from pathlib import Path

from windrow import prepare


def test_a_generator_of_several_items_is_worked_on_by_several_processes(tmp_path: Path) -> None:
    stores = prepare((f"{n} hay " * 100_000 for n in range(24)), tmp_path, tokenizer="bytes", workers=2)
    assert stores["train"].num_documents == 24
    assert stores["train"].decode(*stores["train"].document_span(23))[:14] == "23 hay 23 hay "
