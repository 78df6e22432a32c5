"""What ``windrow info`` prints: the facts of a store, its columns, and tokens by source and by category.

Guarantee: facts are the manifest's, at the cost of opening the store; a summary reads what is kept of each document.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Int64
from windrow.shown import size, table, visible
from windrow.store.manifest import Column
from windrow.store.shards import map_origins, of_documents
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_stores", "print_summary", "store_facts", "store_summary"]

_MOST = 10  # sources, or categories, that are printed
_AT_A_TIME = 1 << 18  # documents
_STANDS = {"eos": "ends documents", "bos": "begins documents", "both": "begins and ends them", "none": "does neither"}


def store_facts(store: TokenStore) -> dict[str, Any]:
    """What the manifest says, as plain values: counts, dtype, size on disk, tokenizer, policy, fingerprint.

    Of files of other tools what they are, and what is seen in them; the highest id takes a pass over them, once.
    """
    shared = {name: getattr(store, name) for name in ("num_tokens", "num_documents", "eos_id")}
    shared |= {"path": str(store.path), "dtype": store.dtype.name, "nbytes": store.num_tokens * store.dtype.itemsize}
    if foreign := store.foreign:
        seen = {"boundary": store.boundary, "max_token_id": max(file.highest() for file in foreign.files)}
        is_told = store.reopen and store.reopen.keywords["tokenizer"]
        name = getattr(store.tokenizer, "name", None) if is_told else foreign.files[0].tokenizer
        said = {"format": foreign.format, "num_shards": len(foreign.files), "tokenizer": name}
        return shared | said | seen
    manifest = store.manifest
    assert manifest is not None
    said = {name: getattr(manifest, name) for name in ("tokenizer", "max_token_id", "policy", "ledger")}
    return shared | said | {"num_shards": len(manifest.shards), "fingerprint": store.fingerprint}


def print_stores(console: "Console", facts: dict[str, dict[str, Any]]) -> None:
    """A table with a column per store."""
    columns = [[*_store_lines(fact)] for fact in facts.values()]
    rows = [[lines[0][0], *(value for _, value in lines)] for lines in zip(*columns, strict=True)]
    console.print(table(["", *map(visible, facts)], rows, left=range(len(facts) + 1)))


def _store_lines(fact: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if is_foreign := "format" in fact:
        yield "format", fact["format"]
    yield "tokens", f"{fact['num_tokens']:,}"
    yield "documents", f"{fact['num_documents']:,}"
    yield "tokens a document", f"{fact['num_tokens'] / max(fact['num_documents'], 1):,.1f} on average"
    yield "dtype", f"{fact['dtype']}, {size(fact['nbytes'])}"
    yield "shards", f"{fact['num_shards']:,}"
    yield "highest id", f"{fact['max_token_id']:,}"
    if is_foreign:
        yield "eos", "not known" if fact["eos_id"] is None else f"{fact['eos_id']}, {_STANDS[fact['boundary']]}"
        yield "tokenizer", fact["tokenizer"] or "not known: the files do not say"
        yield "path", fact["path"]
        return
    tokenizer, policy = fact["tokenizer"], fact["policy"]
    yield "tokenizer", f"{tokenizer['name']}, {tokenizer.get('vocab_size', 0):,} ids"
    yield "eos", f"{fact['eos_id']}, {policy.get('eos', 'unknown')}"
    yield "split", f"{policy.get('split', '-')}, valid_fraction {policy.get('valid_fraction', '-')}"
    yield "fingerprint", f"{fact['fingerprint'][:16]}..."
    yield "path", fact["path"]


def store_summary(store: TokenStore) -> dict[str, Any]:
    """Tokens by source; of each column its type, how many miss, and its range and mean, or tokens by what it holds."""
    if store.manifest is None:
        return {"tokens_by_source": {}, "columns": {}}
    assert store.path is not None
    names = dict(enumerate(store.sources))
    origins = [map_origins(store.path, shard)[:, 0] for shard in store.manifest.shards]
    by_source = _tokens_by(store, lambda documents: of_documents(origins, *store.places_in_shards(documents)))
    columns = {column.name: _column_facts(column, store) for column in store.manifest.columns}
    return {"tokens_by_source": {names.get(n, f"source {n}"): num for n, num in by_source}, "columns": columns}


def _column_facts(column: Column, store: TokenStore) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": column.type, "missing": column.missing}
    values = store.column(column.name)
    if column.type in ("bool", "category"):
        return facts | {"tokens": {str(value): num for value, num in _tokens_by(store, values.__getitem__)}}
    is_missing = np.isnan(values) if column.type == "float64" else values == -1
    there = values[~is_missing] if np.count_nonzero(is_missing) == column.missing else values
    if not len(there):
        return facts
    return facts | {"least": there.min().item(), "mean": there.mean().item(), "highest": there.max().item()}


def _tokens_by(store: TokenStore, values_of: Callable[[Int64], NDArray[Any]]) -> list[tuple[Any, int]]:
    """The values of documents, and the tokens of those that have each, the most first; so many at a time."""
    tokens = Counter[Any]()
    for first in range(0, store.num_documents, _AT_A_TIME):
        documents = np.arange(first, min(first + _AT_A_TIME, store.num_documents))
        lengths = np.diff(store.document_ends(np.append(first - 1, documents)))
        for value, length in zip(values_of(documents).tolist(), lengths.tolist(), strict=True):
            tokens[value] += length
    return tokens.most_common()


def print_summary(console: "Console", side: str, summary: dict[str, Any]) -> None:
    """A table for each way to divide the tokens of a store, and a line for each column of numbers."""
    if len(summary["tokens_by_source"]) > 1:
        _print_tokens(console, f"{side}: source", summary["tokens_by_source"])
    for name, facts in summary["columns"].items():
        missing = f", {facts['missing']:,} missing" * (facts["missing"] > 0)
        if "tokens" in facts:
            _print_tokens(console, f"{side}: {name}, {facts['type']}{missing}", facts["tokens"])
        elif "mean" in facts:
            span = f"from {facts['least']:,} to {facts['highest']:,}, {facts['mean']:,.6g} on average"
            console.print(visible(f"{side}: {name}, {facts['type']}{missing}: {span}"), soft_wrap=True)


def _print_tokens(console: "Console", heading: str, tokens: dict[str, int]) -> None:
    rows, rest = list(tokens.items())[:_MOST], list(tokens.values())[_MOST:]
    rows += [(f"{len(rest):,} more", sum(rest))] if rest else []
    shares = [(name, f"{num:,}", f"{num / sum(tokens.values()):.1%}") for name, num in rows]
    console.print(table([visible(heading), "tokens", "share"], shares, left=[0]))
