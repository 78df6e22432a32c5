"""What JSON a source holds: an object on each line, or one array of objects.

Guarantee: what a first line does not tell is an error that says what to do, never a guess. Cost: the first line is
looked at; an array is in memory as bytes and as text.
"""

import json
import re
from collections.abc import Callable, Iterator

from windrow.errors import SourceError
from windrow.text.reading import FORM_REMEDY, Reading
from windrow.text.sources import BOM, Source

__all__ = ["JSON", "LINE_FORMS", "LONGEST_LINE", "elements", "is_array"]

LINE_FORMS = ("jsonl", "json")  # of which a line is a document
LONGEST_LINE = 1 << 25  # it is parsed in one piece
_HEAD = 1 << 12
JSON = json.JSONDecoder(parse_int=lambda digits: 0)  # no number is a text, and Python refuses those of 5000 digits
_BEGIN = re.compile(r"\s*\[[ \t\r\n]*(\][ \t\r\n]*\Z)?")
_AFTER = re.compile(r"[ \t\r\n]*(,|\][ \t\r\n]*\Z)[ \t\r\n]*")


def is_array(read: Callable[[int, int], bytes], source: Source, reading: Reading) -> bool:
    """Whether a source is one JSON array; ``read(start, stop)`` gives its bytes, fewer at the end.

    Raises ``SourceError`` where the first line does not tell, and for JSON on standard input that nobody spoke of.
    """
    is_unsaid = source.path == "-" and source.form == "text" and reading.form is None
    if source.form != "json" and not is_unsaid:
        return False
    head = read(0, _HEAD).removeprefix(BOM).lstrip()
    if source.form == "json" and head[:1] == b"[":
        return True
    wrong = _why_no_lines(read) if source.form == "json" or head[:1] == b"{" else "is text"
    if is_unsaid and (not wrong or re.match(rb'\[\s*\{\s*"', head)):
        raise SourceError(
            "standard input begins with JSON, and as plain text its keys and braces would be trained on. Say what it "
            "is (form= from Python): --form jsonl for an object on each line, with --text-key where its text is not "
            "under 'text'; --form json for one array; --form text for plain text."
        )
    if source.form == "json" and wrong:
        raise SourceError(
            f"{source.path} holds neither lines of JSON nor an array of objects: its first line {wrong}. Write each "
            f"document on a line of its own (jq -c . does). {FORM_REMEDY}"
        )
    return False


def _why_no_lines(read: Callable[[int, int], bytes]) -> str:
    """What is wrong with the first line; "" for nothing."""
    nbytes = _HEAD
    while nbytes < LONGEST_LINE and len(data := read(0, nbytes)) == nbytes and b"\n" not in data:
        nbytes = min(8 * nbytes, LONGEST_LINE)
    line = read(0, nbytes).partition(b"\n")[0]
    if len(line) == LONGEST_LINE:
        return f"is longer than {LONGEST_LINE >> 20} MiB"
    text = line.removeprefix(BOM)
    if not text.strip():
        return "is empty" if text == line else "holds a byte order mark and nothing else"
    try:
        return "" if isinstance(JSON.decode(text.decode("utf-8", "replace")), dict) else "is no JSON object"
    except (ValueError, RecursionError):
        return "is no JSON object"


def elements(data: bytes) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of each element of a JSON array, in bytes. Raises ``ValueError`` when it is not whole."""
    text = data.decode("utf-8", "surrogateescape")
    begun = _BEGIN.match(text)
    assert begun, "is_array was not asked"
    here = place = begun.end()  # as text and as bytes
    is_over = begun[1] is not None
    while not is_over:
        _, end = JSON.raw_decode(text, here)
        stop = place + len(text[here:end].encode("utf-8", "surrogateescape"))
        yield place, stop
        after = _AFTER.match(text, end)
        if not after:
            raise ValueError(f"neither , nor ] after the element that ends at byte {stop}")
        here, place, is_over = after.end(), stop + after.end() - end, after[1] != ","
