"""Byte-pair vocabularies in the ``.tiktoken`` form, and the engines that apply them.

Guarantee. The ids are tiktoken's. gigatoken, several times faster, is used where it is installed and takes the
vocabulary; it is compared with tiktoken at start and on every 1024th text, and a difference is an error. Parts of
texts with characters that only one of the two knows as letters go to tiktoken.

Cost. gigatoken is built once there are some megabytes of text, 0.1 s for GPT-2, in each process and after each fork.
Importing this module loads neither engine.
"""

import functools
import hashlib
import itertools
import os
import tempfile
import threading
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from windrow.distribution import install_line
from windrow.errors import TokenizerError
from windrow.tokens.disputed import disputed_parts, is_disputed
from windrow.tokens.protocol import EOT

# How a text is cut into pieces before the merges: facts of each format. The first spelling is the one in use;
# older ones are listed so that they are recognised. Those of gpt2 cut alike. Those of cl100k_base put blanks
# after a text's last line break in a piece of their own, which gives other ids with some vocabularies.
PATTERNS: dict[str, tuple[str, ...]] = {
    "gpt2": (
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    ),
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "o200k_base": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}

_BLANKS = (
    "tiktoken does so on about a million blanks in a row. Shorten such runs in the text, or install gigatoken, which "
    f"takes them ({install_line('fast')})."
)

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


def pattern_of(regex: str) -> str | None:
    """The name of a known pattern, however it is spelled."""
    return next((name for name, spellings in PATTERNS.items() if regex in spellings), None)


def tiktoken_form(ranks: dict[bytes, int]) -> bytes:
    """One line per token, in the order of ranks: base64, a space, the rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join([b"%b %d\n" % (b2a_base64(token, newline=False), rank) for token, rank in ordered])


def parse_ranks(data: bytes, name: str) -> dict[bytes, int]:
    """The ranks of a ``.tiktoken`` file; TokenizerError names the line that is not one."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            if line and not line.isspace():
                token, _, rank = line.partition(b" ")
                ranks[a2b_base64(token, strict_mode=True)] = int(rank)
        except ValueError:
            raise TokenizerError(
                f"{name!r} line {number} is {line[:60]!r}, and a .tiktoken file has a base64 token, a space and "
                "a rank there. Copy or download it again."
            ) from None
    return ranks


def require_sound(name: str, ranks: dict[bytes, int], specials: dict[str, int]) -> None:
    """Refuse what would be a crash or a wrong id in the middle of a corpus."""
    ids = {*ranks.values(), *specials.values()}
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    problem = ""
    if missing:
        problem = f"{len(missing)} of the 256 single bytes have no rank (0x{missing[0]:02x}, ...), so that some "
        problem += "texts have no ids"
    elif len(ids) < len(ranks) + len(specials):
        problem = f"{len(ranks) + len(specials)} tokens share {len(ids)} ids"
    elif min(ids) < 0 or max(ids) >= 2**31:
        problem = f"ids run from {min(ids)} to {max(ids)}, and must be in [0, 2**31)"
    elif EOT not in specials:
        problem = f"it has no special token {EOT!r} to end documents with (it has: {', '.join(specials) or 'none'})"
    if problem:
        raise TokenizerError(
            f"the vocabulary {name!r} cannot be used: {problem}. If it is a file, copy or download it again; if it is "
            f"a tiktoken.Encoding, build it with all 256 bytes and with {EOT!r} among its special_tokens."
        )


