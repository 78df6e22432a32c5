"""Nobody reads the same data twice unawares: ranks that come in sight late, and workers of a DataLoader."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from loader_helpers import as_lists, loader_of
from windrow.errors import WindrowError

LATE = r"WORLD_SIZE=4.*every rank would read the same data. Give Loader\(\.\.\., dp_rank="


@pytest.fixture(autouse=True)
def _no_distributed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.mark.parametrize("ranks", [{}, {"dp_world_size": 1}])
def test_ranks_that_come_in_sight_after_the_loader_was_made_are_seen_at_the_first_iter(
    monkeypatch: pytest.MonkeyPatch, ranks: dict[str, int]
) -> None:
    loader = pickle.loads(pickle.dumps(loader_of(**ranks, device="cpu")))
    monkeypatch.setenv("WORLD_SIZE", "4")
    for made in (loader, loader.dataloader()):
        with pytest.raises(ValueError, match=LATE):
            iter(made)
    assert loader.position == 0
    monkeypatch.delenv("WORLD_SIZE")
    assert len(list(loader)) == len(loader)


def test_a_loader_of_named_ranks_reads_on_whatever_comes_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = loader_of(dp_rank=0, dp_world_size=1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert len(list(loader)) == len(loader)


class Streamed(IterableDataset[Any]):
    def __init__(self, **kwargs: Any) -> None:
        self.loader = loader_of(device="cpu", **kwargs)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_loader_iterated_in_a_worker_of_a_dataloader_is_refused(num_workers: int) -> None:
    dataset = Streamed()
    with pytest.raises(WindrowError, match=rf"this is worker 0 of {num_workers} of a DataLoader.*loader.dataloader\("):
        next(iter(DataLoader(dataset, batch_size=None, num_workers=num_workers)))
    assert len(list(DataLoader(dataset, batch_size=None))) == len(dataset.loader)


class Asked(Dataset[Any]):
    """Steps of a run by number: nothing is iterated."""

    def __init__(self) -> None:
        self.loader = loader_of(device="cpu")

    def __len__(self) -> int:
        return len(self.loader)

    def __getitem__(self, step: int) -> torch.Tensor:
        return torch.as_tensor(self.loader[step].inputs)


def test_steps_asked_for_by_number_in_a_worker_are_steps_of_the_run() -> None:
    asked = DataLoader(Asked(), batch_size=None, num_workers=2)
    assert [inputs.tolist() for inputs in asked] == [inputs for inputs, _ in as_lists(loader_of())]
    assert [inputs.tolist() for inputs, _ in loader_of(device="cpu").dataloader(2)] == [
        i for i, _ in as_lists(loader_of())
    ]
