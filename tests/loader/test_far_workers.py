"""Workers of a loader whose store is far away: processes of their own, that read the same cache."""

from pathlib import Path

import numpy as np
import pytest

import windrow as wr

pytest.importorskip("obstore")

from windrow.far.objects import FarError


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there when a process that is spawned from here on has imported the client, which it cannot."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/obstore.py").write_text("open(__file__ + '.used', 'w').close(); raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    return tmp_path / "lib/obstore.py.used"


def test_workers_give_the_stream_of_a_store_on_disk_and_have_no_client(tmp_path: Path, imported: Path) -> None:
    wr.prepare((f"Document {n}. " * 50 for n in range(100)), tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", f"file://{tmp_path}/far")
    far = wr.open_store(f"file://{tmp_path}/far/train", cache=tmp_path / "cache", cache_bytes=68 << 20)
    here = wr.open_store(tmp_path / "corpus" / "train")
    wanted, found = (wr.Loader(wr.Windows(store, 64), 8, seed=7) for store in (here, far))
    batches = list(found.dataloader(num_workers=2))
    assert len(batches) == len(wanted)
    for ours, theirs in zip(wanted, batches, strict=True):
        assert np.array_equal(ours.inputs, theirs.inputs)
        assert np.array_equal(ours.targets, theirs.targets)
    assert not imported.exists()


def test_a_worker_whose_leader_does_not_fetch_asks_for_itself(
    tmp_path: Path, imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wr.prepare(iter(["The hay was cut on Monday."]), tmp_path / "corpus", tokenizer="bytes")
    wr.copy_store(tmp_path / "corpus", f"file://{tmp_path}/far")
    far = wr.open_store(f"file://{tmp_path}/far/train", cache=tmp_path / "cache", cache_bytes=68 << 20)
    monkeypatch.setattr("windrow.far.ahead.Ahead._begins", lambda self: False)
    with pytest.raises(FarError, match="needs obstore"):
        list(wr.Loader(wr.Windows(far, 8), 1).dataloader(num_workers=1))
    assert imported.exists()
