"""Which rank this is: the data-parallel coordinate, and the guards against every reader reading the same data."""

import os
import sys

from windrow.errors import WindrowError, whole_number

__all__ = ["coordinate", "refuse_worker", "world_in_sight"]


def coordinate(dp_rank: int | None, dp_world_size: int | None) -> tuple[int, int]:
    """``(dp_rank, dp_world_size)``, 0 of 1 when neither is given and no distributed run is in sight.

    Raises ``ValueError`` when one is in sight and they are not given, and for a rank outside its world.
    """
    in_sight = world_in_sight()
    if in_sight and (dp_rank is None or dp_world_size is None):
        world, where = in_sight
        raise ValueError(
            f"{where} says that {world} ranks run, and dp_rank={dp_rank}, dp_world_size={dp_world_size}: every rank "
            "would read the same data. Give Loader(..., dp_rank=, dp_world_size=) this rank's data-parallel "
            "coordinate, or dp_rank=0, dp_world_size=1 if it shall read everything."
        )
    rank = whole_number("dp_rank", 0 if dp_rank is None else dp_rank, at_least=0)
    size = whole_number("dp_world_size", 1 if dp_world_size is None else dp_world_size)
    if rank >= size:
        raise ValueError(f"dp_rank is {rank}, and a world of {size} has ranks 0 to {size - 1}")
    return rank, size


def refuse_worker() -> None:
    """Raise ``WindrowError`` in a worker of a torch ``DataLoader``."""
    data = sys.modules.get("torch.utils.data")  # not imported: then this is no worker
    if data and (worker := data.get_worker_info()):
        raise WindrowError(
            f"this is worker {worker.id} of {worker.num_workers} of a DataLoader, and each of them would go through "
            "the whole stream. Use loader.dataloader(num_workers=...), whose workers share the steps, or iterate over "
            "the loader itself, which needs no workers."
        )


def world_in_sight() -> tuple[int, str] | None:
    """How many ranks run, where there are several, and what says so."""
    from_environment = os.environ.get("WORLD_SIZE", "")
    if from_environment.isdigit() and int(from_environment) > 1:
        return int(from_environment), f"the environment (WORLD_SIZE={from_environment})"
    distributed = sys.modules.get("torch.distributed")  # not imported: then no process group can be there
    if distributed and distributed.is_available() and distributed.is_initialized():
        world = distributed.get_world_size()
        return (world, "torch.distributed's process group") if world > 1 else None
    return None
