"""The reference tokenizer of a vocabulary, and gigatoken in front of it where that can be.

Guarantee. The ids are the reference's. gigatoken, several times faster, is used where it is installed and takes the
vocabulary; it is compared with the reference at start and on every 1024th text, and a difference is an error. Parts of
texts with characters that only one of the two knows as letters go to the reference.

Cost. gigatoken is built once there are some megabytes of text, 0.1 s for GPT-2, in each process and after each fork.
Importing this module loads neither engine.
"""

import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from windrow.errors import TokenizerError
from windrow.tokens.disputed import disputed_parts, is_disputed
from windrow.tokens.protocol import EOT

Row = npt.NDArray[Any]  # the ids of one text

# Where tokenizers differ: contractions, runs of blanks, line ends, marks, digits, scripts, controls, emoji.
SELF_TEST = (
    "",
    "\x00",
    "  two  spaces ",
    "I'll we've DON'T 'S ſ's ''s",
    "tab\tand\r\ncrlf \r\n \n x\n\n\ny \n  ",
    f"{EOT} \ufeffBOM \u2028\u0085\u00a0x\u200b\t",
    "naïve cafe\u0301 Ⅳ ½ ٣٤٥ 1234567890",
    "日本語のテキスト\u3000全角 हिन्दी ไทย עברית العربية ǅ",
    "👩‍👩‍👧‍👦 emoji " + "a" * 300,
    "HTTPServer's camelCase/path//\n\n",
)


