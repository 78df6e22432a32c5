"""A store as torchtitan's dataloader: ``dataloader=WindrowDataLoader.Config(dataset_path="corpus/train")``.

Guarantee: the loader's; one state for all ranks, with which a checkpoint goes on under other ranks and batch sizes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torchtitan.components.dataloader import BaseDataLoader

from windrow.loader.loader import Loader
from windrow.store.opening import open_store
from windrow.windows.mixture import Mixture
from windrow.windows.windows import Windows

__all__ = ["WindrowDataLoader"]


class WindrowDataLoader(Loader, BaseDataLoader):  # type: ignore[misc]  # Any, where torchtitan is not installed
    """A ``Loader`` of ``({"input", "positions"}, targets)``: CPU tensors (local_batch_size, seq_len), int64 each.

    ``positions`` begin at 0 again with each document: torchtitan's attention stays within documents by them.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):  # type: ignore[misc]
        """``dataset_path`` is the store's folder; without ``infinite`` there is one epoch, as in a whole validation."""

        seed: int = 0
        infinite: bool = True

    def __init__(self, config: Config, *, seq_len: int, local_batch_size: int, **given: Any) -> None:
        asked = {name: given[name] for name in ("dp_rank", "dp_world_size")}  # of what torchtitan gives
        asked |= {"seed": config.seed, "epochs": None if config.infinite else 1, "drop_last": False, "device": "cpu"}
        super().__init__(self.draw(config, seq_len), local_batch_size, outputs=("position_ids",), **asked)

    def draw(self, config: Config, seq_len: int) -> Windows | Mixture:
        """What is drawn from: override it for a mixture."""
        return Windows(open_store(config.dataset_path), seq_len)

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            yield {"input": batch.inputs, "positions": batch.position_ids}, batch.targets
