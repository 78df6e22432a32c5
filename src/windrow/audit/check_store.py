"""The checks of what lies on disk. Each returns its evidence, or raises ``Failed`` with it.

Cost: one reading of all files for their sha256, one of all tokens for ids and eos; the rest is samples and boundaries.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windrow.arrays import Mask, UInt64, runs
from windrow.audit.check_subject import Advice, Failed, NotApplicable, Subject
from windrow.far.objects import Objects, is_far
from windrow.shown import counted
from windrow.store.manifest import BOUNDARIES
from windrow.store.store import TokenStore
from windrow.windows.spans import document_bounds

__all__ = ["control_tokens", "cut_points", "eos", "form", "ids_wrapped", "shared_documents", "stale_files", "truncated"]

_AT_A_TIME, _HASHED = 1 << 22, 1 << 20  # tokens
_FACTOR = 0x9E3779B97F4A7C15  # of the hash of a document
_LONG_RUN = 1024  # zeros in a row that no text has
_SAMPLED, _HEAD = 256, 32  # documents whose beginning is read, and its tokens
_FORMS = re.compile(r'(?P<JSON>(?:\[\s*)?\{\s*")|(?P<HTML><html|<!doctype html)|(?P<PDF>%PDF-)', re.IGNORECASE)


def stale_files(subject: Subject) -> str:
    """Files, boundaries and tokenizer are those that the manifest was written of."""
    num_files, unknown = 0, list[str]()
    for name, store in subject.whole.items():
        manifest, folder = store.manifest, store.path
        if manifest is None or folder is None:
            unknown.append(_unchanged(name, store))
            continue
        for file, expected in manifest.sums.items():
            if (found := _sum_of(folder, file)) != expected:
                raise Failed(f"{name}/{file} has sha256 {found[:16]}..., and the manifest says {expected[:16]}...")
        if subject.tokenizer.fingerprint != manifest.tokenizer["fingerprint"]:
            here = getattr(subject.tokenizer, "name", "another")
            raise Failed(f"{name} was made with tokenizer {manifest.tokenizer['name']!r}, and this is {here!r}")
        num_files += len(manifest.sums)
    if not num_files:
        raise NotApplicable("; ".join(unknown))
    return f"sha256 of {num_files} files and the tokenizer's fingerprint are those of the manifests"


def _sum_of(folder: Path, file: str) -> str:
    """The sha256 (hex) of a file of a store, which is read in slices, and kept nowhere, where it is far away."""
    if not is_far(str(folder)):
        with open(folder / file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    far, whole = Objects(str(folder)), hashlib.sha256()
    for chunk in far.chunks(file, 0, far.head(file).nbytes):
        whole.update(chunk)
    return whole.hexdigest()


def _unchanged(name: str, store: TokenStore) -> str:
    """What can be said of a store without a manifest; its files are as they were when they were first read whole."""
    if store.foreign is None:
        return "tokens in memory have no manifest to compare with"
    for file in store.foreign.files:
        if file.content() != file.content(anew=True):
            raise Failed(f"{file.path} holds other tokens than when it was first read, with the same size and time")
    return f"cannot be known of {name}: {store.foreign.format} writes no sums; they are kept from here on"


def truncated(subject: Subject) -> str:
    """Sizes and boundaries agree, counts are 0 and 1, and no stretch of zeros stands where a shard was cut."""
    for name, store in subject.whole.items():
        document_bounds(store)  # an error where they do not agree
        for first in range(0, store.num_tokens * store.has_counts, _AT_A_TIME):  # and one where counts are none
            store.counts_at(np.array([first]), np.array([min(_AT_A_TIME, store.num_tokens - first)]))
        run = max((_longest_run(tokens == 0) for tokens in _chunks(store)), default=0)
        if run >= _LONG_RUN:
            raise Failed(f"{name}: {run} zeros in a row, as a file has where it was never written")
    total = sum(store.num_tokens for store in subject.whole.values())
    return f"{total:,} tokens, as many as boundaries and sizes say; no run of {_LONG_RUN} zeros"


def ids_wrapped(subject: Subject) -> str:
    """Every id is one of the tokenizer's, and the dtype holds all that it has."""
    vocab_size, largest = subject.tokenizer.vocab_size, 0
    for name, store in subject.whole.items():
        if vocab_size > 2 ** (8 * store.dtype.itemsize):
            raise Failed(f"{name} is {store.dtype}, and {vocab_size} ids do not fit: those above {2**16 - 1} wrapped")
        here = max((int(tokens.max()) for tokens in _chunks(store)), default=0)
        said = store.manifest.max_token_id if store.manifest else here
        if here >= vocab_size or here != said:
            raise Failed(f"{name}: the largest id is {here}, the manifest says {said}, vocab_size is {vocab_size}")
        largest = max(largest, here)
    return f"the largest id is {largest}, below vocab_size {vocab_size}"


