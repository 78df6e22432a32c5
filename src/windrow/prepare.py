"""Documents -> tokens -> a store on disk: ``DEST/train`` and, when asked for, ``DEST/valid``.

Guarantee: exactly one eos after each document; the same inputs and arguments give the same bytes; a store appears
whole or not at all (the manifest is written last), and none is written over. Cost: one shard in memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b, sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from windrow.errors import NotEnoughTokensError, PrepareError
from windrow.manifest import MANIFEST, Manifest, Shard, publish
from windrow.sources import Document, Inputs, Source, open_sources
from windrow.store import TokenStore, open_store
from windrow.tokenizer import Tokenizer, encode_documents, load_tokenizer, token_dtype

__all__ = ["prepare"]

Ids = NDArray[np.unsignedinteger[Any]]
Progress = Callable[[int, int], None]
Rows = Iterator[tuple[Document, int, Ids]]  # a document, its source's number, its ids without eos
Split = Literal["documents", "tail"]
_SHARD_TOKENS = 1 << 27
_BATCH_CHARS = 1 << 22  # texts handed to the tokenizer at a time


def prepare(
    inputs: Inputs,
    dest: str | Path,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    valid_fraction: float = 0.0,
    split: Split = "documents",
    on_progress: Progress | None = None,
) -> dict[str, TokenStore]:
    """Tokenize ``inputs`` into the store ``DEST/train``, and ``DEST/valid`` when ``valid_fraction > 0``.

    Args:
        inputs: a file, folder, glob, ``"-"`` for standard input, a list of them; or any other iterable of documents.
        dest: the folder that the stores go to.
        tokenizer: a name that ``load_tokenizer`` knows, or a tokenizer.
        valid_fraction: share of the text that goes to ``valid``, 0 <= f < 1.
        split: ``"documents"`` puts each document on one side by a hash of its content, so that equal documents stay
            together and adding one moves no other; ``"tail"`` cuts the tokens once, the end being ``valid``.
        on_progress: called with the number of documents and tokens so far.

    Returns ``{"train": store}`` or ``{"train": store, "valid": store}``.

    Raises ``SourceError`` for inputs that cannot be read, ``TokenizerError`` for text that cannot be encoded,
    ``PrepareError`` when ``dest`` holds a store already or cannot be written, ``NotEnoughTokensError`` when a side of
    the split comes out empty.
    """
    if not 0 <= valid_fraction < 1:
        raise ValueError(f"valid_fraction is {valid_fraction}, and it lies in 0 <= f < 1")
    if split not in ("documents", "tail"):
        raise ValueError(f'split is {split!r}, and it is "documents" or "tail"')
    sides = ["train", "valid"] if valid_fraction else ["train"]
    loaded, folder = load_tokenizer(tokenizer), Path(dest)
    for side in sides:
        _refuse_existing(folder / side)
    policy = {
        "eos": "after each document",
        "literal_eos": "text",
        "split": split,
        "valid_fraction": valid_fraction,
    }
    writers = {side: _StoreWriter(folder / side, side, loaded, policy) for side in sides}
    sources: list[Source] = []
    try:
        rows = _counted(_encoded(open_sources(inputs), loaded, sources), on_progress)
        _distribute(rows, writers, valid_fraction, split, loaded.eos_id)
        _check_sides(writers, valid_fraction, split)
        for writer in writers.values():
            writer.finish(sources)
    except OSError as error:
        raise PrepareError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Nothing was published."
        ) from error
    return {side: open_store(folder / side, tokenizer=tokenizer) for side in sides}


def _refuse_existing(folder: Path) -> None:
    if (folder / MANIFEST).exists():
        raise PrepareError(
            f"{folder} holds a store already, and stores are never written over. Choose another folder, open it with "
            f"open_store({str(folder)!r}), or remove it."
        )


def _encoded(opened: Iterator[Source], tokenizer: Tokenizer, sources: list[Source]) -> Rows:
    """Every document with its ids, encoded in batches of bounded size; fills ``sources`` on the way."""
    batch: list[tuple[Document, int]] = []
    num_chars = 0
    for source in opened:
        sources.append(source)
        for document in source.documents:
            batch.append((document, len(sources) - 1))
            num_chars += len(document.text)
            if num_chars >= _BATCH_CHARS:
                yield from _encode_batch(batch, tokenizer)
                batch, num_chars = [], 0
    yield from _encode_batch(batch, tokenizer)


def _encode_batch(batch: list[tuple[Document, int]], tokenizer: Tokenizer) -> Rows:
    ids = encode_documents(tokenizer, [document.text for document, _ in batch])
    for (document, source), row in zip(batch, ids, strict=True):
        yield document, source, row


def _counted(rows: Rows, on_progress: Progress | None) -> Rows:
    num_documents = num_tokens = 0
    for document, source, ids in rows:
        num_documents, num_tokens = num_documents + 1, num_tokens + len(ids) + 1
        if on_progress:
            on_progress(num_documents, num_tokens)
        yield document, source, ids


def _distribute(
    rows: Rows, writers: Mapping[str, "_StoreWriter"], valid_fraction: float, split: Split, eos_id: int
) -> None:
    if "valid" in writers and split == "tail":
        _cut_tail(list(rows), writers, valid_fraction, eos_id)
        return
    for document, source, ids in rows:
        side = "valid" if "valid" in writers and _is_valid(document.text, valid_fraction) else "train"
        writers[side].add(np.append(ids, ids.dtype.type(eos_id)), _origin(document, source))


def _is_valid(text: str, valid_fraction: float) -> bool:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=b"windrow split 1").digest()
    return int.from_bytes(digest, "little") < valid_fraction * 2**64


def _cut_tail(
    rows: list[tuple[Document, int, Ids]],
    writers: Mapping[str, "_StoreWriter"],
    valid_fraction: float,
    eos_id: int,
) -> None:
    num_tokens = sum(len(ids) + 1 for _, _, ids in rows)
    cut = int(np.floor(num_tokens * (1 - valid_fraction)))
    for document, source, ids in rows:
        whole = np.append(ids, ids.dtype.type(eos_id))
        here = min(max(cut, 0), len(whole))  # how much of this document lies before the cut
        for side, part in (("train", whole[:here]), ("valid", whole[here:])):
            if len(part):
                writers[side].add(part, _origin(document, source))
        cut -= len(whole)


def _origin(document: Document, source: int) -> tuple[int, int, int, int]:
    return source, document.line, document.start, document.stop


def _check_sides(writers: Mapping[str, "_StoreWriter"], valid_fraction: float, split: Split) -> None:
    counts = {side: writer.num_documents for side, writer in writers.items()}
    if not sum(counts.values()):
        raise NotEnoughTokensError("the inputs hold no document, so there is nothing to train on. Give some text.")
    empty = [side for side, count in counts.items() if not count]
    if empty:
        remedy = 'split="tail" (one cut through the tokens)' if split == "documents" else "more text"
        raise NotEnoughTokensError(
            f"split {empty[0]!r} got none of the {sum(counts.values())} documents at valid_fraction={valid_fraction}: "
            f"whole documents go to one side or the other. Use {remedy}, a larger share for it, or more documents."
        )


class _StoreWriter:
    """Writes one store: documents in, shards out, the manifest last."""

    def __init__(self, folder: Path, side: str, tokenizer: Tokenizer, policy: Mapping[str, Any]) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self._policy = {**policy, "side": side}
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._rows: list[Ids] = []
        self._origins: list[tuple[int, int, int, int]] = []
        self._shards: list[Shard] = []
        self._shard_tokens = 0
        self._max_token_id = 0
        self.num_documents = self.num_tokens = 0

    def add(self, ids: Ids, origin: tuple[int, int, int, int]) -> None:
        """Append one document, its eos included."""
        self._rows.append(ids)
        self._origins.append(origin)
        self._shard_tokens += len(ids)
        self.num_documents, self.num_tokens = self.num_documents + 1, self.num_tokens + len(ids)
        if self._shard_tokens >= _SHARD_TOKENS:
            self._flush()

    def finish(self, sources: list[Source]) -> None:
        """Write what is left, the list of sources, and the manifest."""
        self._flush()
        lines = [{"path": s.name, "nbytes": s.digest.nbytes, "sha256": s.digest.sha256} for s in sources]
        listing = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()
        publish(self._folder / "sources.jsonl", listing)
        publish(self._folder / MANIFEST, self._manifest(sha256(listing).hexdigest()).to_json().encode())

    def _manifest(self, sources_sha256: str) -> Manifest:
        tokenizer = self._tokenizer
        name = getattr(tokenizer, "name", type(tokenizer).__name__)
        return Manifest(
            dtype=self._dtype.name,
            num_tokens=self.num_tokens,
            num_documents=self.num_documents,
            max_token_id=self._max_token_id,
            eos_id=tokenizer.eos_id,
            tokenizer={
                "name": name,
                "vocab_size": tokenizer.vocab_size,
                "fingerprint": tokenizer.fingerprint,
            },
            policy=self._policy,
            shards=tuple(self._shards),
            sources={"file": "sources.jsonl", "sha256": sources_sha256},
            ledger={"text_tokens": self.num_tokens - self.num_documents, "eos_tokens": self.num_documents},
        )

    def _flush(self) -> None:
        if not self._rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tokens = np.concatenate(self._rows, dtype=self._dtype)
        ends = np.cumsum([len(row) for row in self._rows], dtype=np.int64)
        number = f"{len(self._shards):05d}"
        self._max_token_id = max(self._max_token_id, int(tokens.max()))
        files = {
            f"tokens-{number}.bin": tokens.astype(self._dtype.newbyteorder("<"), copy=False).tobytes(),
            f"documents-{number}.npy": _npy(ends),
            f"origins-{number}.npy": _npy(np.array(self._origins, dtype=np.int64)),
        }
        for name, data in files.items():
            publish(self._folder / name, data)
        named = [(name, sha256(data).hexdigest()) for name, data in files.items()]
        self._shards.append(Shard(named[0][0], len(tokens), len(ends), named[0][1], *named[1], *named[2]))
        self._rows, self._origins, self._shard_tokens = [], [], 0


def _npy(array: NDArray[np.int64]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array.astype("<i8"), allow_pickle=False)
    return buffer.getvalue()