class Engine(ABC):
    """What a vocabulary inherits to encode. It belongs to one process; threads may share it."""

    FAST_FROM = 4_000_000  # characters: half a second of tiktoken; making gigatoken takes 0.1 s and 30 MB
    REBUILD_AFTER = 256_000_000  # characters: gigatoken's cache never shrinks (up to 10 bytes per new character)
    BATCH_FROM = 16_000_000  # characters: a batch runs on all cores, but imports a package of arrays, 0.3 s
    CHECK_EVERY = 1024  # texts
    CHECK_UP_TO = 100_000  # characters, 10 ms of tiktoken
    REFERENCE: ClassVar[tuple[str, str]]  # the name of the reference, and what helps where an engine gives up
    content: bytes = b""  # the sha256 of its file, where that is quicker to compare than what the file means
    name: str
    eos: str
    vocab_size: int
    pattern: str | None
    ids: Sequence[int]  # all but those of special tokens, and maybe some that are no ids
    specials: dict[str, int]
    added: Sequence[str] = ()  # tokens that are found in text before it is cut by the pattern

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        self.lock: threading.Lock = threading.Lock()  # gigatoken refuses a second call while the first runs
        self.num_texts: int = 0
        self.num_characters: int = 0
        self.fast: Any = None
        self.may_be_fast: bool = True

    @abstractmethod
    def encode_slowly(self, texts: Sequence[str]) -> list[Row]:
        """The ids of the reference. What it gets has no half surrogate pair."""

    @abstractmethod
    def build_fast(self, gigatoken: Any) -> Any:
        """A tokenizer of that package; None, or its RuntimeError, where it does not apply this vocabulary."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> bytes:
        """Raises KeyError for what is no id."""

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """The ids of each text. Raises UnicodeEncodeError where one has half a surrogate pair."""
        disputed = [number for number, text in enumerate(texts) if is_disputed(text)]
        num_characters = sum(map(len, texts))
        self.expect(num_characters)
        self.num_characters += num_characters
        if self.fast is None:
            return self.encode_slowly(texts)
        with self.lock:
            rows = self._encode_fast(texts)
            for number in disputed:
                rows[number] = self._encode_parts(texts[number])
            if self.num_characters > self.REBUILD_AFTER:
                self.fast, self.num_characters = None, 0  # the old one goes before there is a new one
                self.fast = self._built()
        for number in range(-self.num_texts % self.CHECK_EVERY, len(texts), self.CHECK_EVERY):
            if len(texts[number]) <= self.CHECK_UP_TO:
                self._compare(texts[number], rows[number])
        self.num_texts += len(texts)
        return rows

    def expect(self, num_characters: int) -> None:
        """So much text is coming: the fast engine, if it pays, from the first of it."""
        if self.pid != os.getpid():
            Engine.__init__(self)  # a fork leaves an engine's threads behind
        with self.lock:
            if self.may_be_fast and self.num_characters + num_characters >= self.FAST_FROM:
                self.fast = self._built()
                if self.fast is not None:
                    self._self_test()
                self.may_be_fast = False

    def encode_reference(self, text: str) -> list[int]:
        """The reference's own ids of one text."""
        ids: list[int] = self.encode_slowly([text])[0].tolist()
        return ids

    @contextmanager
    def panic_as_error(self, engine: str, what: Sequence[str] | str) -> Iterator[None]:
        """A Rust panic is a BaseException, which would end the process past every ``except Exception``.

        ``what`` an engine gave up on: texts, or a description.
        """
        try:
            yield
        except BaseException as error:
            if not _is_panic(error):
                raise
            what = what if isinstance(what, str) else _shown_longest(what)
            raise TokenizerError(f"{engine} gave up on {what}: {error}. {self.REFERENCE[1]}") from None

    def _encode_parts(self, text: str) -> Row:
        """The ids of a text with disputed characters: the reference's around them, gigatoken's elsewhere."""
        rows = [
            (self.encode_slowly if disputed else self._encode_fast)([part])[0]
            for disputed, part in ([(True, text)] if self.added else disputed_parts(text))
        ]
        return np.concatenate(rows)

    def _encode_fast(self, texts: Sequence[str]) -> list[Row]:
        fast = self.fast
        with self.panic_as_error("gigatoken", texts):
            if sum(map(len, texts)) < self.BATCH_FROM:
                encode = fast.backend.encode
                return [encode(text) for text in texts]
            layout = fast.encode_batch(list(texts)).layout  # its own rule: no threads in a worker or after a fork
        ids, ends = np.asarray(layout.content.data), np.asarray(layout.offsets.data).tolist()
        return [ids[start:end] for start, end in itertools.pairwise(ends)]

    def _built(self) -> Any:
        """gigatoken, or None where it is not installed or does not take the vocabulary."""
        try:
            import gigatoken

            return self.build_fast(gigatoken)
        except BaseException as error:
            if isinstance(error, ImportError | RuntimeError) or _is_panic(error):
                return None
            raise

    def _self_test(self) -> None:
        """Tricky texts, names of special tokens, and a text of some 2000 tokens drawn evenly from the vocabulary."""
        sample = self.decode(self.ids[:: len(self.ids) // 2000 + 1]).decode("utf-8", errors="replace")
        texts = [*SELF_TEST, "\n".join([*self.added, *self.specials]), sample]
        texts = [text for text in texts if not is_disputed(text)]
        for text, ids in zip(texts, self._encode_fast(texts), strict=True):
            self._compare(text, ids)

    def _compare(self, text: str, ids: Row) -> None:
        expected, found = self.encode_reference(text), ids.tolist()
        if found != expected:
            name = self.REFERENCE[0]
            raise TokenizerError(
                f"gigatoken and {name} differ on {_shown(text)}: {found[:10]}... ({len(found)} ids) and "
                f"{expected[:10]}... ({len(expected)} ids). {name} is the reference; a mixture of both would "
                "teach a model nonsense. Do without: pip uninstall gigatoken. Please report the text."
            )


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"  # pyo3 makes one per extension; none can be imported


def _shown_longest(texts: Sequence[str]) -> str:
    longest = max(texts, key=len)
    which = f"one of {len(texts)} texts, the longest of which is " if len(texts) > 1 else ""
    return f"{which}{_shown(longest)} of {len(longest)} characters"


def _shown(text: str) -> str:
    return f"the text {text[:60]!r}{'...' * (len(text) > 60)}"
