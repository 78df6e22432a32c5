"""A batch as a pair, by name, moved, pickled, and in the convention of Hugging Face."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from windrow import Batch, Loader, Mixture, TokenStore, Windows
from windrow.errors import WindrowError

OUTPUTS = ("document_ids", "position_ids", "cu_seqlens", "max_seqlen", "block_mask", "dense_mask")


def batch_of(device: str | None = "cpu", **kwargs: Any) -> Batch:
    store = TokenStore.from_ids(np.arange(40, dtype=np.uint16) % 7, eos_id=0)
    return next(iter(Loader(Windows(store, 5), 2, seed=1, device=device, **kwargs)))


def padded(device: str | None = "cpu") -> Batch:
    """Rows some of whose targets, and one of whose last targets, do not count."""
    (batch,) = Loader(Windows(TokenStore.from_ids([1, 2, 3, 4, 5, 6, 7], eos_id=0), 4, tail="pad"), 2, device=device)
    return batch


@pytest.mark.parametrize("device", ["cpu", None])
@pytest.mark.parametrize("make", [batch_of, padded])
def test_hugging_face_labels_are_the_targets_once_the_model_has_shifted_them(make: Any, device: str | None) -> None:
    batch = make(device)
    given = batch.as_hf()
    ids, labels = (np.asarray(given[name]) for name in ("input_ids", "labels"))
    assert list(given) == ["input_ids", "labels"]
    assert type(given["labels"]) is type(batch.targets)
    assert ids.dtype == labels.dtype == np.int64
    assert np.array_equal(ids[:, :-1], batch.inputs)
    assert np.array_equal(labels[:, 1:], batch.targets)
    assert (labels[:, 0] == -100).all()
    assert ((labels == ids) | (labels == -100)).all(), "not shifted: a label is the id at its own place"
    assert (ids >= 0).all()
    assert (labels != -100).sum() == batch.num_targets


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@pytest.mark.parametrize("device", ["cpu", None])
def test_hugging_face_labels_are_int64_whatever_the_batch_is(dtype: str, device: str | None) -> None:
    narrow, wide = batch_of(device, dtype=dtype).as_hf(), batch_of(device).as_hf()
    for name, values in wide.items():
        assert narrow[name].dtype == values.dtype
        assert np.array_equal(narrow[name], values)


def test_a_batch_is_a_pair_and_its_arrays_have_names() -> None:
    batch = batch_of(outputs=OUTPUTS)
    inputs, targets = batch
    assert inputs is batch[0] is batch["inputs"]
    assert targets is batch[-1] is batch["targets"]
    assert len(batch) == 2
    assert dict(batch) == {
        "inputs": inputs,
        "targets": targets,
        **{name: getattr(batch, name) for name in batch.outputs},
    }
    assert (lambda inputs, targets, **outputs: sorted(outputs))(**batch) == sorted(OUTPUTS)
    assert list(batch_of().keys()) == ["inputs", "targets"]
    with pytest.raises(KeyError, match="labels"):
        batch["labels"]


def test_a_batch_and_all_that_it_holds_move_and_cross_to_another_process() -> None:
    batch = batch_of(outputs=OUTPUTS)
    for same in (
        batch.to("cpu", non_blocking=True),
        batch.to(device="cpu"),
        pickle.loads(pickle.dumps(batch)),
    ):
        assert isinstance(same, Batch)
        assert same.num_targets == batch.num_targets
        for name in {*batch.keys()} - {"max_seqlen", "block_mask"}:
            assert torch.equal(same[name], batch[name]), name
        assert same.max_seqlen == batch.max_seqlen
        assert torch.equal(same.block_mask.to_dense(), batch.block_mask.to_dense())


def test_numpy_arrays_say_what_to_do_where_they_shall_move() -> None:
    with pytest.raises(WindrowError, match=r'NumPy arrays move to no device. Make the loader with device="cpu"'):
        batch_of(None).to("cpu")


def test_batches_are_not_collated_by_mistake() -> None:
    with pytest.raises(TypeError, match="found <class 'windrow"):
        default_collate([batch_of(), batch_of()])


def test_an_evaluation_and_a_mixture_give_hugging_face_labels_too() -> None:
    store = TokenStore.from_ids(range(1, 30), eos_id=0)
    for loader in (
        Loader.evaluation(Windows(store, 4, 2), 3, device="cpu"),
        Loader(Mixture({"a": (Windows(store, 4, policy="pack"), 1)}), 3, device="cpu"),
    ):
        for batch in loader:
            assert torch.equal(batch.as_hf()["labels"][:, 1:], batch.targets)