class BPE:
    """Ranks, a regex and special tokens, as tiktoken applies them. Special tokens are never read in text.

    ``form`` is ``tiktoken_form(ranks)``, where it is known: making it takes 12 ms.
    """

    eos = EOT

    def __init__(
        self, name: str, ranks: dict[bytes, int], regex: str, specials: dict[str, int], form: bytes | None = None
    ) -> None:
        require_sound(name, ranks, specials)
        self.pattern: str | None = pattern_of(regex)
        self.regex: str = PATTERNS["gpt2"][0] if self.pattern == "gpt2" else regex
        self.name = name
        self.ranks = ranks
        self.specials = specials
        self.vocab_size: int = max(*ranks.values(), *specials.values()) + 1
        self.form: bytes = form or tiktoken_form(ranks)
        self.digest: list[Any] = ["ranks", hashlib.sha256(self.form).hexdigest(), self.regex, specials]
        self._running: _Engine | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return BPE, (self.name, self.ranks, self.regex, self.specials)

    @property
    def running(self) -> "_Engine":
        """The engine of this process: a fork leaves an engine's threads behind."""
        if self._running is None or self._running.pid != os.getpid():
            self._running = _Engine(self)
        return self._running

    def encode(self, texts: Sequence[str]) -> Sequence[Sequence[int] | npt.NDArray[Any]]:
        return self.running.encode(texts)

    def encode_reference(self, text: str) -> list[int]:
        """tiktoken's own ids."""
        return self.running._encode_reference(text)

    def decode(self, ids: Sequence[int]) -> bytes:
        """Raises KeyError for what is no id."""
        table = self._bytes_of_id
        return b"".join([table[token] for token in ids])

    @functools.cached_property
    def _bytes_of_id(self) -> dict[int, bytes]:
        table = {token: text for text, token in self.ranks.items()}
        return table | {token: text.encode() for text, token in self.specials.items()}


