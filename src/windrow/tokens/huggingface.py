"""A Hugging Face ``tokenizer.json``, applied as the package tokenizers (extra ``hf``) does.

Guarantee. The ids are those of that package. Text is only text: the file's special tokens are neither added to it nor
recognised in it, and where a vocabulary would make one of plain letters all the same, that is an error. Nothing is
truncated or padded.

What it does not do: bytes. The file's decoder makes text, so half a character decodes to U+FFFD.
"""

import functools
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from windrow.distribution import install_line
from windrow.errors import TokenizerError, read_json
from windrow.tokens.engine import Engine, Row
from windrow.tokens.patterns import pattern_of
from windrow.tokens.protocol import EOT

EOS_NAMES = (EOT, "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "[EOS]", "<|im_end|>")
_SEEN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))  # they stand for themselves in byte-level tokens
_HIDDEN = [byte for byte in range(256) if byte not in _SEEN]
_ALPHABET = {chr(byte): byte for byte in _SEEN} | {chr(256 + place): byte for place, byte in enumerate(_HIDDEN)}
_UNUSUAL = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")  # of a byte-level model


class HuggingFace(Engine):
    """The tokenizer in ``data``, the bytes of the file ``path``, with ``eos`` or the first usual name it has."""

    REFERENCE: ClassVar[tuple[str, str]] = (
        "tokenizers",
        "A pattern of the file tries more and more ways to cut long runs of one kind of character. Shorten such runs "
        "in the text, or use a tokenizer whose pattern does not backtrack.",
    )

    def __init__(self, path: str, data: bytes, eos: str | None = None) -> None:
        super().__init__()
        self.name: str = Path(path).name
        self._path, self._data = path, data
        settings = self._settings
        self._tokenizers = _tokenizers(path, data)
        is_special = {token["content"]: token["special"] for token in settings["added_tokens"]}
        self.eos: str = eos or next((name for name in EOS_NAMES if name in is_special), None) or ""
        ids = {name: self._tokenizers.token_to_id(name) for name in (*is_special, self.eos)}
        if ids[self.eos] is None:
            raise _no_eos(path, self.eos, is_special)
        specials = {name: token for name, token in ids.items() if name == self.eos or is_special[name]}
        self.specials: dict[str, int] = specials
        self.added: tuple[str, ...] = tuple(name for name in is_special if not is_special[name])
        vocab = settings["model"]["vocab"]  # of a Unigram model a list
        words = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
        self.vocab_size: int = max(chain(words, ids.values())) + 1
        self.ids: Sequence[int] = range(self.vocab_size)
        self.pattern: str | None = _pattern(settings)
        self.content: bytes = hashlib.sha256(data).digest()
        unknown = settings["model"].get("unk_token")  # the one special token that plain text may make
        self._decoder: dict[str, Any] = settings.get("decoder") or {}
        self._control = np.array([token for name, token in self.specials.items() if name != unknown], np.int64)

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        return _settings(self._path, self._data)

    @property
    def digest(self) -> list[Any]:
        """What it is: the content of the file, and eos."""
        return ["tokenizer.json", self._settings, self.eos]

    def encode(self, texts: Sequence[str]) -> list[Row]:
        rows = super().encode(texts)
        ids = np.concatenate([np.empty(0, np.uint32), *rows])
        if len(places := np.flatnonzero(np.isin(ids, self._control, kind="table"))):
            number = int(np.searchsorted(np.cumsum([len(row) for row in rows]), places[0], "right"))
            forged = int(ids[places[0]])
            raise TokenizerError(
                f"text {number} makes the control token {self._tokenizers.id_to_token(forged)!r} (id {forged}) out of "
                "plain letters, because the vocabulary holds it as a word. Text could end documents that way. Take "
                "those letters out of the text, or use another tokenizer."
            )
        return rows

    def encode_slowly(self, texts: Sequence[str]) -> list[Row]:
        with self.panic_as_error("tokenizers", texts):
            encodings = self._tokenizers.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def build_fast(self, gigatoken: Any) -> Any:
        """None where the file does to a text what gigatoken does not, or does in another way."""
        settings = self._settings
        del self._settings  # it holds more memory than the ids of a large text
        if self.pattern is None or any(map(settings["model"].get, _UNUSUAL)) or _overlap(self.specials, self.added):
            return None
        plain = [token for token in settings["added_tokens"] if not token["special"]]
        return gigatoken.Tokenizer.from_json(json.dumps(settings | {"added_tokens": plain}))

    def decode(self, ids: Sequence[int]) -> bytes:
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise KeyError(token)
        with self.panic_as_error("tokenizers", f"the ids {list(ids[:10])}"):
            return cast(str, self._tokenizers.decode(list(ids), skip_special_tokens=False)).encode()

    @functools.cached_property
    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of each id, half a character's too; a "▁" is a blank. Raises TokenizerError for other decoders."""
        steps = self._decoder.get("decoders", [self._decoder])
        kinds, table = {step.get("type") for step in steps}, self._tokenizers.get_vocab()
        if not (kinds == {"ByteLevel"} or {"Metaspace", "ByteFallback"} & kinds):
            raise TokenizerError(
                f"the decoder of {self.name!r} is {' and '.join(map(str, kinds))}, which does not tell the bytes that "
                "a token stands for. Leave num_bytes out, or use a tokenizer whose tokens are bytes (ByteLevel)."
            )
        of = _byte_level if kinds == {"ByteLevel"} else _metaspace
        literal = {*self.specials, *self.added}
        return {token: name.encode() if name in literal else of(name) for name, token in table.items()}


