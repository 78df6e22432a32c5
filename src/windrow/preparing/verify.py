"""The same command onto a finished store: verified, not done again; another recipe's store: refused.

Guarantee: says "finished" only when every file of the stores and every input has the sha256 that the manifests
record, and documents end with the tokenizer's eos. Cost: reads all of both once. Writes nothing.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from windrow.errors import PrepareError, StoreError
from windrow.preparing.iterables import batches
from windrow.store.manifest import MANIFEST, Manifest, describe, read_manifest, read_sources
from windrow.store.opening import open_store
from windrow.text.reading import Reading
from windrow.text.sources import Source
from windrow.text.streams import hash_file
from windrow.tokens.protocol import Tokenizer

__all__ = ["is_finished"]


def is_finished(
    dest: Path,
    sides: Sequence[str],
    policy: Mapping[str, Any],
    tokenizer: Tokenizer,
    sources: Sequence[Source],
    reading: Reading,
) -> bool:
    """Whether ``dest`` holds all ``sides`` of this recipe, whole. Raises ``PrepareError`` when it is another's."""
    found = {side: read_manifest(dest / side) for side in ("train", "valid") if (dest / side / MANIFEST).exists()}
    for side, manifest in found.items():
        _require_recipe(dest / side, manifest, {**policy, "side": side}, describe(tokenizer))
    if not all(side in found for side in sides):
        return False
    for side, manifest in found.items():
        _require_shards(dest / side, manifest)
        _require_eos(dest / side, manifest, tokenizer.eos_id)
    _require_inputs(dest / sides[0], found[sides[0]], sources, reading)
    return True


def _require_recipe(folder: Path, manifest: Manifest, policy: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    made = {
        each["fingerprint"]: f"{each['name']}, fingerprint {each['fingerprint'][:16]}"
        for each in (manifest.tokenizer, tokenizer)
    }
    wanted = {"boundary": "eos", **policy, "tokenizer": tokenizer["fingerprint"]}
    there = {"boundary": "eos", **manifest.policy, "tokenizer": manifest.tokenizer["fingerprint"]}
    for name in sorted(wanted | there):
        here, was = wanted.get(name), there.get(name)
        if here != was:
            here, was = (made.get(str(value), value) for value in (here, was))
            raise PrepareError(
                f"{folder} holds a store already, made with {name}={was!r}, and this command has {here!r}. Stores are "
                "never written over. Choose another folder, or remove that one."
            )


def _require_shards(folder: Path, manifest: Manifest) -> None:
    for name, digest in manifest.sums.items():
        try:
            found, _ = hash_file(str(folder / name))
        except ValueError as error:
            raise StoreError(f"{folder} is damaged: {error} Remove it and prepare it again.") from error
        if found != digest:
            raise StoreError(
                f"{folder / name} is damaged: its sha256 is {found}, and the manifest says {digest}. Remove {folder} "
                "and prepare it again."
            )


def _require_eos(folder: Path, manifest: Manifest, eos_id: int) -> None:
    """The eos is the tokenizer's, and as many documents end with it as the ledger says."""
    store, said = open_store(folder), manifest.ledger.get("eos_tokens")
    if (store.eos_id, store.num_ended) != (eos_id, said):
        raise StoreError(
            f"{folder} is damaged: its manifest says that {said} documents end with eos {store.eos_id}; the "
            f"tokenizer's is {eos_id}, and {store.num_ended} documents end so. Remove it and prepare it again."
        )


def _require_inputs(folder: Path, manifest: Manifest, sources: Sequence[Source], reading: Reading) -> None:
    lines = read_sources(folder, manifest).values()
    there, here = [line["path"] for line in lines], [source.name for source in sources]
    if there != here:
        other = sorted(set(there) ^ set(here))
        raise PrepareError(
            f"{folder} holds a store already, made of {len(there)} inputs, and this command has {len(here)} (the first "
            f"that differs: {other[0] if other else here[0]}). Stores are never written over. Choose another folder."
        )
    for line, source in zip(lines, sources, strict=True):
        if _digest(source, reading) != line["sha256"]:
            raise PrepareError(
                f"{folder} holds a store already, and {source.name} is not what it was made of any more. Stores are "
                "never written over. Choose another folder, or remove that one."
            )


def _digest(source: Source, reading: Reading) -> str:
    if source.path is not None:
        return hash_file(source.path)[0]
    digest = sha256()
    for _ in batches(source, reading, digest.update):
        pass
    return digest.hexdigest()
