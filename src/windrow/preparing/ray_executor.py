"""A Ray cluster as an ``Executor``: the same contract as a pool of processes, over machines.

Guarantee: what ``crew`` asks for; a task whose worker or node dies ends with ``BrokenExecutor`` and is given out
again by ``crew``. The nodes must see the same folders. Usage statistics are off. Needs ray (extra ``ray``).
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from importlib import import_module
from typing import Any, TypeVar

from windrow.distribution import install_line
from windrow.errors import PrepareError

__all__ = ["RayExecutor"]

R = TypeVar("R")


class RayExecutor(Executor):
    """Tasks of one core each on the cluster at ``address`` ("auto": the one that is running), or one started here."""

    def __init__(self, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave the workers' devices alone, quietly
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise PrepareError(f"--engine ray needs the package ray: {install_line('ray')}") from None
        self._ray, self._is_ours = ray, not ray.is_initialized()
        if self._is_ours:
            address = address or os.environ.get("RAY_ADDRESS")
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="error",
                include_dashboard=None if address else False,
            )
        environment = {"env_vars": {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}}
        self._call: Any = ray.remote(num_cpus=1, max_retries=0, runtime_env=environment)(_call)
        self._max_workers = max(1, int(ray.cluster_resources().get("CPU", 1)))  # how much work is given out

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()
        reference = self._call.remote(call, args, kwargs)
        threading.Thread(target=self._await, args=(reference, future), daemon=True).start()
        return future

    def _await(self, reference: Any, future: "Future[Any]") -> None:
        try:
            value, error = self._ray.get(reference)
        except Exception as lost:  # the task did not end: its worker, its node or its result is gone
            future.set_exception(BrokenExecutor(f"{type(lost).__name__}: {str(lost).splitlines()[0]}"))
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._is_ours:
            self._ray.shutdown()


def _call(call: Callable[..., R], args: Any, kwargs: Any) -> tuple[R | None, Exception | None]:
    """The result, or the error that the work itself raised: Ray's own errors come another way."""
    try:
        return call(*args, **kwargs), None
    except Exception as error:
        return None, error