class _Engine:
    """tiktoken, and gigatoken in front of it where that can be. Belongs to one process; threads may share it."""

    FAST_FROM = 4_000_000  # characters: half a second of tiktoken; making gigatoken takes 0.1 s and 30 MB
    REBUILD_AFTER = 256_000_000  # characters: gigatoken's cache never shrinks (up to 10 bytes per new character)
    BATCH_FROM = 16_000_000  # characters: a batch runs on all cores, but imports a package of arrays, 0.3 s
    CHECK_EVERY = 1024  # texts
    CHECK_UP_TO = 100_000  # characters, 10 ms of tiktoken

    def __init__(self, bpe: BPE) -> None:
        import tiktoken

        self.bpe = bpe
        self.pid: int = os.getpid()
        self.lock: threading.Lock = threading.Lock()  # gigatoken refuses a second call while the first runs
        self.num_texts: int = 0
        self.num_characters: int = 0
        self.reference: tiktoken.Encoding = tiktoken.Encoding(
            bpe.name, pat_str=bpe.regex, mergeable_ranks=bpe.ranks, special_tokens=bpe.specials
        )
        self.fast: Any = None
        self.may_be_fast: bool = True

    def encode(self, texts: Sequence[str]) -> Sequence[Sequence[int] | npt.NDArray[Any]]:
        with self.lock:
            self.num_characters += sum(map(len, texts))
            self._make_fast_when_it_pays(self.num_characters)
        if self.fast is None:
            for text in texts:
                text.isascii() or text.encode()  # tiktoken itself would put U+FFFD for half a surrogate pair
            return [self._encode_reference(text) for text in texts]
        disputed = [number for number, text in enumerate(texts) if is_disputed(text)]
        with self.lock:
            rows = self._encode_fast(texts)
            for number in disputed:
                rows[number] = self._encode_parts(texts[number])
            if self.num_characters > self.REBUILD_AFTER:
                self.fast, self.num_characters = None, 0  # the old one goes before there is a new one
                self.fast = self._build_fast()
        for number in range(-self.num_texts % self.CHECK_EVERY, len(texts), self.CHECK_EVERY):
            if len(texts[number]) <= self.CHECK_UP_TO:
                self._compare(texts[number], rows[number])
        self.num_texts += len(texts)
        return rows

    def expect(self, num_characters: int) -> None:
        """So much text is coming: the fast engine, if it pays, from the first of it."""
        with self.lock:
            self._make_fast_when_it_pays(self.num_characters + num_characters)

    def _make_fast_when_it_pays(self, num_characters: int) -> None:
        if self.may_be_fast and num_characters >= self.FAST_FROM:
            self.may_be_fast, self.fast = False, self._build_fast()
            if self.fast is not None:
                self._self_test()

    def _encode_reference(self, text: str) -> list[int]:
        with panic_as_error("tiktoken", lambda: shown_text([text]), _BLANKS):
            return self.reference.encode_ordinary(text)

    def _encode_parts(self, text: str) -> npt.NDArray[Any]:
        """The ids of a text with disputed characters: tiktoken's around them, gigatoken's elsewhere."""
        rows = [
            np.array(self._encode_reference(part), np.uint32) if disputed else self._encode_fast([part])[0]
            for disputed, part in disputed_parts(text)
        ]
        return np.concatenate(rows)

    def _encode_fast(self, texts: Sequence[str]) -> list[npt.NDArray[Any]]:
        fast: Any = self.fast
        with panic_as_error("gigatoken", lambda: shown_text(texts), _BLANKS):
            if sum(map(len, texts)) < self.BATCH_FROM:
                return [fast.encode(text) for text in texts]
            layout = fast.encode_batch(list(texts)).layout  # its own rule: no threads in a worker or after a fork
        ids, ends = np.asarray(layout.content.data), np.asarray(layout.offsets.data).tolist()
        return [ids[start:end] for start, end in itertools.pairwise(ends)]

    def _build_fast(self) -> Any:
        """gigatoken, or None: not installed, another regex, or ranks that it does not take (with gaps)."""
        if self.bpe.pattern is None or self.bpe.regex != PATTERNS[self.bpe.pattern][0]:
            return None
        try:
            import gigatoken
        except ImportError:
            return None
        with tempfile.TemporaryDirectory() as folder:  # it reads ranks from files only
            path = Path(folder, "ranks.tiktoken")
            path.write_bytes(self.bpe.form)
            scheme = self.bpe.pattern.removesuffix("_base")
            try:
                return gigatoken.Tokenizer.from_tiktoken(path, pretokenizer=scheme, special_tokens={})
            except BaseException as error:
                if isinstance(error, RuntimeError) or _is_panic(error):
                    return None
                raise

    def _self_test(self) -> None:
        """Tricky texts, and one of some 2000 tokens drawn evenly from the vocabulary."""
        tokens = list(self.bpe.ranks)
        sample = b"".join(tokens[:: len(tokens) // 2000 + 1]).decode("utf-8", errors="replace")
        texts = [text for text in (*SELF_TEST, sample) if not is_disputed(text)]
        for text, ids in zip(texts, self._encode_fast(texts), strict=True):
            self._compare(text, ids)

    def _compare(self, text: str, ids: npt.NDArray[Any]) -> None:
        expected = self._encode_reference(text)
        if ids.tolist() != expected:
            raise TokenizerError(
                f"gigatoken and tiktoken differ on {_shown(text)}: {ids[:10].tolist()}... ({len(ids)} ids) and "
                f"{expected[:10]}... ({len(expected)} ids). tiktoken is the reference; a mixture of both would "
                "teach a model nonsense. Do without: pip uninstall gigatoken. Please report the text."
            )


@contextmanager
def panic_as_error(engine: str, what: Callable[[], str], cure: str) -> Iterator[None]:
    """A Rust panic is a BaseException, which would end the process past every ``except Exception``."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise TokenizerError(f"{engine} gave up on {what()}: {error}. {cure}") from None


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"  # pyo3 makes one per extension; none can be imported


def shown_text(texts: Sequence[str]) -> str:
    """The only text, or the longest of them."""
    longest = max(texts, key=len)
    which = f"one of {len(texts)} texts, the longest of which is " if len(texts) > 1 else ""
    return f"{which}{_shown(longest)} of {len(longest)} characters"


def _shown(text: str) -> str:
    return f"the text {text[:60]!r}{'...' * (len(text) > 60)}"
