"""Text to ids and back: ``load_tokenizer(spec)`` and ``encode_documents(tokenizer, texts)``.

Guarantee. The ids are tiktoken's (for a ``tokenizer.json``, those of the package tokenizers), whichever engine
makes them. Text is only text: no control token comes out of it unless ``allowed_special`` names it. ``"gpt2"``
and ``"bytes"`` never use the network. Equal tokenizers have equal fingerprints, whatever engine, version, path
or route they come by.

Cost. ``load_tokenizer("gpt2")`` takes 0.1 s once per process, its fast engine as much again.
Importing this module loads no engine.

What it does not do: append eos, cut long documents, start processes. ``prepare`` does.
"""

import difflib
import functools
import hashlib
import importlib.resources
import json
import lzma
import os
import re
import sys
from binascii import a2b_base64
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast, overload

import numpy as np
import numpy.typing as npt

from windrow.distribution import DISTRIBUTION
from windrow.errors import TokenizerError
from windrow.tokens.bpe import BPE, parse_ranks
from windrow.tokens.huggingface import HuggingFace
from windrow.tokens.patterns import PATTERNS, pattern_of
from windrow.tokens.protocol import EOT, PROTOCOL, Tokenizer, token_dtype

__all__ = ["TextTokenizer", "load_tokenizer"]

BOS_NAMES = ("<|begin_of_text|>", "<s>", "<bos>", "<|bos|>", "<|startoftext|>", "[BOS]", "<|beginoftext|>")
_NAMES = ("", "bytes", "r50k_base", *PATTERNS)  # no folder is looked for
GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"


@overload
def load_tokenizer(spec: "str | os.PathLike[str]") -> "TextTokenizer": ...
@overload
def load_tokenizer(spec: object) -> Tokenizer: ...
def load_tokenizer(spec: object) -> Tokenizer:
    """The tokenizer that ``spec`` names.

    ``"gpt2"`` | ``"bytes"`` | another tiktoken encoding, as ``"o200k_base"`` (downloaded once by tiktoken) |
    ``"my.tiktoken:gpt2"``, a file of ranks and the pattern that cuts text for it (gpt2, cl100k_base,
    o200k_base, qwen2, qwen35) | ``"tokenizer.json"`` or ``"tokenizer.json:</s>"``, a Hugging Face file and its eos |
    the folder of such a file | a ``tiktoken.Encoding`` | any object of the ``Tokenizer`` protocol, returned as it is.

    Raises TokenizerError: unknown name, unreadable or damaged file, no network, package not installed.
    """
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)
    if not isinstance(spec, str):
        return _accept(spec)
    if match := re.fullmatch(r"(.+?\.(tiktoken|json))(?::(.*))?", spec, re.DOTALL):
        path, kind, suffix = match.groups()
        return _from_ranks_file(path, suffix) if kind == "tiktoken" else _from_json(path, suffix)
    file = os.path.join(spec, "tokenizer.json")
    return _from_json(file, None) if spec not in _NAMES and os.path.isfile(file) else _from_name(spec)


