"""Tokens that lie on the device give the plain path's stream and state."""

from typing import Any

import numpy as np
import pytest
import torch

from loader_helpers import store_of
from windrow import Loader, Mixture, TokenStore, Windows
from windrow.errors import WindrowError
from windrow.testing import assert_resumes


def test_resident_tokens_are_looked_at_for_int32_and_need_no_workers() -> None:
    windows = Windows(TokenStore.from_ids(np.full(40, 2**31 + 5, dtype=np.uint32)), 8)
    with pytest.raises(WindrowError, match="does not fit in int32"):
        Loader(windows, 2, device="cpu", resident=True, dtype="int32")
    with pytest.raises(WindrowError, match="needs no workers"):
        Loader(windows, 2, device="cpu", resident=True).dataloader()


@pytest.mark.parametrize("kwargs", [{}, {"epochs": None}, {"drop_last": False, "dp_rank": 1, "dp_world_size": 2}])
def test_resident_tokens_give_the_same_stream_and_state(kwargs: dict[str, Any]) -> None:
    def make(**more: Any) -> Loader:
        phased = Windows(store_of(500, first=61_000), 7, 5, phase="epoch")
        mixture = Mixture({"a": (phased, 1), "b": (Windows(store_of(100), 7), 2)})
        return Loader(mixture, 3, seed=4, device="cpu", **kwargs, **more)

    for step in range(20):
        plain, resident = make()[step], make(resident=True)[step]
        assert torch.equal(plain.inputs, resident.inputs)
        assert torch.equal(plain.targets, resident.targets)
    assert make().state_dict() == make(resident=True).state_dict()
    assert_resumes(lambda: make(resident=True), 6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "device is None"),
        ({"device": "cpu", "tail": "pad"}, "without tail='pad'"),
    ],
)
def test_resident_refuses_what_it_cannot_gather(kwargs: dict[str, Any], message: str) -> None:
    windows = Windows(store_of(100), 8, tail=kwargs.pop("tail", "drop"))
    with pytest.raises(ValueError, match=message):
        Loader(windows, 2, resident=True, **kwargs)
