"""torchdata's StatefulDataLoader: over steps by number, in place of what ``loader.dataloader()`` is already."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from trainer_helpers import cases, digest, stream_digests, toy_loader
from windrow.errors import WindrowError
from windrow.testing import stream

pytest.importorskip("torchdata")
from torch.utils.data import IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),  # torchdata's own call of torch
]
NUM_STEPS, STOPS = 120, {"middle": 23, "epoch's end": 50, "second epoch": 77}


def digests(batches: Any, num_steps: int | None = None) -> list[str]:
    return [
        digest(*batch.values()) if isinstance(batch, dict) else digest(*batch) for batch in islice(batches, num_steps)
    ]


def by_number(num_workers: int) -> Any:
    source = toy_loader(device=None).as_source(NUM_STEPS)
    return StatefulDataLoader(source, batch_size=None, num_workers=num_workers)


@pytest.mark.parametrize(("stop", "workers"), cases(stop=[*STOPS], workers=[0, 1, 2]))
def test_a_stateful_dataloader_over_steps_by_number_resumes_exactly(stop: str, workers: int) -> None:
    first, second = by_number(workers), by_number(workers)
    seen = digests(iter(first), STOPS[stop])
    second.load_state_dict(first.state_dict())
    assert seen + digests(second) == stream_digests(NUM_STEPS)


@pytest.mark.parametrize(("stop", "workers", "then"), cases(stop=[*STOPS], workers=[0, 1, 2], then=[2, 0]))
def test_the_loader_s_own_dataloader_resumes_exactly_with_any_number_of_workers(
    stop: str, workers: int, then: int
) -> None:
    first, second = toy_loader().dataloader(workers), toy_loader().dataloader(then)
    seen = digests(stream(first), STOPS[stop])
    second.load_state_dict(first.state_dict())
    assert seen + digests(stream(second), NUM_STEPS - len(seen)) == stream_digests(NUM_STEPS)


class Streamed(IterableDataset[Any]):
    """What people write around a loader, with its state."""

    def __init__(self) -> None:
        self.loader = toy_loader()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state)


@pytest.mark.parametrize("stop", STOPS)
def test_a_loader_wrapped_without_workers_resumes_exactly(stop: str) -> None:
    first, second = (StatefulDataLoader(Streamed(), batch_size=None) for _ in range(2))
    seen = digests(stream(first), STOPS[stop])
    second.load_state_dict(first.state_dict())
    assert seen + digests(stream(second), NUM_STEPS - len(seen)) == stream_digests(NUM_STEPS)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loader_wrapped_with_workers_is_refused_with_what_to_use(workers: int) -> None:
    wrapped = StatefulDataLoader(Streamed(), batch_size=None, num_workers=workers)
    with pytest.raises(WindrowError, match=rf"worker \d of {workers} of a DataLoader.*Use loader\.dataloader\("):
        next(iter(wrapped))
