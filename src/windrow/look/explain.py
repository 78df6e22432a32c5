"""What a step is made of: each row's window, tokens, targets, documents and sources.

Guarantee: the batch is the one that the loader gives at that step, and moves nothing; a target that does not count is
-100 here too. As HTML, for a notebook, every string of the corpus is escaped and its controls are written out; no
script, nothing from elsewhere. Cost: the batch, and a few look-ups in the boundary index; the same for every step. It
does not do: printing (``show.py``).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from windrow.arrays import IGNORE_INDEX
from windrow.loader.loader import Loader
from windrow.loader.samples import Sample
from windrow.look.pieces import Piece, chip_text, passages, pieces, reading, token_text
from windrow.shown import safe
from windrow.store.origins import Origin, Origins
from windrow.tokens.protocol import Tokenizer
from windrow.tokens.tokenizer import load_tokenizer
from windrow.windows.mixture import stages_of
from windrow.windows.windows import Windows

__all__ = ["Explanation", "Row", "explain", "row_facts", "rows_of", "stage_of", "tokenizer_of"]


@dataclass(frozen=True)
class Row:
    """One sample of a batch: which window it is, and of each place (L,) its input, target, document and position.

    ``documents`` and ``positions`` (in the document) are -1 where a padded row has no token of the store; a target that
    does not count is -100. ``order_position`` is the sample's place in the stream of all ranks and epochs;
    ``origins`` says where its documents came from, by their numbers; ``stage`` is where its stage of a mixture began,
    -1 where there is but one.
    """

    row: int
    member: str
    window: int
    epoch: int
    start: int
    inputs: list[int]
    targets: list[int]
    documents: list[int]
    positions: list[int]
    order_position: int
    origins: dict[int, Origin]
    stage: int


@dataclass(frozen=True)
class Explanation:
    """A step of one rank: its rows, and the tokenizer of each member (None where it is not known)."""

    step: int
    dp_rank: int
    recipe: str
    rows: list[Row]
    tokenizers: dict[str, Tokenizer | None]

    def _repr_html_(self) -> str:
        return "".join(_html(self))

    def to_json(self) -> dict[str, Any]:
        """The step as plain values, with the text of each token where a tokenizer is known."""
        rows = [row_facts(row, self.tokenizers[row.member]) for row in self.rows]
        return {"step": self.step, "dp_rank": self.dp_rank, "rows": rows}


def explain(loader: Loader, step: int) -> Explanation:
    """``loader[step]``, and where each of its tokens comes from. Raises ``ValueError`` if this rank lacks it."""
    tokenizers = {name: tokenizer_of(windows) for name, windows in loader.members.items()}
    return Explanation(step, loader.dp_rank, loader.recipe, rows_of(loader, step), tokenizers)


def rows_of(loader: Loader, step: int) -> list[Row]:
    """The rows of ``loader[step]``, each with where it comes from. Raises ``ValueError`` when this rank has none."""
    try:
        inputs, targets = (np.asarray(part.cpu() if hasattr(part, "cpu") else part) for part in loader[step])
    except IndexError as error:
        raise ValueError(str(error)) from error
    origins = {name: Origins(windows.store) for name, windows in loader.members.items()}
    samples = enumerate(loader.lookup(step))
    return [_row(loader, n, s, inputs[n].tolist(), targets[n].tolist(), origins[s.member]) for n, s in samples]


def _row(loader: Loader, number: int, sample: Sample, inputs: list[int], targets: list[int], origins: Origins) -> Row:
    windows, key = loader.members[sample.member], (loader.seed, sample.member)
    spans, width = windows.spans(np.array([sample.window]), sample.epoch, key=key), windows.max_length + 1
    places = spans.laid_out(spans.places(), width, -1)[0, :-1]  # (L,), -1 where there is none, as in documents
    documents = spans.documents(windows.store, width)[0, :-1]
    positions = np.where(documents < 0, -1, places - windows.store.document_ends(documents - 1))
    named = origins.of(np.unique(documents[documents >= 0]).tolist())
    stage = int(stages_of(loader.data, sample.position))
    about = (documents.tolist(), positions.tolist(), sample.position, named, stage)
    return Row(number, sample.member, sample.window, sample.epoch, int(places[0]), inputs, targets, *about)


def stage_of(row: Row) -> str:
    """Which stage the row belongs to, where there is more than one."""
    return f", of the stage that began at position {row.stage}" if row.stage >= 0 else ""


def tokenizer_of(windows: Windows, given: str | Tokenizer | None = None) -> Tokenizer | None:
    """What decodes: ``given``, or the store's own; None where it cannot be loaded: ids are shown as numbers."""
    try:
        return load_tokenizer(given) if given else windows.store.tokenizer
    except ValueError:
        return None  # ids without a tokenizer, or one whose file has moved


