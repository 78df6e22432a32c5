"""Hostile and mistaken texts: each kind is made by code, and each has a message of its own."""

from pathlib import Path
from typing import Any

import pytest

from prepare_helpers import zst
from windrow import prepare
from windrow.errors import SourceError


def refused(path: Path, message: str, **options: Any) -> None:
    """Assert that preparing ``path`` fails with ``message`` and publishes nothing."""
    with pytest.raises(SourceError, match=message):
        prepare(path, path.parent / "out", tokenizer="bytes", **options)
    assert not (path.parent / "out/train").exists()


def test_a_zstd_frame_of_a_long_window_is_not_called_damaged(tmp_path: Path) -> None:
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3])  # a frame whose window is 2 GiB
    (tmp_path / "x.txt.zst").write_bytes(header + b"\x01\x00\x00")
    zst(b"")  # skips where there is nothing to unpack with
    refused(tmp_path / "x.txt.zst", r"window of more than 128 MiB .*zstd -d --long=31 .*x\.txt\.zst")
