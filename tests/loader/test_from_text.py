"""One call from text to batches: what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from windrow import from_text


@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_of_a_file_is_not_its_text(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("one short story")
    with pytest.raises(ValueError, match=r"text is the path of a file.*Read it first: text = Path\("):
        from_text(kind(path), tokenizer="bytes")
    names_no_file = str(tmp_path / "no such file")
    assert len(from_text(names_no_file, tokenizer="bytes", max_length=2, batch_size=1)) > 0


@pytest.mark.parametrize("text", [b"bytes", None, ["a", "list"]])
def test_what_is_no_text_is_named_by_its_type(text: Any) -> None:
    with pytest.raises(ValueError, match=f"text is a {type(text).__name__}, and it must be a str"):
        from_text(text, tokenizer="bytes")


@pytest.mark.parametrize("text", ["two\nlines", "a\0b", "long " * 2000])
def test_text_that_cannot_name_a_file_is_text(text: str) -> None:
    assert len(from_text(text, tokenizer="bytes", max_length=1, batch_size=1)) > 0
