"""The recipe: everything that fixes the order and the targets, frozen when a loader is made.

Guarantee: equal recipes over equal data give equal batches; batch size, ranks and devices are no part of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from windrow.batches.boundaries import MaskTargets
from windrow.errors import whole_number
from windrow.order.mixture_order import Order
from windrow.order.permutation import ORDER_VERSION
from windrow.windows.mixture import InTurn, Mixture
from windrow.windows.windows import Windows

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What is drawn from, and how it is shuffled; each field is the ``Loader``'s argument of that name.

    ``gone`` is what a state says of members that are not here any more: their part of the recipe, and their data.
    """

    data: InTurn | Mixture
    seed: int
    shuffle: bool
    shuffle_block: int | None
    mask_targets: MaskTargets | None
    gone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any, seed: object, shuffle: object, shuffle_block: object, mask_targets: Any) -> "Recipe":
        """The recipe of a loader's arguments. Raises ``ValueError`` for what is none of them."""
        if not isinstance(data, Windows | InTurn | Mixture):
            raise ValueError(
                f"a loader draws from Windows or a Mixture of them, and this is a {type(data).__name__}. Give "
                "Loader(Windows(store, max_length=256), ...)."
            )
        data = InTurn({"": data}) if isinstance(data, Windows) else data
        block = None if shuffle_block is None else whole_number("shuffle_block", shuffle_block)
        made = cls(data, whole_number("seed", seed, at_least=None), bool(shuffle), block, mask_targets)
        if isinstance(data, Mixture) and data.weights == "targets":
            return replace(made, data=data.going_on(data.counts_by(made.targets), data.epoch_samples))
        return made

    @property
    def members(self) -> Mapping[str, Windows]:
        """What is drawn from, by name; a plain loader's only member is ``""``."""
        return dict(self.data.members)

    @cached_property
    def targets(self) -> Mapping[str, float]:
        """How many targets count in a sample of each member, in its epoch 0; what is excluded counts as the rest."""
        edges = self.mask_targets == "document_edges"
        members = self.members.items()
        return {n: m.num_targets(key=(self.seed, n), masks_edges=edges) / m.num_samples for n, m in members}

    @property
    def is_evaluation(self) -> bool:
        """Whether each target counts exactly once in a pass, and every pass is the same."""
        return not self.shuffle and all(member.policy == "evaluation" for member in self.members.values())

    def order(self) -> Order:
        """The order that the recipe fixes."""
        return self.data.order(seed=self.seed, shuffle=self.shuffle, shuffle_block=self.shuffle_block)

    def shares(self, order: Order, num_samples: int) -> dict[str, dict[str, float]]:
        """What the first ``num_samples`` of ``order`` draw from each member; see ``Loader.shares``."""
        drawn = dict(zip(self.members, order.samples_before(num_samples), strict=True))
        counting = {name: round(count * self.targets[name]) for name, count in drawn.items()}
        return {
            name: {
                "samples": count,
                "share": count / num_samples,
                "repeats": count / self.members[name].num_samples,
                "targets": counting[name],
                "share_of_targets": counting[name] / max(sum(counting.values()), 1),
            }
            for name, count in drawn.items()
        }

    def to_json(self) -> str:
        """The recipe as canonical JSON; what it was before a field existed has not that field."""
        fields: dict[str, Any] = {
            "order": ORDER_VERSION,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shuffle_block": self.shuffle_block,
            "members": {name: member.recipe() for name, member in self.members.items()}
            | {name: one["recipe"] for name, one in self.gone.items()},
            "mixture": self.data.recipe(),
        }
        if self.mask_targets:
            fields["mask_targets"] = self.mask_targets
        return _canonical(fields)

    def data_json(self) -> str:
        """Which data the members draw from, as canonical JSON."""
        here = {name: {"num_tokens": m.num_tokens, "fingerprint": m.fingerprint} for name, m in self.members.items()}
        return _canonical(here | {name: one["data"] for name, one in self.gone.items()})


def _canonical(value: Any) -> str:
    """``value`` as JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
