"""Byte-pair vocabularies in the ``.tiktoken`` form.

Guarantee. The ids are tiktoken's, and a vocabulary that would fail in the middle of a corpus is refused at once.
"""

import functools
import hashlib
import tempfile
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from windrow.distribution import install_line
from windrow.errors import TokenizerError
from windrow.tokens.engine import Engine, Row
from windrow.tokens.patterns import PATTERNS, pattern_of
from windrow.tokens.protocol import EOT

__all__ = ["BPE", "parse_ranks", "tiktoken_form"]


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


class BPE(Engine):
    """Ranks, a regex and special tokens, as tiktoken applies them. Special tokens are never read in text.

    ``form`` is ``tiktoken_form(ranks)``, where it is known: making it takes 12 ms.
    """

    eos: str = EOT
    REFERENCE: ClassVar[tuple[str, str]] = (
        "tiktoken",
        "tiktoken does so on about a million blanks in a row. Shorten such runs in the text, or install gigatoken, "
        f"which takes them ({install_line('fast')}).",
    )

    def __init__(
        self, name: str, ranks: dict[bytes, int], regex: str, specials: dict[str, int], form: bytes | None = None
    ) -> None:
        super().__init__()
        _require_sound(name, ranks, specials)
        self.pattern: str | None = pattern_of(regex)
        self.regex: str = PATTERNS["gpt2"][0] if self.pattern == "gpt2" else regex
        self.name: str = name
        self.ranks: dict[bytes, int] = ranks
        self.specials: dict[str, int] = specials
        self.ids: Sequence[int] = [*ranks.values()]
        self.vocab_size: int = max(*ranks.values(), *specials.values()) + 1
        self.form: bytes = form or tiktoken_form(ranks)
        self.digest: list[Any] = ["ranks", hashlib.sha256(self.form).hexdigest(), self.regex, specials]

    def __reduce__(self) -> tuple[Any, ...]:
        return BPE, (self.name, self.ranks, self.regex, self.specials)

    def encode_slowly(self, texts: Sequence[str]) -> list[Row]:
        with self.panic_as_error("tiktoken", texts):
            return [np.array(self._tiktoken.encode_ordinary(text), np.uint32) for text in texts]

    def build_fast(self, gigatoken: Any) -> Any:
        """None for another regex; RuntimeError for ranks that gigatoken does not take (with gaps)."""
        if self.pattern is None or self.regex != PATTERNS[self.pattern][0]:
            return None
        with tempfile.TemporaryDirectory() as folder:  # it reads ranks from files only
            path = Path(folder, "ranks.tiktoken")
            path.write_bytes(self.form)
            scheme = self.pattern.removesuffix("_base")
            return gigatoken.Tokenizer.from_tiktoken(path, pretokenizer=scheme, special_tokens={})

    def decode(self, ids: Sequence[int]) -> bytes:
        table = self.token_bytes
        return b"".join([table[token] for token in ids])

    @functools.cached_property
    def _tiktoken(self) -> Any:
        import tiktoken

        return tiktoken.Encoding(
            self.name, pat_str=self.regex, mergeable_ranks=self.ranks, special_tokens=self.specials
        )

    @functools.cached_property
    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of each id."""
        table = {token: text for text, token in self.ranks.items()}
        return table | {token: text.encode() for text, token in self.specials.items()}


def _require_sound(name: str, ranks: dict[bytes, int], specials: dict[str, int]) -> None:
    """Refuse what would be a crash or a wrong id in the middle of a corpus."""
    ids = {*ranks.values(), *specials.values()}
    problem = ""
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
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
