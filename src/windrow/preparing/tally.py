"""What became of the inputs: results in order, counts, digests, and reports of them while work goes on.

Guarantee: ``results`` come in the order of the inputs, whatever order work was done in, and tell of each item how many
lines of its source lie before it: lines are counted within items until then. Nothing that was left out is missing from
the counts.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from windrow.errors import NotEnoughTokensError, SourceError
from windrow.preparing.encode import Done
from windrow.preparing.kept import Field
from windrow.shown import counted
from windrow.text.reading import Reading
from windrow.text.sources import Source

__all__ = ["Report", "Tally"]

_OF_EMPTY_SIDES = {  # for each kind of split what is divided, and what helps
    "tail": ("token", ". Give more text, or a share nearer 0.5."),
    "documents": (
        "document",
        ': whole documents go to one side or the other. Use split="tail" (one cut through the tokens), a larger share '
        "for it, or more documents.",
    ),
}


_WANTED = ("num_tokens", "lines", "piece", "skipped", "num_skipped", "num_marks")  # of an item, to the end
_COUNTED = ("num_documents", "num_tokens", "text_nbytes", "num_skipped", "num_marks")


@dataclass(frozen=True)
class Report:
    """How far the work is. ``nbytes`` are those of the inputs on disk; ``total_nbytes`` is None when unknown."""

    num_documents: int
    num_tokens: int
    nbytes: int
    total_nbytes: int | None
    seconds: float
    reused_nbytes: int  # done by an earlier run
    worker_seconds: Mapping[str, float]  # start, read, encode, write, hash: added over all workers
    num_skipped: int
    skipped: Sequence[str]  # the first places, and why
    text_nbytes: int = 0
    num_duplicates: int = 0
    num_marks: int = 0  # byte order marks at the heads of texts, which are no text
    passed_over: Mapping[str, int] = field(default_factory=dict)  # files in folders, by suffix
    is_finished: bool = False

    @property
    def nbytes_per_second(self) -> float:
        """Of the inputs, without what an earlier run did."""
        return (self.nbytes - self.reused_nbytes) / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far; None when that cannot be told."""
        if not self.total_nbytes or self.nbytes_per_second <= 0:
            return None
        return max(self.total_nbytes - self.nbytes, 0) / self.nbytes_per_second