class TextTokenizer:
    """A tokenizer of windrow's own.

    ``name`` holds no folder and goes into manifests. ``pattern`` is "gpt2", "cl100k_base", "o200k_base", "qwen2" or
    "qwen35" when text is cut that way before the merges, else None; the tokens of ``added`` are found in text before.
    ``specials`` maps control tokens to ids; ``bos_id`` is None where none has a usual name. It pickles as its spec, or
    as its ranks when it came as an object (0.7 MB for GPT-2's), never as an engine. ``n_vocab``, ``eot_token``,
    ``special_tokens_set`` and the names of methods are also those of a ``tiktoken.Encoding``.
    """

    def __init__(self, model: "BPE | HuggingFace | SingleBytes", spec: str | None = None) -> None:
        self.name: str = model.name
        self.vocab_size: int = model.vocab_size
        self.n_vocab: int = model.vocab_size
        self.specials: dict[str, int] = model.specials
        self.special_tokens_set: set[str] = set(model.specials)
        self.eos_id: int = model.specials[model.eos]
        self.eot_token: int = self.eos_id
        self.bos_id: int | None = next((model.specials[name] for name in BOS_NAMES if name in model.specials), None)
        self.pattern: str | None = model.pattern
        self.added: Sequence[str] = model.added
        self._model, self._spec = model, spec

    @functools.cached_property
    def fingerprint(self) -> str:
        """Two tokenizers with the same fingerprint give the same ids."""
        return hashlib.sha256(json.dumps(self._model.digest, sort_keys=True).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<TextTokenizer {self.name!r}, vocab_size {self.vocab_size}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._spec:
            return TextTokenizer, (self._model,)
        return _restore, (self._spec, self.fingerprint, self._model.content)

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Ids of ``text``. Special tokens count as such only if ``allowed_special`` holds them ("all": each)."""
        _require_unicode([text])
        allowed = "|".join(map(re.escape, self._allowed(allowed_special)))
        parts = re.split(f"({allowed})", text) if allowed else [text]  # text, special, text, ..., text
        ids: list[int] = []
        for name, row in zip(["", *parts[1::2]], self.encode_batch(parts[::2]), strict=True):
            ids += [*([self.specials[name]] if name else []), *row.tolist()]
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of ``text``, none of them a special token's."""
        return self.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Ids of each text, ``(num_tokens,)`` of ``token_dtype(vocab_size)``: the fast path."""
        if isinstance(texts, str):
            raise TokenizerError("encode_batch takes a list of texts and got one str. Use [text], or encode(text).")
        _require_unicode(texts)
        return [row.astype(token_dtype(self.vocab_size)) for row in self._model.encode(texts)]  # each its own memory

    def encode_rows(self, texts: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Ids of each text, ``(num_tokens,)``, as the engine made them: the fastest path."""
        try:
            return self._model.encode(texts)
        except UnicodeEncodeError:
            _require_unicode(texts)  # says which text it is
            raise

    def expect(self, num_characters: int) -> None:
        """Say that so much text is coming, so that the fast engine is there from the first of it."""
        self._model.expect(num_characters)

    def encode_reference(self, text: str) -> list[int]:
        """Ids of ``text`` by the slow tokenizer that is the reference: tiktoken, or the package tokenizers."""
        return self._model.encode_reference(text)

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """Text of ``ids``; bytes that are not UTF-8 (part of a character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int] | npt.NDArray[Any]) -> bytes:
        """Bytes of ``ids``: exact, but for a ``tokenizer.json``, whose decoder makes text."""
        listed: Any = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        try:
            return self._model.decode(listed)
        except KeyError as error:
            wrong = error.args[0]
        except TypeError:  # a batch: its rows are no ids
            wrong = type(listed).__name__ if not isinstance(listed, list) else type(listed[0]).__name__
        raise TokenizerError(
            f"cannot decode {wrong}: it is no id of {self.name!r} (vocab_size {self.vocab_size}). decode takes one "
            "flat row of ids; of targets, those that count: targets[targets >= 0]."
        )

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Bytes of one id."""
        return self.decode_bytes([token])

    @property
    def token_bytes(self) -> Mapping[int, bytes]:
        """The bytes of each id. Raises TokenizerError where the decoder of a ``tokenizer.json`` does not tell them."""
        return self._model.token_bytes

    def _allowed(self, names: Collection[str]) -> list[str]:
        """The names asked for, longest first, so that none is read as the beginning of another."""
        wanted = set(self.specials) if names == "all" else {names} if isinstance(names, str) else set(names)
        if unknown := sorted(wanted - set(self.specials)):
            raise TokenizerError(
                f"allowed_special has {unknown[0]!r}, which is no special token of {self.name!r} and would be read "
                f"as plain text. It has {', '.join(self.specials)}."
            )
        return sorted(wanted, key=lambda name: (-len(name), name))


class SingleBytes:
    """The 256 bytes of UTF-8, and eos 256."""

    name: str = "bytes"
    vocab_size: int = 257
    pattern: str | None = None
    added: Sequence[str] = ()
    eos: str = EOT
    content: bytes = b""
    specials: ClassVar[dict[str, int]] = {EOT: 256}
    digest: ClassVar[list[Any]] = ["bytes", specials]
    token_bytes: ClassVar[dict[int, bytes]] = {byte: bytes([byte]) for byte in range(256)} | {256: EOT.encode()}

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[Any]]:
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]

    def encode_reference(self, text: str) -> list[int]:
        return list(text.encode())

    def expect(self, num_characters: int) -> None:
        """Nothing is made for much text."""

    def decode(self, ids: Sequence[int]) -> bytes:
        return b"".join([self.token_bytes[token] for token in ids])


@functools.cache
def _from_name(name: str) -> TextTokenizer:
    if name == "bytes":
        return TextTokenizer(SingleBytes(), name)
    if name in ("gpt2", "r50k_base"):  # two names of one vocabulary
        form = _gpt2_form()
        ranks = dict(zip(map(a2b_base64, form.split()[::2]), range(50256), strict=True))  # its sha256 is known
        return TextTokenizer(BPE(name, ranks, PATTERNS["gpt2"][0], {EOT: 50256}, form), name)
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        raise _unknown(name, sorted(["bytes", *tiktoken.list_encoding_names()]))
    try:
        encoding = tiktoken.get_encoding(name)
    except (OSError, ValueError) as error:  # what requests raises is an OSError; ValueError is a wrong download
        raise TokenizerError(
            f"tiktoken could not download the encoding {name!r} ({type(error).__name__}): the first use needs the "
            f'network. Load its ranks from a file ("PATH/{name}.tiktoken:PATTERN"), set TIKTOKEN_CACHE_DIR to a '
            'folder that a machine with network has filled, or use "gpt2", which needs none.'
        ) from error
    regex = PATTERNS[known][0] if (known := pattern_of(encoding._pat_str)) else encoding._pat_str
    return TextTokenizer(BPE(name, encoding._mergeable_ranks, regex, encoding._special_tokens), name)


