"""Workers of a loader whose store is far away: processes of their own, that read the same cache."""

from pathlib import Path

import numpy as np
import pytest

import windrow as wr

pytest.importorskip("obstore")


def test_workers_give_the_stream_of_a_store_on_disk(tmp_path: Path) -> None:
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
