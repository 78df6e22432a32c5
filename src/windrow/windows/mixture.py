"""Members, weights and stages -> what a loader draws from; or members one after another.

Guarantee: weights become integer counts in every block of positions (largest remainder), and the recipe holds the
integers; a weight too small for one sample a block is an error, not a silent zero. Cost: arithmetic on names.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from windrow.arrays import Int64
from windrow.errors import Fixed, WindrowError, brief, whole_number
from windrow.order.mixture_order import BLOCK, MixtureOrder
from windrow.order.order import PlainOrder
from windrow.windows.windows import Windows

__all__ = ["InTurn", "Mixture", "stages_of"]

_SMALLEST, _LARGEST = 256, 1 << 20  # blocks: of 256 a step costs more, of 2**20 a table takes 25 MB


class InTurn(Fixed):
    """``members`` one after another, each of their samples once an epoch; the windows of a plain loader are one."""

    max_repeats: None = None

    def __init__(self, members: Mapping[str, Windows]) -> None:
        self.members: dict[str, Windows] = dict(members)
        self.max_length: int = next(iter(self.members.values())).max_length
        self.epoch_samples: int = sum(member.num_samples for member in self.members.values())
        self.stages: tuple[int, ...] = (0,)

    def order(self, *, seed: int, shuffle: bool = True, shuffle_block: int | None = None) -> PlainOrder:
        """The order of these members under ``seed``."""
        num_samples = {name: member.num_samples for name, member in self.members.items()}
        return PlainOrder(num_samples, seed=seed, shuffle=shuffle, shuffle_block=shuffle_block)

    def recipe(self) -> dict[str, Any] | None:
        """The part of the recipe that their turn fixes: their names in order, or None for a plain loader."""
        return {"in_turn": list(self.members)} if list(self.members) != [""] else None


def stages_of(data: "InTurn | Mixture", positions: ArrayLike) -> Int64:
    """Where the stage began that each of ``positions`` (B,) is in: (B,); -1 where ``data`` has but one."""
    which = np.searchsorted(data.stages, positions, side="right") - 1
    return np.array(data.stages)[which] if len(data.stages) > 1 else np.full_like(which, -1)


class Mixture(Fixed):
    """Several members by name, each with a weight: its share of the samples.

    Args:
        members: ``{name: (windows, weight)}``. Weights are relative, 0 or more. Shuffles are keyed by the names, so
            adding a member does not change the order of the others. ``(None, weight)`` is a member of a run's past that
            is gone: its loader continues from a state, but cannot look at what the member drew.
        stages: ``{position: {name: weight}}``: other weights from a position on, which is a multiple of ``block``. Name
            every member (0 leaves it out). What came before stays as it was.
        epoch_samples: samples in an epoch; by default that of the state that is loaded, or the sum of the members'
            samples.
        max_repeats: how many of its own epochs a member may run; a loader that would exceed it raises an error.
        block: number of positions in which the shares are exact, a power of two from 256 to 2**20. A smaller block
            allows stages at more positions; no weight may be below 1 / block.
        weights: what they are shares of: ``"samples"``, or the ``"targets"`` that count. The loader then works out how
            many samples that is, from the targets a sample of each member's epoch 0; a resume keeps the state's.

    Raises ``WindrowError`` for weights that are no shares, and for members of different ``max_length``.
    """

    def __init__(
        self,
        members: Mapping[str, tuple[Windows | None, float]],
        *,
        stages: Mapping[int, Mapping[str, float]] | None = None,
        epoch_samples: int | None = None,
        max_repeats: int | None = None,
        block: int = BLOCK,
        weights: Literal["samples", "targets"] = "samples",
    ) -> None:
        _require_members(members)
        self._names = list(members)  # in the order given
        held = {name: members[name][0] for name in sorted(members)}
        self.members: dict[str, Windows] = {name: windows for name, windows in held.items() if windows is not None}
        if not self.members:
            raise WindrowError("a mixture of no members has nothing to draw from. Give {name: (windows, weight)}.")
        self.max_length: int = self._same_length()
        self.block: int = whole_number("block", block, at_least=_SMALLEST)
        if self.block & (self.block - 1) or self.block > _LARGEST:
            raise WindrowError(
                f"block is {block}, and it is a power of two from {_SMALLEST} to {_LARGEST}: so many positions hold "
                f"exact shares. Use block={min(1 << (self.block.bit_length() - 1), _LARGEST)}."
            )
        later = _mapping(stages or {}, "stages", "{65536: {name: weight}}")
        given = {0: {name: weight for name, (_, weight) in members.items()}, **later}
        positions = sorted(whole_number("the position of a stage", position, at_least=0) for position in given)
        self.stages: tuple[int, ...] = tuple(positions)
        self.weights_given: dict[int, dict[str, float]] = {each: self._checked(each, given[each]) for each in positions}
        if weights not in ("samples", "targets"):
            raise WindrowError(f'weights is {brief(weights)}, and weights are shares of "samples" or of "targets"')
        self.weights: Literal["samples", "targets"] = weights
        self.counts: dict[int, dict[str, int]] = self.counts_by({}) if weights == "samples" else {}
        total = sum(member.num_samples for member in self.members.values())
        self.epoch_samples: int = whole_number("epoch_samples", total if epoch_samples is None else epoch_samples)
        self.epoch_samples_given: int | None = None if epoch_samples is None else self.epoch_samples
        self.max_repeats: int | None = None if max_repeats is None else whole_number("max_repeats", max_repeats)

    def going_on(self, counts: Mapping[int, Mapping[str, int]], epoch_samples: int) -> Self:
        """This mixture with these ``counts`` in blocks of some stages, and such epochs where it was given none."""
        made = copy(self)
        made.__dict__.update(counts={**self.counts, **counts}, epoch_samples=self.epoch_samples_given or epoch_samples)
        return made

    def counts_by(self, targets: Mapping[str, float]) -> dict[int, dict[str, int]]:
        """The samples of each member in the blocks of each stage, where a sample of it has so many ``targets``.

        Without any the weights are shares of samples; of a member that is gone a sample is taken for full.
        """
        if none := [name for name, count in targets.items() if not count]:
            raise WindrowError(f"no target of {none[0]!r} counts, so it has no share of the targets. Leave it out.")
        each = {name: targets.get(name, self.max_length if targets else 1) for name in self._names}
        return {position: self._block_counts(weights, each) for position, weights in self.weights_given.items()}

    def order(self, *, seed: int, shuffle: bool = True, shuffle_block: int | None = None) -> MixtureOrder:
        """The order of this mixture under ``seed``."""
        return MixtureOrder(
            {name: member.num_samples for name, member in self.members.items()},
            self.counts,
            block=self.block,
            seed=seed,
            shuffle=shuffle,
            shuffle_block=shuffle_block,
        )

    def evaluation(self) -> InTurn:
        """The members for exact evaluation, in the order in which they were given; weights play no part."""
        return InTurn({name: self.members[name].evaluation() for name in self._names if name in self.members})

    def recipe(self) -> dict[str, Any]:
        """The part of the recipe that a mixture fixes: integer counts by position and name."""
        stages = {str(position): counts for position, counts in self.counts.items()}
        given = {str(position): weights for position, weights in self.weights_given.items()}
        fixed = {"block": self.block, "stages": stages, "epoch_samples": self.epoch_samples}
        return fixed | ({"targets": given} if self.weights == "targets" else {})

    def check_repeats(self, samples: Sequence[int]) -> None:
        """Raise ``WindrowError`` when so many ``samples`` of each member are more epochs of its own than may be."""
        for (name, member), count in zip(self.members.items(), samples, strict=True):
            num = member.num_samples
            if self.max_repeats is not None and count > self.max_repeats * num:
                raise WindrowError(
                    f"an epoch of the mixture draws {count} samples from {name!r}, {count / num:.2f} times its {num}, "
                    f"and max_repeats is {self.max_repeats}. Lower its weight or epoch_samples, raise max_repeats, or "
                    "add data."
                )

    def _same_length(self) -> int:
        lengths = {name: member.max_length for name, member in self.members.items()}
        if len(set(lengths.values())) > 1:
            raise WindrowError(
                f"the members have max_length {lengths}, and the rows of a batch are of one length. Give all windows "
                f"the same, for example max_length={min(lengths.values())}."
            )
        return next(iter(lengths.values()))

    def _block_counts(self, weights: Mapping[str, float], targets: Mapping[str, float]) -> dict[str, int]:
        ordered = [weights[name] / targets[name] for name in sorted(weights)]
        counts = dict(zip(sorted(weights), _counts(ordered, self.block), strict=True))
        lost = [name for name, count in counts.items() if not count and weights[name]]
        if lost:
            smallest = math.fsum(ordered) / self.block * targets[lost[0]]
            larger = (1 << n for n in range(self.block.bit_length(), _LARGEST.bit_length()))
            enough = next((size for size in larger if _counts(ordered, size).count(0) == ordered.count(0)), None)
            raise WindrowError(
                f"the weight {weights[lost[0]]} of {lost[0]!r} is less than one sample in a block of {self.block}: it "
                f"would never be drawn. The smallest weight here is about {smallest:.3g}; give that, 0,"
                f"{f' block={enough},' if enough else ''} or merge it with another member."
            )
        return counts

    def _checked(self, position: int, weights: Mapping[str, float]) -> dict[str, float]:
        at = f"stage {position}: " if position else ""
        if position % self.block:
            before, divides = position // self.block * self.block, position & -position
            raise WindrowError(
                f"stage {position!r} is no multiple of {self.block}, and weights change on block edges only, where "
                f"shares are exact. Use {f'{before} or ' if before else ''}{before + self.block}"
                f"{f', or block={divides}' if divides >= _SMALLEST else ''}."
            )
        if set(_mapping(weights, f"stage {position}", "{name: weight}")) != set(self._names):
            raise WindrowError(
                f"{at}weights are given for {sorted(weights)}, and the members are {sorted(self._names)}. Name every "
                "member; weight 0 leaves one out."
            )
        bad = {name: w for name, w in weights.items() if not (isinstance(w, Real) and math.isfinite(w) and w >= 0)}
        if bad or not 0 < sum(weights.values()) < math.inf:
            raise WindrowError(
                f"{at}weights are {bad or dict(weights)}, and they are shares: finite, 0 or more, not all 0. For equal "
                "shares give every member 1."
            )
        return {name: float(weight) for name, weight in weights.items()}


def _counts(weights: Sequence[float], block: int) -> list[int]:
    """How many samples of a ``block`` each of ``weights`` gets, by largest remainder."""
    total = math.fsum(weights)
    shares = [weight / total * block for weight in weights]
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: block - sum(counts)]:
        counts[i] += 1
    return counts


def _require_members(members: object) -> None:
    """Raise ``WindrowError`` unless these are ``{name: (windows, weight)}``."""
    for name, held in _mapping(members, "a mixture", "{name: (windows, weight)}").items():
        pair = held if isinstance(held, tuple | list) and len(held) == 2 else (held, None)
        if not isinstance(name, str) or pair[1] is None or not isinstance(pair[0], Windows | None):
            raise WindrowError(
                f"a mixture has {brief(held)} by the name of {brief(name)}, and it is made of windows and weights by "
                'names that are text. Give Mixture({"web": (Windows(store, max_length=256), 1.0), ...}).'
            )


def _mapping(given: object, name: str, form: str) -> Mapping[Any, Any]:
    """``given``, or the ``WindrowError`` that says how it is written."""
    if not isinstance(given, Mapping):
        raise WindrowError(f"{name} is given {brief(given)}, and it is written {form}.")
    return given
