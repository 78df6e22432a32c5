"""Delivery: every dtype and device holds the ids that the plain path holds, or is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from loader_helpers import as_lists, loader_of, store_of
from windrow import Loader, Windows
from windrow.batches.delivery import DeviceDelivery, NumpyDelivery, TorchDelivery
from windrow.errors import WindrowError


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16"])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_every_dtype_holds_the_same_ids(dtype: str, device: str | None) -> None:
    loader = loader_of(dtype=dtype, device=device)
    batch = next(iter(loader))
    assert str(batch.inputs.dtype).removeprefix("torch.") == dtype
    assert as_lists(loader) == as_lists(loader_of())[1:]


@pytest.mark.parametrize(
    "kwargs", [{"drop_last": False, "dp_rank": 0, "dp_world_size": 2}, {"tail": "pad"}], ids=["ranks", "padded"]
)
def test_a_dtype_without_a_sign_is_refused_where_a_target_can_be_masked(kwargs: dict[str, Any]) -> None:
    windows = Windows(store_of(100), 8, tail=kwargs.pop("tail", "drop"))
    with pytest.raises(ValueError, match=r"uint16 cannot hold -100.*dtype='int32'"):
        Loader(windows, 2, dtype="uint16", **kwargs)
    assert Loader(windows, 2, dtype="int32", **kwargs)[0].inputs.dtype == np.int32


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32"])
def test_other_dtypes_are_refused_with_the_list(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"dtype is {dtype}, and batches are int64, int32 or the store's own uint16"):
        loader_of(dtype=dtype)


def test_ids_that_int32_would_wrap_raise() -> None:
    windows = Windows(store_of(100, np.uint32, first=2**31 - 50), 4)
    with pytest.raises(WindrowError, match="does not fit in int32"):
        list(Loader(windows, 2, dtype="int32"))
    assert max(int(batch.targets.max()) for batch in Loader(windows, 2)) == 2**31 + 46


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("out", [np.int64, np.int32])
@pytest.mark.parametrize("masked", [False, True])
def test_the_device_path_gives_what_the_cpu_path_gives(dtype: Any, out: Any, masked: bool) -> None:
    rng = np.random.default_rng(0)
    top = 2**16 if dtype == np.uint16 else 2**31
    for num_steps, rows in ((1, 1), (3, 4), (5, 2)):
        tokens = rng.integers(0, top, (num_steps * rows, 9)).astype(dtype)
        mask = rng.random((num_steps * rows, 8)) < 0.5 if masked else None
        ways = [
            NumpyDelivery(np.dtype(out)),
            TorchDelivery(np.dtype(out)),
            DeviceDelivery(torch.device("cpu"), np.dtype(out)),
        ]
        plain, *others = [list(way.batches(tokens, mask, num_steps)) for way in ways]
        assert len(plain) == num_steps
        for batches in others:
            for a, b in zip(plain, batches, strict=True):
                assert np.array_equal(a.inputs, b.inputs.numpy())
                assert np.array_equal(a.targets, b.targets.numpy())
                assert a.num_targets == b.num_targets
                assert b.inputs.is_contiguous()
                assert b.targets.is_contiguous()
                assert b.inputs.shape == (rows, 8)
