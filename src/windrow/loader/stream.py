"""The stream of one rank's batches, and where it stands: position, stretches of other sizes before it, exclusions.

Guarantee: the position moves only here: with a batch that reaches the user, a skip, or a state. Only one iterator goes
on; what was made ahead of a change is made again. Cost: a few numbers; a pickle holds no token of a store on disk.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from time import perf_counter
from typing import Any

from windrow.batches.batch import Batch
from windrow.errors import ResumeError, whole_number
from windrow.far.cache import Traffic
from windrow.loader.ahead import Following, caches_of, require_room
from windrow.loader.batch_maker import BatchMaker, Blocks
from windrow.loader.exclusions import Exclusion
from windrow.loader.meter import Meter
from windrow.loader.ranks import coordinate, refuse_worker
from windrow.loader.recipe import Recipe
from windrow.loader.samples import Samples
from windrow.loader.state import dump_state, read_state
from windrow.order.steps import Segments, StepSizes

__all__ = ["StepSource", "Stream"]


class Stream:
    """The batches of ``maker`` under ``recipe`` with ``sizes``, from the beginning; ``StepDataLoader`` reads it too.

    The ``maker`` makes them of ``samples``. ``ranks`` are dp_rank and dp_world_size as they were given: ranks may come
    in sight after the loader was made.
    """

    def __init__(
        self, recipe: Recipe, maker: BatchMaker, samples: Samples, sizes: StepSizes, ranks: Sequence[int | None]
    ) -> None:
        self.recipe: Recipe = recipe
        self.sizes: StepSizes = sizes
        self._given, self._maker, self._samples, self._ranks = recipe, maker, samples, ranks
        self.position: int = 0
        self.segments: Segments = Segments.begin(sizes)
        self.excluded: list[Exclusion] = []
        self.meter: Meter = Meter()
        self._own: list[Exclusion] = []  # of what is excluded, what was asked for here, not loaded
        self._begun = False  # whether anyone has iterated since the beginning, or since a state was loaded
        self._iteration = 0  # the number of the iterator that may go on
        self._following: Following | None = None  # who fetches ahead what is far away
        require_room(recipe)
        self._revision = 0  # how often what is to come was changed by skip() or exclude()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_following": None}

    @property
    def epoch(self) -> int:
        """The epoch that the next sample belongs to."""
        return self.position // self.sizes.epoch_samples

    def __len__(self) -> int:
        return self.sizes.steps_per_epoch

    def at_step(self, step: int, dp_rank: int) -> tuple[int, StepSizes]:
        """The position at which ``step`` starts, and its sizes. Raises ``IndexError`` when the rank has none."""
        if isinstance(step, slice):
            raise ValueError(f"step is one, and {step} are several. Give [loader[step] for step in range(10)].")
        step = whole_number("step", step, at_least=None)
        if step < 0:
            raise IndexError(f"step {step}: the steps of a run count from 0, and a run has no last one")
        sizes = self.segments.sizes_of(step)
        if dp_rank >= sizes.dp_world_size:
            raise IndexError(f"step {step} was made by {sizes.dp_world_size} ranks, and this is rank {dp_rank}")
        return self.segments.position_of(step), sizes

    def batch_at(self, position: int) -> Batch:
        """The batch of the step at ``position``, as CPU tensors."""
        return self._maker.batch(position, self.sizes, self.excluded, on_cpu=True)

    def to_come(self) -> Iterator[tuple[int, int]]:
        """The position of each step that is still to come in this pass, and the position after it."""
        for position, num_steps in self._maker.steps_to_come(self.position, self.sizes):
            for _ in range(num_steps):
                after = self.sizes.after(position, 1)
                yield position, after
                position = after

    def batches(self, prefetch: int) -> Iterator[Batch]:
        """The batches from here to the end of the pass, ``prefetch`` steps of them made ahead."""
        return self.receive(lambda: self._maker.blocks(self.position, self.sizes, self.excluded, prefetch))

    def receive(self, make_blocks: Callable[[], Blocks]) -> Iterator[Batch]:
        """Batches as they reach the user; the position moves on with each. An evaluation begins again each time.

        Raises ``ValueError`` where every rank, or every worker of a ``DataLoader``, would get the same ones.
        """
        refuse_worker()
        coordinate(*self._ranks)
        if self._begun and self.recipe.is_evaluation:
            self.position, self.segments = 0, Segments.begin(self.sizes)
        self._begun = True
        self._iteration += 1
        if self._following:
            self._following.close()
        batches = self._received(make_blocks, self._iteration)
        return self._followed(batches) if self.is_far else batches

    def _followed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """``batches``, and what those after them need is fetched meanwhile from where it is far away."""
        stop = None if self.sizes.tail == "straddle" else self.position + self.sizes.left(self.position)
        with closing(Following(self.recipe, self._samples.order, self._first_row(), stop)) as self._following:
            for batch in batches:
                self._following.stand(self._first_row())
                yield batch

    def _first_row(self) -> int:
        """The position of what this rank reads next."""
        return int(self._samples.positions(self.position, self.sizes, 1)[0])

    def _received(self, make_blocks: Callable[[], Blocks], iteration: int) -> Iterator[Batch]:
        epoch = self.epoch
        while iteration == self._iteration:
            revision, asked = self._revision, perf_counter()
            for position, batch in chain.from_iterable(make_blocks()):
                # Moved on before the yield: a state taken in the loop's body is after this batch, also at an epoch's
                # last one, where a trainer that counts steps never comes back for StopIteration.
                self.position = position
                given = perf_counter()
                self.meter.num_batches += 1
                self.meter.wait_seconds += given - asked
                yield batch
                asked = perf_counter()
                self.meter.work_seconds += asked - given
                if revision != self._revision or iteration != self._iteration:
                    break  # skip() or exclude() was called: what was made ahead is no longer right
            else:
                return
            if self.sizes.tail != "straddle" and self.epoch != epoch:
                return

    def stats(self) -> dict[str, float | str]:
        """What the meter says, and of stores far away what this process fetched, and how often it waited for that."""
        traffic = [cache.traffic for cache in {id(c): c for c in caches_of(self.recipe.members).values()}.values()]
        sums = {name: sum(getattr(one, name) for one in traffic) for name in Traffic._fields if traffic}
        return {**self.meter.stats(self.sizes.batch_size * self.recipe.data.max_length), **sums}

    @property
    def is_far(self) -> bool:
        """Whether some of the data is far away, whose client no fork survives."""
        return bool(caches_of(self.recipe.members))

    def be_led(self) -> None:
        """Leave it to the process that iterates to fetch what is far away."""
        for cache in caches_of(self.recipe.members).values():
            cache.is_led = True

    def state_dict(self) -> dict[str, int | str]:
        """Where the stream stands, as a flat dict."""
        return dump_state(self.position, self.recipe, self.segments, self.excluded)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where ``state`` stood.

        Raises ``ResumeError``, and is then unchanged, when the state is of another run.
        """
        position, segments, excluded, recipe = read_state(state, self._given)
        sizes = replace(self.sizes, epoch_samples=recipe.data.epoch_samples)
        sizes.require_step()
        if lost := [one for one in self._own if one not in excluded]:
            raise ResumeError(
                f"exclude() was called on this loader ({len(lost)} times) and the state does not know of it, so "
                "loading would undo it. Load into a new loader, then exclude."
            )
        if excluded and self._maker.dtype.kind == "u":
            raise ResumeError(
                f"the state excludes samples, and dtype {self._maker.dtype} cannot hold -100. Use dtype='int32'."
            )
        self._iteration += 1
        self.recipe, self.sizes = recipe, sizes
        self._samples.follow(recipe.order())
        self.position = sizes.start(position)
        self.segments = segments.jumped(position, position, sizes)
        self.excluded, self._own, self._begun = excluded, [], False

    def skip(self, num_samples: int) -> None:
        """Pass over the next ``num_samples`` of the global stream; steps count on."""
        to = whole_number("position", self.position + num_samples, at_least=0)
        self._revision += 1
        self.segments = self.segments.jumped(self.position, to, self.sizes)
        self.position = self.sizes.start(to)

    def exclude(self, one: Exclusion) -> None:
        """Leave out ``one`` from here on."""
        self._revision += 1
        self.excluded.append(one)
        self._own.append(one)


class StepSource:
    """See ``Loader.as_source``: nothing moves, so that threads may ask together, and a pickle has the same items."""

    def __init__(self, at: Callable[[int], Batch], num_steps: int) -> None:
        self._at, self._steps = at, range(whole_number("num_steps", num_steps))

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, step: int) -> dict[str, Any]:
        batch = self._at(self._steps[step])
        return {"inputs": batch.inputs, "targets": batch.targets, **(batch.outputs or {})}
