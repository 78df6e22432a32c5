"""Texts and stores in Azure's blobs, on its emulator: equal to those on disk."""

import os
from pathlib import Path

import pytest

import azure_server
import windrow as wr

pytest.importorskip("obstore")


def test_what_is_prepared_from_blobs_copied_there_and_back_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.environ.get("WINDROW_SERVERS"):
        pytest.skip("WINDROW_SERVERS=1 runs the tests on real servers")
    if not azure_server.is_installed():
        pytest.skip("Azurite is not installed: npm install --prefix build/azurite azurite")
    from windrow.far.objects import Objects

    with azure_server.running("corpora") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "texts").mkdir()
        for number in range(5):
            (tmp_path / "texts" / f"{number}.txt").write_text(
                f"Document {number}: 干草, hay. " * 1000, encoding="utf-8"
            )
            Objects("az://corpora/texts").write(f"{number}.txt", tmp_path / "texts" / f"{number}.txt")
        for name, given in (("here", str(tmp_path / "texts")), ("far", "az://corpora/texts")):
            wr.prepare(given, tmp_path / name, tokenizer="bytes", workers=1)
        wr.copy_store(tmp_path / "far", "az://corpora/copied")
        wr.copy_store("az://corpora/copied", tmp_path / "back")
        far = wr.open_store("az://corpora/copied/train", cache=tmp_path / "cache", cache_bytes=80 << 20)
        here = wr.open_store(tmp_path / "far" / "train")
        streams = (wr.Loader(wr.Windows(store, 32), 4, seed=7) for store in (here, far))
        assert all((ours.inputs == theirs.inputs).all() for ours, theirs in zip(*streams, strict=True))
        assert not Objects("az://corpora/copied").write("train/manifest.json", b"x", only_if_absent=True)
    for path in (tmp_path / "here" / "train").iterdir():
        assert (tmp_path / "far" / "train" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "back" / "train" / path.name).read_bytes() == path.read_bytes()