class Tally:
    """Takes results as they come. ``digests``: source number -> (sha256 hex, nbytes). ``passed_over`` is a report's.

    ``fields`` are those that are kept of rows.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        reading: Reading,
        passed_over: Mapping[str, int],
        on_report: Callable[[Report], None] | None = None,
    ) -> None:
        self.fields: list[Field] = [*map(Field, reading.keep)]
        self.sources: Sequence[Source] = sources
        self.digests: dict[int, tuple[str, int]] = {}
        self._reading = reading
        self._on_report, self._passed_over = on_report, passed_over
        self._numbered: list[tuple[tuple[int, int], Done]] = []
        self._started = time.perf_counter()
        self._num: Counter[str] = Counter(dict.fromkeys((*_COUNTED, "nbytes", "reused_nbytes"), 0))
        self._num_counting = 0
        self._seconds: Counter[str] = Counter()
        self._total = sum(source.nbytes for source in sources) if all(source.is_file for source in sources) else None

    def add(self, number: tuple[int, int], done: Done) -> None:
        for kept, about in zip(self.fields, done.about.get("fields", ()), strict=False):
            kept.add(about, done.name)
        self._seconds.update(done.seconds)
        about = {name: done.about.get(name, 0) for name in _WANTED}
        self._numbered.append((number, replace(done, about=about)))
        for source, hexdigest, nbytes in done.about["sha256"]:
            self.digests[done.first + source] = hexdigest, nbytes
        self._num_counting += done.about.get("num_counting", 0)
        self._num.update({name: done.about.get(name, 0) for name in _COUNTED})
        self._num.update(nbytes=done.nbytes, reused_nbytes=done.nbytes * done.reused)
        if self._on_report:
            self._on_report(self.report())

    @property
    def num_documents(self) -> int:
        """How many there are in all items, repeated ones too."""
        return self._num["num_documents"]

    @property
    def results(self) -> list[Done]:
        """In the order of the inputs."""
        found, num_lines = list[Done](), Counter[int]()  # of each source, so far
        for _, done in sorted(self._numbered, key=lambda numbered: numbered[0]):
            found.append(replace(done, above=num_lines[done.first]))
            num_lines[done.first] += done.about["lines"]  # of several files: of the last, and no item goes on in them
        return found

    def report(self, *, finished: bool = False) -> Report:
        """How far the work is."""
        return Report(
            **self._num,
            total_nbytes=self._total,
            seconds=time.perf_counter() - self._started,
            worker_seconds=dict(self._seconds),
            skipped=self._places() if finished else (),
            passed_over=self._passed_over,
            is_finished=finished,
        )

    def _places(self) -> list[str]:
        """The first documents that were skipped, and why."""
        found = (
            f"{self.sources[done.first + number].name}, line {line + (0 if number else done.above)}: {reason}"
            for done in self.results
            for number, line, _, reason in done.about["skipped"]
        )
        return list(islice(found, 100))

    def counts(self) -> dict[str, int]:
        """For the manifests: of all inputs together; some only where there are any."""
        some = {"byte_order_marks": self._num["num_marks"], "passed_over_files": sum(self._passed_over.values())}
        return {
            "input_text_nbytes": self._num["text_nbytes"],
            "skipped_documents": self._num["num_skipped"],
            "duplicate_documents": self._num["num_duplicates"],
            **{name: count for name, count in some.items() if count},
        }

    def listing(self) -> list[dict[str, Any]]:
        """What a store keeps of its sources."""
        return [
            {"path": source.name, "nbytes": self.digests[number][1], "sha256": self.digests[number][0]}
            for number, source in enumerate(self.sources)
        ]

    def require_sizes(self) -> None:
        """Raise ``SourceError`` when what was hashed is not as long as what was found."""
        for number, source in enumerate(self.sources):
            if source.is_file and self.digests[number][1] != source.nbytes:
                raise SourceError(f"{source.path} changed while it was read. Run the command again.")

    def leave_out(self, *, num_duplicates: int, num_counted_again: int) -> None:
        """Take in what the documents in order tell: duplicates, and bad pieces of a document that has another one."""
        self._num.update(num_duplicates=num_duplicates, num_skipped=-num_counted_again)

    def require_documents(self, sides: Mapping[str, Sequence[object]], valid_fraction: float, split: str) -> None:
        """Raise ``NotEnoughTokensError`` when a side has no parts, or there is no text at all."""
        if not any(sides.values()):
            raise NotEnoughTokensError("the inputs hold no document, so there is nothing to train on. Give some text.")
        num_around = {"none": 0, "both": 2}.get(str(self._reading.boundary), 1) * self._num["num_documents"]
        if self._num["num_tokens"] <= num_around:  # eos and bos, and nothing else
            raise NotEnoughTokensError(
                f"the inputs hold {counted(self._num['num_documents'], 'document')} and no text, so there is nothing "
                "to train on. Give some."
            )
        if self._reading.has_counts and not self._num_counting:
            raise NotEnoughTokensError(
                f"none of {self._num['num_tokens']} tokens counts as a target: what the rows say of them is 0 or -100 "
                "everywhere, as a chat template without its {% generation %} block makes it. Correct what makes it."
            )
        what, remedy = _OF_EMPTY_SIDES[split]
        for side, parts in sides.items():
            if not parts:
                num = counted(self._num[f"num_{what}s"], what)
                raise NotEnoughTokensError(
                    f"split {side!r} got none of {num} at valid_fraction={valid_fraction}{remedy}"
                )
