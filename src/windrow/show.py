"""What ``windrow info`` and ``windrow show`` print: a store, and a batch, as a person wants to see them.

Guarantee: the batch is the one that the loader gives at that step; every token is printed with what it is, where it
lies and what it shall predict; text is printed through ``visible``. Cost: the batch, and no more of the store. It does
not do: choosing a loader (the command line does), or moving its position.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windrow import Loader, TokenStore, open_store
from windrow.batch import IGNORE_INDEX
from windrow.loader import Sample
from windrow.manifest import MANIFEST
from windrow.terminal import visible
from windrow.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Row", "open_splits", "print_batch", "print_stores", "row_facts", "rows_of", "store_facts"]


# -- a batch -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One sample of a batch: which window it is, and of each place (L,) its input, target, document and position.

    ``documents`` and ``positions`` are -1 where a padded row has no token of the store; a target that does not count
    is -100.
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


def rows_of(loader: Loader, step: int) -> list[Row]:
    """The rows of ``loader[step]``, each with where it comes from. Raises ``ValueError`` when this rank has none."""
    try:
        inputs, targets = (np.asarray(part) for part in loader[step])  # (B, L) each
    except IndexError as error:
        raise ValueError(str(error)) from error
    rows = []
    for number, sample in enumerate(loader.lookup(step)):
        ids = inputs[number].tolist(), targets[number].tolist()
        start, documents, positions = _places(loader, sample, inputs.shape[1])
        rows.append(Row(number, sample.member, sample.window, sample.epoch, start, *ids, documents, positions))
    return rows


def _places(loader: Loader, sample: Sample, length: int) -> tuple[int, list[int], list[int]]:
    """The window's first token, and the document and the position in it of each of its inputs."""
    windows: Any = loader._members[sample.member]  # the one place that looks inside a loader
    key = (loader.seed, sample.member)
    start = int(windows.starts(np.array([sample.window]), np.array([sample.epoch]), key=key)[0])
    places = np.arange(start, min(start + length, windows.store.num_tokens))
    documents = windows.store.document_at(places)
    positions = places - windows.store.document_ends(documents - 1)
    padding = [-1] * (length - len(places))
    return start, documents.tolist() + padding, positions.tolist() + padding


def row_facts(row: Row, tokenizer: Tokenizer) -> dict[str, Any]:
    """The row for JSON: its fields, and the text of each input and target (None where a target does not count)."""
    return {
        **asdict(row),
        "input_texts": [token_text(tokenizer, token) for token in row.inputs],
        "target_texts": [None if t == IGNORE_INDEX else token_text(tokenizer, t) for t in row.targets],
    }


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """The text of one token; bytes that are part of a character are written ``\\xNN``."""
    decode_bytes = getattr(tokenizer, "decode_bytes", None)
    if decode_bytes is None:
        return tokenizer.decode([token])
    data: bytes = decode_bytes([token])
    return data.decode("utf-8", errors="backslashreplace")


def print_batch(console: "Console", rows: Sequence[Row], tokenizer: Tokenizer, *, num_places: int) -> None:
    """Each row: where it comes from, how it reads, and its first ``num_places`` places (0: all) as a table."""
    for row in rows:
        console.print()
        console.print(_headline(row), style="bold")
        console.print(_excerpt(row, tokenizer), style="dim")
        shown = min(num_places or len(row.inputs), len(row.inputs))
        console.print(_table(row, tokenizer, shown))
        if shown < len(row.inputs):
            console.print(f"  ... and {len(row.inputs) - shown} more places (--places 0 prints all)", style="dim")


def _headline(row: Row) -> str:
    documents = sorted({document for document in row.documents if document >= 0})
    named = f"documents {documents[0]} to {documents[-1]}" if len(documents) > 1 else f"document {documents[0]}"
    member = f"{visible(row.member)}, " if row.member else ""
    counting = sum(target != IGNORE_INDEX for target in row.targets)
    return (
        f"row {row.row}: {member}window {row.window} of epoch {row.epoch}, from token {row.start}\n"
        f"{named}; {counting} of {len(row.targets)} targets count"
    )


