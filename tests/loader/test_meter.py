"""The meter tells a loop that waits for data from one that does not."""

import time

from loader_helpers import loader_of
from windrow.loader.meter import Meter


def test_the_meter_tells_a_loop_that_waits_from_one_that_does_not() -> None:
    loader = loader_of()
    for _ in loader:
        time.sleep(0.0005)
    stats = loader.stats()
    assert stats["num_batches"] == len(loader)
    assert float(stats["work_seconds"]) > 0.0005 * len(loader) * 0.9
    assert "not data-bound" in str(Meter(10, 0.001, 1.0).stats(8)["verdict"])
    verdict = str(Meter(10, 0.5, 0.5).stats(8)["verdict"])
    assert "data-bound: 50.0%" in verdict
    assert "prefetch" in verdict
    assert Meter(9, 0.5, 0.5).stats(8)["verdict"] == "too early to tell: 9 batches"
    assert Meter(10, 0.5, 0.5).stats(8)["tokens_per_wait_second"] == 160