def row_facts(row: Row, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The row for JSON: its fields, and the text of each input and target (None where a target does not count)."""
    facts = {**asdict(row), "origins": {number: origin._asdict() for number, origin in row.origins.items()}}
    if row.stage < 0:
        del facts["stage"]
    if tokenizer is None:
        return facts
    return {
        **facts,
        "input_texts": [token_text(tokenizer, token) for token in row.inputs],
        "target_texts": [None if t == IGNORE_INDEX else token_text(tokenizer, t) for t in row.targets],
    }


_MOST_ROWS, _MOST_PLACES = 16, 256
_STYLE = """
.windrow{font:14px/1.6 system-ui,sans-serif}.windrow p{margin:.3em 0}.windrow details{margin:.5em 0}
.windrow code{font:12px/1.9 ui-monospace,monospace;overflow-wrap:anywhere}
.windrow b{font-weight:400;border-radius:3px;padding:1px 2px;background:#7aa7d63a;white-space:pre-wrap;
display:inline-block;line-height:1.4;margin:1px;min-width:.6em}
.windrow .c1{background:#d6a77a3a}.windrow .c2{background:#7abf6a3a}.windrow .c3{background:#a98ad63a}
.windrow .c4{background:#c9bd3a3a}.windrow small{opacity:.75;margin-left:3px;unicode-bidi:isolate}
.windrow b.off{opacity:.65;text-decoration:line-through}
.windrow bdi{display:block;unicode-bidi:plaintext;white-space:pre-wrap;overflow-wrap:anywhere}
.windrow i{font-style:normal;border-left:3px solid #c2571a;padding-left:3px;margin-left:2px;font-size:11px;
white-space:nowrap}
"""


def _html(made: Explanation) -> Iterator[str]:
    """The rows of ``made``, each with where it comes from and a chip a token."""
    yield f'<div class="windrow"><style>{_STYLE}</style><p>step {made.step}, rank {made.dp_rank}</p>'
    yield from (_row_html(row, made.tokenizers[row.member]) for row in made.rows[:_MOST_ROWS])
    if len(made.rows) > _MOST_ROWS:
        yield f"<p>... and {len(made.rows) - _MOST_ROWS} more rows</p>"
    yield "<p>A bar marks where a document begins, · is a blank; a token struck through has a target that does not "
    yield "count.</p></div>"


def _row_html(row: Row, tokenizer: Tokenizer | None) -> str:
    counting = sum(target != IGNORE_INDEX for target in row.targets)
    member = f"{safe(row.member)}, " if row.member else ""
    head = (
        f"row {row.row}: {member}window {row.window} of epoch {row.epoch}, from token {row.start}{stage_of(row)}; "
        f"{counting} of {len(row.targets)} targets count"
    )
    text = reading(passages(row.inputs[:_MOST_PLACES], tokenizer, tokenizer.eos_id if tokenizer else None))
    more = f" ... {len(row.inputs) - _MOST_PLACES} more" if len(row.inputs) > _MOST_PLACES else ""
    chips = "".join(_chips(row, tokenizer))
    return f"<details {'open' * (row.row == 0)}><summary>{head}</summary>{text}<code>{chips}{more}</code></details>"


def _chips(row: Row, tokenizer: Tokenizer | None) -> Iterator[str]:
    places = range(min(len(row.inputs), _MOST_PLACES))
    for document, held in groupby(places, row.documents.__getitem__):
        yield f"<i>{_named(row, document)}</i> "
        first, *others = held
        for piece in pieces(row.inputs[first : first + 1 + len(others)], tokenizer):
            start = first + piece.place
            yield _chip(piece, row.targets[start : start + len(piece.ids)], row.positions[start] % 5, tokenizer)


def _chip(piece: Piece, targets: list[int], hue: int, tokenizer: Tokenizer | None) -> str:
    """The piece, coloured by its place in the document, with its ids and targets on hover."""
    counting = [f"target {target} '{token_text(tokenizer, target)}'" for target in targets if target != IGNORE_INDEX]
    hover = f"{' '.join(map(str, piece.ids))}; {', '.join(counting) or 'does not count'}"
    count = f"<small>×{len(targets)}</small>" * (len(targets) > 1)
    off = " off" * (not counting)
    return f'<b class="c{hue}{off}" title="{safe(hover)}">{safe(chip_text(piece.text))}{count}</b>'


def _named(row: Row, document: int) -> str:
    if document < 0:
        return "padding"
    origin = row.origins.get(document)
    return f"document {document}" + (f", {safe(str(origin))}" if origin else "")
