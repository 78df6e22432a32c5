"""What ``windrow info`` prints: the facts of a store.

Guarantee: every figure is the manifest's. Cost: opening the stores.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from windrow.shown import size, table, visible
from windrow.store.store import TokenStore

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_stores", "store_facts"]


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
    columns = [[*_store_lines(fact)] for fact in facts.values()]
    rows = [[lines[0][0], *(value for _, value in lines)] for lines in zip(*columns, strict=True)]
    console.print(table(["", *map(visible, facts)], rows, left=range(len(facts) + 1)))


def _store_lines(fact: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tokenizer, policy = fact["tokenizer"], fact["policy"]
    yield "tokens", f"{fact['num_tokens']:,}"
    yield "documents", f"{fact['num_documents']:,}"
    yield "tokens a document", f"{fact['num_tokens'] / max(fact['num_documents'], 1):,.1f} on average"
    yield "dtype", f"{fact['dtype']}, {size(fact['nbytes'])}"
    yield "shards", f"{fact['num_shards']:,}"
    yield "tokenizer", f"{tokenizer['name']}, {tokenizer.get('vocab_size', 0):,} ids"
    yield "eos", f"{fact['eos_id']}, {policy.get('eos', 'unknown')}"
    yield "split", f"{policy.get('split', '-')}, valid_fraction {policy.get('valid_fraction', '-')}"
    yield "fingerprint", f"{fact['fingerprint'][:16]}..."
    yield "path", fact["path"]
