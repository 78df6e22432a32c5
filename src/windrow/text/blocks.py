"""Where one text file falls into blocks: whole documents of about ITEM bytes, or the pieces of one long document.

Guarantee: blocks depend on the bytes only and cover them; a document longer than a block falls into the pieces that
``cuts.cut_long`` gives, wherever it stands, so that equal documents have equal pieces. Reads forward; what lies more
than some blocks behind is never asked for again, so a stream of any length takes bounded memory.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from windrow.errors import SourceError
from windrow.text.json_forms import LINE_FORMS, LONGEST_LINE, is_array
from windrow.text.reading import Reading
from windrow.text.sources import BOM, Source
from windrow.text.streams import Bytes
from windrow.tokens.cuts import LIMIT, PIECE, Rule, first_cut
from windrow.tokens.protocol import EOT

__all__ = ["Block", "blocks", "delimiter"]

_BLOCK = 1 << 23
_STEP = 1 << 16
_KEEP = 1 << 12


@dataclass(frozen=True)
class Block:
    """Bytes ``[start, stop)``; ``next`` is where the next one starts (a separator lies between).

    ``piece`` is ``(is_first, is_last)`` for a piece of a long document, None for whole documents.
    """

    start: int
    stop: int
    next: int
    piece: tuple[bool, bool] | None = None

    def as_list(self) -> list[object]:
        return [self.start, self.stop, self.piece]

    def __str__(self) -> str:
        return f"bytes {self.start} to {self.stop}"


@cache
def delimiter(form: str, reading: Reading) -> re.Pattern[bytes] | None:
    """What stands between documents: a match starts where one ends, and ends where the next starts."""
    if form in LINE_FORMS:
        return re.compile(rb"\n")
    found = []
    if reading.separator is not None:
        line = re.escape(reading.separator.encode())  # looked for by how it begins, which takes a quarter of the time
        begins = rb"(?:%b(?<=\A%b)|%b(?:(?<=\n%b)|(?<=\A%b)))" % (BOM + line, BOM + line, line, line, line)
        found.append(begins + rb"\r?(?:\n|\Z)")
    if reading.literal_eos == "split":
        found.append(re.escape(EOT.encode()))
    return re.compile(b"|".join(found)) if found else None


def blocks(
    content: Bytes, source: Source, reading: Reading, cuttable: Rule, longest_array: int = 1 << 28, first: int = 0
) -> Iterator[Block]:
    """The blocks of one source, of form text, jsonl or json, in order; before ``first`` they may be of any size."""
    between, start = delimiter(source.form, reading), 0
    if is_array(content.read, source, reading):
        yield _array(content, source, longest_array)
        return
    while True:
        whole = _whole(content, start, between, source) if between else None
        for block in [whole] if whole else _pieces(content, start, between, source, cuttable, first):
            yield block
            content.forget(block.stop - _KEEP)
        start = block.next
        if content.end_by(start) is not None:
            return


def _array(content: Bytes, source: Source, longest: int) -> Block:
    stop = content.end_by(longest)
    if stop is None:
        raise SourceError(
            f"{source.path} is a JSON array of more than {longest / 1e6:.1f} MB, a quarter of the memory that may be "
            "taken, and an array is read in one piece. Write its objects as lines (jq -c '.[]' FILE.json > "
            "FILE.jsonl), which may be of any number, or give it more with memory= (--memory)."
        )
    return Block(0, stop, stop)


def _whole(content: Bytes, start: int, between: re.Pattern[bytes], source: Source) -> Block | None:
    """Whole documents from ``start`` on; None where a long one starts."""
    far = start + _BLOCK
    stop = content.end_by(far)
    if stop is None:
        found = _find(content, between, far, far + _BLOCK)
        stop = found[1] if found else _last(content, between, start, far)
    if stop is None and source.form in LINE_FORMS:
        found = _find(content, between, far + _BLOCK, start + LONGEST_LINE)
        stop = found[1] if found else content.end_by(start + LONGEST_LINE)
        if stop is None:
            raise SourceError(
                f"{source.path} has a line longer than {LONGEST_LINE >> 20} MiB at byte {start}, and a line of JSON "
                "is parsed in one piece. Split the document into several lines, or write it as a .txt file, which "
                "may be of any length."
            )
    return None if stop is None else Block(start, stop, stop)


def _find(content: Bytes, between: re.Pattern[bytes], start: int, stop: int) -> tuple[int, int] | None:
    """The first match that starts in ``[start, stop)``."""
    step = min(_KEEP, _STEP)
    while start < stop:
        back = min(start, 1)
        data = content.read(start - back, start + step + _KEEP)  # a match that starts in the step ends in it
        found = between.search(data, back)
        if found and found.start() - back < min(step, stop - start):
            return start - back + found.start(), start - back + found.end()
        if len(data) < back + step:
            return None
        start, step = start + step, min(2 * step, _STEP)
    return None


def _last(content: Bytes, between: re.Pattern[bytes], start: int, stop: int) -> int | None:
    """Where the last match in ``[start, stop)`` ends. The text goes on: what stands at ``stop`` may be half a line."""
    ends = (start + match.end() for match in between.finditer(content.read(start, stop + _KEEP)))
    return max((end for end in ends if end <= stop), default=None)


def _pieces(
    content: Bytes, start: int, between: re.Pattern[bytes] | None, source: Source, cuttable: Rule, first: int
) -> Iterator[Block]:
    """The pieces of the document that starts at ``start``, from ``first`` on where no other can end before."""
    here, place = start, PIECE if between else max(first // PIECE, 1) * PIECE
    while True:
        end = content.end_by(start + place)
        cut = None if end is None else end - start
        if cut is None:
            cut = first_cut(lambda a, b: content.read(start + a, start + b), place, cuttable)
        stop = start + (place + LIMIT if cut is None else cut)
        if between and (found := _find(content, between, here, stop + 1)):
            yield Block(here, found[0], found[1], (here == start, True))
            return
        if cut is None:
            raise _no_cut(str(source.path), start + place, cuttable)
        is_last = content.end_by(stop) is not None
        yield Block(here, stop, stop, (here == start, is_last))
        if is_last:
            return
        here, place = stop, ((stop - start) // PIECE + 1) * PIECE


def _no_cut(name: str, place: int, cuttable: Rule) -> SourceError:
    """The error for a document that can be neither cut nor tokenized whole in bounded memory."""
    if not cuttable:
        return SourceError(
            f"{name} has a document longer than {PIECE + LIMIT >> 20} MiB (near byte {place}), and documents can be "
            "cut only for tokenizers that split text like GPT-2, cl100k or o200k. Split it, or use one of those."
        )
    return SourceError(
        f"{name} has no place to cut within {LIMIT >> 20} MiB after byte {place}: no letter or digit that is followed "
        "by a space or punctuation. Such text is hardly language; take it out, or put line breaks after its words."
    )