def eos(subject: Subject) -> str:
    """Each document begins and ends as its boundary says, with one eos, and there is none but those."""
    total, cut = 0, 0
    for name, store in subject.whole.items():
        cut_by_split = store.manifest is not None and store.manifest.policy.get("split") == "tail"
        may_go_on = cut_by_split or store.foreign is not None  # from a shard that is not here
        if _has(store, "bos_id") and (unbegun := store.num_documents - _num_begun(store)) > may_go_on:
            raise Failed(f"{name}: no bos begins {counted(unbegun, 'document')}")
        starts, ends = document_bounds(store)
        short = starts[ends - starts == 1] if store.foreign else starts[:0]
        if doubled := int(np.count_nonzero(store.gather(short, 1) == store.eos_id)):
            raise Failed(f"{counted(doubled, 'document')} of an eos alone: eos was written twice")
        if not _has(store, "eos_id"):
            seen = "whether one should cannot be known" if store.bos_id is None else "eos begins them"
            why = seen if store.foreign else "as asked for"
            raise NotApplicable(f"{name} has boundary {store.boundary!r}, {why}: no eos ends a document")
        num_eos, num_ended = _count(store, [subject.tokenizer.eos_id]), store.num_ended
        missing = len(ends) - num_ended
        if store.eos_id != subject.tokenizer.eos_id:
            raise Failed(f"{name}: its eos is {store.eos_id}, and the tokenizer's is {subject.tokenizer.eos_id}")
        if missing > cut_by_split:  # train's last document may go on in valid
            raise Failed(
                f"{name}: no eos {subject.tokenizer.eos_id} ends {missing} of {counted(len(ends), 'document')}"
            )
        if num_eos != num_ended and not _asked_for(store):
            raise Failed(f"{name}: {num_eos} eos in {len(ends)} documents")
        total, cut = total + num_ended, cut + missing
    also = f"; {cut} document is cut by the split, as asked for" if cut else ""
    return f"{total:,} eos {subject.tokenizer.eos_id}, one at the end of each document{also}"


def control_tokens(subject: Subject) -> str:
    """No text became a control token."""
    specials = {*getattr(subject.tokenizer, "specials", {}).values(), subject.tokenizer.eos_id}
    begun = (store.bos_id for store in subject.train.values())
    ids = sorted(specials.union(bos_id for bos_id in begun if bos_id is not None))
    for name, store in subject.whole.items():
        if asked := _asked_for(store):
            raise NotApplicable(f"{name} was made with {asked}, as asked for")
        written = store.num_ended * _has(store, "eos_id") + _num_begun(store) * _has(store, "bos_id")
        if forged := _count(store, ids) - written:
            raise Failed(f"{name}: {counted(forged, 'control token')} inside documents")
    return f"none of {ids} stands inside a document"


def cut_points(subject: Subject) -> str:
    """Documents, the longest among them, encode again to the ids that are stored."""
    tokenizer = subject.tokenizer
    if getattr(tokenizer, "pattern", None) is None and getattr(tokenizer, "name", "") != "bytes":
        raise NotApplicable("ids of this tokenizer do not give the text back")
    if any({"ids_key", "parts_key"} & set(store.manifest.policy) for store in subject.whole.values() if store.manifest):
        raise NotApplicable("rows were ids, or parts of which each was encoded by itself")
    num, tokens = 0, 0
    for name, store in subject.whole.items():
        for document in _sampled(store):
            ids = store.document(document)
            ids = ids[:-1] if len(ids) and ids[-1] == tokenizer.eos_id else ids
            ids = ids[1:] if len(ids) and ids[0] == store.bos_id else ids
            again = np.asarray(tokenizer.encode(tokenizer.decode(ids.tolist())), dtype=np.int64)
            if not np.array_equal(again, ids):
                n = min(len(again), len(ids))
                place = int(np.argmin(np.append(again[:n] == ids[:n], False)))
                raise Failed(f"{name}, document {document}: encoded again it has other ids from token {place} on")
            num, tokens = num + 1, tokens + len(ids)
    return f"{counted(num, 'document')} of {counted(tokens, 'token')}, the longest among them, keep their ids"