def _byte_level(name: str) -> bytes:
    return bytes(map(_ALPHABET.__getitem__, name)) if _ALPHABET.keys() >= {*name} else name.encode()


def _metaspace(name: str) -> bytes:
    byte = re.fullmatch("<0x([0-9A-F]{2})>", name)
    return bytes.fromhex(byte[1]) if byte else name.replace("\u2581", " ").encode()


def _settings(path: str, data: bytes) -> dict[str, Any]:
    try:
        settings = read_json(data, dict)
        settings = settings | {"truncation": None, "padding": None}
        settings["added_tokens"] = settings.get("added_tokens") or []
        settings["model"]["vocab"]  # every kind of model has one
    except (ValueError, LookupError, TypeError) as error:
        raise TokenizerError(
            f"{path!r} is not a tokenizer.json ({type(error).__name__}: {error}). Such a file is what "
            "tokenizers.Tokenizer.save writes; vocab.json, merges.txt and tokenizer_config.json are others."
        ) from None
    return cast(dict[str, Any], settings)


def _tokenizers(path: str, data: bytes) -> Any:
    try:
        import tokenizers
    except ImportError:
        raise TokenizerError(
            f"{path!r} needs the package tokenizers, which is not installed. {install_line('hf')}."
        ) from None
    if not hasattr(tokenizers.Tokenizer, "encode_special_tokens"):
        raise TokenizerError(
            f"tokenizers {tokenizers.__version__} cannot be told to read special tokens in text as text, so that "
            "text could end documents. pip install --upgrade tokenizers."
        )
    try:
        engine = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the package raises no narrower class
        raise TokenizerError(
            f"tokenizers {tokenizers.__version__} cannot read {path!r}: {error}. Download the file again, or, if a "
            "newer version wrote it: pip install --upgrade tokenizers."
        ) from None
    engine.no_truncation()
    engine.no_padding()
    engine.encode_special_tokens = True  # that is, as the plain text they are
    return engine


def _no_eos(path: str, eos: str, added: Collection[str]) -> TokenizerError:
    what = f"has no token {eos!r}" if eos else f"has none of the usual end tokens ({', '.join(EOS_NAMES)})"
    some = ", ".join([*added][:20]) or "none"
    return TokenizerError(
        f"{path!r} {what}, and an eos ends every document. Name the file's own after a colon, as in "
        f"{path + ':</s>'!r}. Its added tokens: {some}{', ...' * (len(added) > 20)}."
    )


def _pattern(settings: dict[str, Any]) -> str | None:
    """The known pattern that the file cuts text by, if it changes nothing else about the text, but for NFC."""
    steps = settings.get("pre_tokenizer") or {}
    *splits, last = steps.get("pretokenizers") or [steps]
    normalizer = settings.get("normalizer")
    flags = ("single_word", "lstrip", "rstrip", *(["normalized"] if normalizer else []))  # of what is found in text
    if any(token.get(flag) for token in settings["added_tokens"] if not token["special"] for flag in flags):
        return None
    if normalizer not in (None, {"type": "NFC"}):
        return None
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space") or len(splits) > 1:
        return None
    by_itself = last.get("use_regex", True)
    if not splits:
        return "gpt2" if by_itself else None
    split = splits[0]
    if by_itself or split.get("type") != "Split" or split["behavior"] != "Isolated" or split["invert"]:
        return None
    return pattern_of(split["pattern"].get("Regex", ""))


def _overlap(specials: Collection[str], added: Collection[str]) -> bool:
    """Whether the text of a special token, which is no token, could hide an added one that begins in it."""
    return any(
        special.startswith(token, place) or (place and token.startswith(special[place:]))
        for token in added
        for special in specials
        for place in range(len(special))
    )
