"""Which document goes to which side: the finished items, in order -> the parts of ``train`` and ``valid``.

Guarantee: whole documents go to one side by a hash of their content, so equal ones stay together and none moves when
others come; with ``tail`` one cut goes through the tokens. A document that came in pieces is one document here.
Cost: the tables of the items, one at a time; with ``dedupe`` that of ``duplicates``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from windrow.arrays import Int64, Mask
from windrow.preparing.duplicates import repeated
from windrow.preparing.encode import Done
from windrow.preparing.tally import Tally
from windrow.preparing.unfinished import ItemFile
from windrow.text.sources import BOM
from windrow.tokens.encoder import digest_of_pieces

__all__ = ["ItemPart", "divide"]


@dataclass(frozen=True)
class ItemPart:
    """Tokens of one item that go to one side, ``[start, stop)`` of those that ``keep`` leaves.

    ``first_source`` is the number of the item's first source, of which ``above`` lines lie before its documents.
    ``keep`` is a mask over the item's documents, its bits packed, None for all; ``row`` is the document (source, line,
    start, stop) that the item is a piece of, and ``ends`` whether it ends here. ``closing``: the side ends here, maybe
    within a document.
    """

    key: str
    first_source: int
    above: int
    stop: int
    start: int = 0
    keep: bytes | None = None
    row: tuple[int, int, int, int] | None = None
    ends: bool = True
    closing: bool = False


def divide(
    folder: Path, tally: Tally, *, valid_fraction: float, split: str, dedupe: bool, memory: int
) -> dict[str, list[ItemPart]]:
    """The parts of ``train`` and, when there is to be one, ``valid``. ``tally`` is told what is left out."""
    results = tally.results
    tables = (_rows(folder, group) for group in _groups(results))
    again = repeated(tables, folder, num_documents=tally.num_documents, memory=memory) if dedupe else None
    sides: dict[str, list[ItemPart]] = {"train": [], "valid": []} if valid_fraction else {"train": []}
    by_digest = valid_fraction if split == "documents" else 0
    takes_all = not (dedupe or by_digest or any(done.about["num_skipped"] for done in results))
    seen = num_counted_again = 0
    for group in _groups(results):
        if takes_all:
            sides["train"] += _parts(group, None, None)
            continue
        rows = _rows(folder, group)
        wanted = rows[:, 7] == 0
        num_counted_again += int(np.maximum(rows[:, 7] - 1, 0).sum())  # bad pieces of one document
        if again is not None:
            wanted = wanted & ~again[seen : seen + len(wanted)]
        seen += len(wanted)
        is_valid = _below(rows[:, 5], by_digest)
        for side, mask in (("train", wanted & ~is_valid), ("valid", wanted & is_valid)):
            if mask.any():
                sides[side] += _parts(group, rows, mask)
    tally.leave_out(num_duplicates=0 if again is None else int(again.sum()), num_counted_again=num_counted_again)
    return _cut(sides["train"], valid_fraction) if valid_fraction and split == "tail" else sides


def _cut(parts: list[ItemPart], valid_fraction: float) -> dict[str, list[ItemPart]]:
    """One cut through the tokens of ``parts``."""
    cut = int(np.floor(sum(part.stop for part in parts) * (1 - valid_fraction)))
    sides: dict[str, list[ItemPart]] = {"train": [], "valid": []}
    for part in parts:
        here = min(max(cut, 0), part.stop)
        if here:
            sides["train"].append(replace(part, stop=here, closing=here == cut))
        if here < part.stop:
            sides["valid"].append(replace(part, start=here))
        cut -= part.stop
    return sides


def _below(digests: Int64, fraction: float) -> Mask:
    below: Mask = digests.view(np.uint64) < np.uint64(min(int(fraction * 2**64), 2**64 - 1))
    return below


def _parts(group: list[Done], rows: Int64 | None, mask: Mask | None) -> Iterator[ItemPart]:
    """What those documents take that are in the ``mask``, or all of them."""
    done, *_ = group
    if done.piece is None:
        num_tokens, keep = int(done.about["num_tokens"]), None
        if rows is not None and mask is not None and not mask.all():
            num_tokens, keep = int(np.diff(rows[:, 0], prepend=0)[mask].sum()), np.packbits(mask).tobytes()
        if num_tokens:
            yield ItemPart(done.key, done.first, done.above, num_tokens, keep=keep)
        return
    source, line, start, stop = _joined(group)[0, 1:5].tolist()
    for piece in group:
        if num_tokens := int(piece.about["num_tokens"]):
            row, ends = (source, line, start, stop), piece is group[-1]
            yield ItemPart(piece.key, done.first, done.above, num_tokens, row=row, ends=ends)


def _groups(results: Iterable[Done]) -> Iterator[list[Done]]:
    """Each item alone, or all those that hold the pieces of one document; in order."""
    pieces = list[Done]()
    for done in results:
        pieces.append(done)
        if done.piece is None or done.piece[1]:
            yield pieces
            pieces = []
    assert not pieces, "a document has no last piece"


def _rows(folder: Path, group: list[Done]) -> Int64:
    """The documents of a group, (n, 8); the last column counts what cannot be read, one in a document or its piece."""
    return _joined(group) if group[0].piece else ItemFile.open(folder, group[0].key).rows()


def _joined(pieces: list[Done]) -> Int64:
    """The one row of a document in pieces: its lines count from the first of them, its end counts all their tokens."""
    abouts = [done.about for done in pieces]
    digest = digest_of_pieces([bytes.fromhex(about["piece"]["digest"]) for about in abouts])
    blocks = [done.block for done in pieces if done.block]
    row = [
        sum(about["num_tokens"] for about in abouts),
        *(0, 1, blocks[0].start + len(BOM) * abouts[0]["num_marks"], blocks[-1].stop),
        *np.frombuffer(digest, "<i8"),
        sum(about["piece"]["bad"] for about in abouts),
    ]
    return np.array([row], np.int64)