def form(subject: Subject) -> str:
    """Documents do not begin as files of another form do."""
    found, total = Counter[str](), 0
    for store in subject.whole.values():
        num = store.num_documents
        for number in np.linspace(0, num - 1, min(num, _SAMPLED)).astype(np.int64).tolist():
            begin, end = store.document_span(number)
            head = subject.tokenizer.decode(store.tokens(begin, min(end, begin + _HEAD)).tolist())
            match = _FORMS.match(head.lstrip("\ufeff \t\r\n"))
            found.update([match.lastgroup or ""] if match else [])
            total += 1
    seen = ", ".join(f"{count} of {total} documents looked at begin as {name} does" for name, count in found.items())
    if found.total() > total / 2:
        raise Failed(f"{seen}, and were read as text. Give prepare their --form, or the text that is in them.")
    if found.total() > total / 100:
        raise Advice(f"{seen}. If that is no text of yours, give prepare their --form, or the text that is in them.")
    return seen or f"of {total} documents looked at none begins as JSON, HTML or PDF does"


def shared_documents(subject: Subject) -> str:
    """No document of valid is one of train."""
    if not subject.valid:
        raise NotApplicable("there is no valid part beside it")
    held_out = {name: _hashes(store) for name, store in subject.valid.items()}
    for part, store in subject.train.items():
        train = _hashes(store)
        for name, valid in held_out.items():
            suspects = np.flatnonzero(np.isin(valid, train) & (valid != 0))
            known = {int(h): i for i, h in enumerate(train.tolist())} if len(suspects) else {}
            for i in suspects.tolist():
                j = known[int(valid[i])]
                if np.array_equal(subject.valid[name].document(i), store.document(j)):
                    raise Failed(
                        f"document {i} of {name} is document {j} of {part} (in all {len(suspects)}): use --dedupe"
                    )
    num_train = sum(store.num_documents for store in subject.train.values())
    return f"none of {counted(sum(map(len, held_out.values())), 'document')} of valid is among {num_train:,} of train"


def _hashes(store: TokenStore) -> UInt64:
    """A number for each document (num_documents,), equal for equal ones; 0 for those of one token."""
    starts, ends = document_bounds(store)
    out = np.zeros(len(ends), dtype=np.uint64)
    powers = np.multiply.accumulate(np.full(min(_HASHED, store.num_tokens), _FACTOR, dtype=np.uint64))
    for begin in range(0, store.num_tokens, _HASHED):
        tokens = store.tokens(begin, begin + _HASHED).astype(np.uint64) + np.uint64(1)
        held = slice(np.searchsorted(ends, begin, side="right"), np.searchsorted(starts, begin + len(tokens)))
        heads = np.maximum(starts[held] - begin, 0)  # of the pieces of documents that are here
        terms = tokens * powers[runs(np.zeros_like(heads), np.diff(heads, append=len(tokens)))]
        sums = np.add.reduceat(terms, heads)
        sums[:1] *= np.uint64(pow(_FACTOR, begin + int(heads[0]) - int(starts[held][0]), 2**64))
        out[held] += sums
    out[ends - starts == 1] = 0
    return out


def _sampled(store: TokenStore) -> list[int]:
    """The longest documents, and some from everywhere, up to about a million tokens; none beyond that."""
    starts, ends = document_bounds(store)
    lengths, num = ends - starts, len(ends)
    chosen = [*np.argsort(-lengths, kind="stable")[:4].tolist(), *np.unique(np.linspace(0, num - 1, 60, dtype=int))]
    total, out = 0, list[int]()
    for document in dict.fromkeys(map(int, chosen)):
        if total + lengths[document] <= 1 << 20:
            total += int(lengths[document])
            out.append(document)
    return out


def _count(store: TokenStore, ids: list[int]) -> int:
    """Tokens that are one of ``ids``."""
    return sum(int(np.count_nonzero(np.isin(tokens, ids))) for tokens in _chunks(store))


def _asked_for(store: TokenStore) -> str:
    """The choice by which control tokens may stand inside documents, if it was made."""
    policy = store.manifest.policy if store.manifest else {}
    if policy.get("literal_eos") == "special":
        return "--literal-eos special"
    return "--ids-key" if "ids_key" in policy else ""


def _has(store: TokenStore, boundary_id: str) -> bool:
    return boundary_id in BOUNDARIES[store.boundary]


def _num_begun(store: TokenStore) -> int:
    """Documents whose first token is bos."""
    return int(np.count_nonzero(store.gather(document_bounds(store)[0], 1) == store.bos_id))


def _chunks(store: TokenStore) -> Iterator[NDArray[Any]]:
    for first in range(0, store.num_tokens, _AT_A_TIME):
        yield store.tokens(first, first + _AT_A_TIME)


def _longest_run(flags: Mask) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