def _gpt2_form() -> bytes:
    packed = importlib.resources.files("windrow.tokens").joinpath("gpt2.tiktoken.xz").read_bytes()
    try:
        data = lzma.decompress(packed)
    except (lzma.LZMAError, EOFError):
        data = b""
    if (found := hashlib.sha256(data).hexdigest()) != GPT2_SHA256:
        raise TokenizerError(
            f"the GPT-2 ranks inside the package are damaged: their sha256 is {found} and should be {GPT2_SHA256}. "
            "Wrong ranks give wrong ids without a sign. Install it again: "
            f"pip install --force-reinstall --no-deps {DISTRIBUTION}, or the same with . in a clone."
        )
    return data


def _from_ranks_file(path: str, pattern: str | None) -> TextTokenizer:
    if pattern not in PATTERNS:
        raise TokenizerError(
            f"{path!r} was given {f'the unknown pattern {pattern!r}' if pattern else 'no pattern'}. A .tiktoken "
            "file does not say how text is cut before the merges, and the wrong way gives wrong ids without a "
            f"sign. Name it after a colon: {', '.join(repr(f'{path}:{name}') for name in PATTERNS)}."
        )
    ranks = parse_ranks(_read(path), path)
    specials = {EOT: max(ranks.values(), default=-1) + 1}
    model = BPE(f"{Path(path).name}:{pattern}", ranks, PATTERNS[pattern][0], specials)
    return TextTokenizer(model, f"{os.path.abspath(path)}:{pattern}")


def _from_json(path: str, eos: str | None) -> TextTokenizer:
    model = HuggingFace(path, _read(path), eos)
    return TextTokenizer(model, f"{os.path.abspath(path)}:{model.eos}")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"the tokenizer file {path!r} cannot be read: {error.strerror}. Check the path; a relative one counts "
            f"from {os.getcwd()!r}."
        ) from None


def _accept(spec: object) -> Tokenizer:
    """An object handed in: a tiktoken Encoding is wrapped, one of the protocol is returned as it is."""
    tiktoken = sys.modules.get("tiktoken")  # an Encoding cannot exist before somebody has imported it
    if tiktoken and isinstance(spec, tiktoken.Encoding):
        name = re.split(r"[/\\]", spec.name)[-1]
        return TextTokenizer(BPE(name, spec._mergeable_ranks, spec._pat_str, spec._special_tokens))
    if missing := [name for name in PROTOCOL if not hasattr(spec, name)]:
        raise TokenizerError(
            f"{type(spec).__name__} is no tokenizer: it lacks {', '.join(missing)}. A tokenizer has "
            f'{", ".join(PROTOCOL)}. Add what lacks, or name one: "gpt2", "bytes", "PATH/tokenizer.json".'
        )
    tokenizer = cast(Tokenizer, spec)
    if not 0 <= tokenizer.eos_id < tokenizer.vocab_size:
        raise TokenizerError(
            f"{type(spec).__name__} has eos_id {tokenizer.eos_id} and vocab_size {tokenizer.vocab_size}. eos ends "
            f"every document, so it must be in [0, {tokenizer.vocab_size}). Correct one of the two."
        )
    return tokenizer


def _restore(spec: str, fingerprint: str, content: bytes) -> TextTokenizer:
    """Unpickle: load again, and make sure that it is the same (a file may have changed)."""
    tokenizer = load_tokenizer(spec)
    if content and content == tokenizer._model.content:
        tokenizer.fingerprint = fingerprint  # of the same bytes, and not computed again
    if tokenizer.fingerprint != fingerprint:
        raise TokenizerError(
            f"{spec!r} changed after the tokenizer was pickled: its fingerprint is {tokenizer.fingerprint} here and "
            f"was {fingerprint}, so ids would differ. Put the old file back, or start again with the new one."
        )
    return tokenizer


def _require_unicode(texts: Sequence[object]) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TokenizerError(f"text {number} is {type(text).__name__} and must be str. Decode bytes first.")
        try:
            text.isascii() or text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"text {number} has half a surrogate pair ({text[error.start]!r}) at character {error.start}. UTF-8 "
                "has none, and to put U+FFFD there would change the text in silence. Do so yourself: "
                "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
            ) from None


def _unknown(name: str, known: list[str]) -> TokenizerError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return TokenizerError(
        f"there is no tokenizer {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} Known are "
        f'{", ".join(map(repr, known))}, "PATH.tiktoken:PATTERN" with one of {", ".join(PATTERNS)}, '
        '"PATH/tokenizer.json" (or its folder, or "PATH/tokenizer.json:EOS"), and objects with '
        + ", ".join(PROTOCOL)
        + "."
    )
