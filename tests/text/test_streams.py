"""Compressed streams: what follows one another is one text, and one that ends early is an error."""

import gzip
from pathlib import Path

import pytest

from prepare_helpers import real_texts, same_ids, zst
from windrow import prepare
from windrow.errors import SourceError


def test_members_of_a_gzip_and_frames_of_a_zstd_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"text") + b"\0" * 512)
    (tmp_path / "b.txt.zst").write_bytes(zst(b"one ") + zst(b"text"))
    same_ids(prepare(tmp_path, tmp_path / "out")["train"], ["one text"] * 2)


MB = 1_000_000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize(("size", "lost"), [(100_000, 1), (100_000, 4), (100_000, 1000), (30_000_000, 4)])
def test_a_truncated_stream_is_an_error_and_never_half_a_corpus(
    tmp_path: Path, suffix: str, size: int, lost: int
) -> None:
    text = "".join(real_texts(50 * MB))[:size]
    data = gzip.compress(text.encode(), 1) if suffix == ".gz" else zst(text.encode())
    (tmp_path / f"x.txt{suffix}").write_bytes(data[:-lost])
    with pytest.raises(SourceError, match="is damaged near byte"):
        prepare(tmp_path / f"x.txt{suffix}", tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out/train").exists()


@pytest.mark.parametrize("data", [b"", b"not compressed at all", gzip.compress(b"text", mtime=0) + b"garbage"])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path: Path, data: bytes, suffix: str) -> None:
    (tmp_path / f"x.txt{suffix}").write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        prepare(tmp_path / f"x.txt{suffix}", tmp_path / "out")