def _excerpt(row: Row, tokenizer: Tokenizer) -> str:
    text = visible(tokenizer.decode(row.inputs[:120]))
    return f"{text[:230]} ..." if len(text) > 230 or len(row.inputs) > 120 else text


def _table(row: Row, tokenizer: Tokenizer, num_places: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("place", "token", "id", "target", "target\nid", "docu-\nment", "position\nin it", "counts"):
        is_text = heading in ("token", "target", "counts")
        table.add_column(heading, justify="left" if is_text else "right", vertical="bottom", overflow="fold")
    for cells in _cells(row, tokenizer, num_places):
        table.add_row(*cells)
    return table


def _cells(row: Row, tokenizer: Tokenizer, num_places: int) -> Iterator[list[str]]:
    for place in range(num_places):
        target, counts = row.targets[place], row.targets[place] != IGNORE_INDEX
        document, position = row.documents[place], row.positions[place]
        yield [
            str(place),
            _quoted(tokenizer, row.inputs[place]),
            str(row.inputs[place]),
            _quoted(tokenizer, target) if counts else "-",
            str(target),
            str(document) if document >= 0 else "-",
            str(position) if document >= 0 else "-",
            "yes" if counts else "no",
        ]


def _quoted(tokenizer: Tokenizer, token: int) -> str:
    """The token between quotes, so that a space at its edge is seen."""
    return f"'{visible(token_text(tokenizer, token))}'"


# -- a store -------------------------------------------------------------------------------------------------------


def open_splits(path: Path) -> dict[str, TokenStore]:
    """The store at ``path`` by the name of its folder, or the stores in it: train first."""
    if (path / MANIFEST).is_file() or not path.is_dir():
        return {path.name: open_store(path)}
    names = sorted(child.name for child in path.iterdir() if (child / MANIFEST).is_file())
    return {name: open_store(path / name) for name in names} or {path.name: open_store(path)}


def store_facts(store: TokenStore) -> dict[str, Any]:
    """What the manifest says, as plain values: counts, dtype, size on disk, tokenizer, policy, fingerprint."""
    manifest = store.manifest
    assert manifest is not None
    return {
        "path": str(store.path),
        "num_tokens": store.num_tokens,
        "num_documents": store.num_documents,
        "dtype": manifest.dtype,
        "nbytes": store.num_tokens * store.dtype.itemsize,
        "num_shards": len(manifest.shards),
        "tokenizer": dict(manifest.tokenizer),
        "eos_id": manifest.eos_id,
        "max_token_id": manifest.max_token_id,
        "policy": dict(manifest.policy),
        "ledger": dict(manifest.ledger),
        "fingerprint": store.fingerprint,
    }


def print_stores(console: "Console", facts: dict[str, dict[str, Any]]) -> None:
    """A table with a column per store."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("")
    for name in facts:
        table.add_column(visible(name), overflow="fold")
    lines = [list(_store_lines(fact)) for fact in facts.values()]
    for number, (label, _) in enumerate(lines[0]):
        table.add_row(label, *[visible(str(column[number][1])) for column in lines])
    console.print(table)


def _store_lines(fact: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tokenizer, policy = fact["tokenizer"], fact["policy"]
    yield "tokens", f"{fact['num_tokens']:,}"
    yield "documents", f"{fact['num_documents']:,}"
    yield "tokens a document", f"{fact['num_tokens'] / max(fact['num_documents'], 1):,.1f} on average"
    yield "dtype", f"{fact['dtype']}, {_size(fact['nbytes'])}"
    yield "shards", f"{fact['num_shards']:,}"
    yield "tokenizer", f"{tokenizer['name']}, {tokenizer.get('vocab_size', 0):,} ids"
    yield "eos", f"{fact['eos_id']}, {policy.get('eos', 'unknown')}"
    yield "split", f"{policy.get('split', '-')}, valid_fraction {policy.get('valid_fraction', '-')}"
    yield "fingerprint", f"{fact['fingerprint'][:16]}..."
    yield "path", fact["path"]


def _size(nbytes: int) -> str:
    """Bytes in the largest unit that leaves a whole number before the point."""
    for unit, nbytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= nbytes_each:
            return f"{nbytes / nbytes_each:,.1f} {unit}"
    return f"{nbytes} bytes"
