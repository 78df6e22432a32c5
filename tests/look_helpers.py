"""What the tests of looking share: small stores, and a corpus that holds what could do harm."""

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from windrow import TokenStore, prepare
from windrow.cli.main import app

EVIL = '<script>alert(1)</script>\x1b[31mred " onload=x \u202e &amp;'


def store_of(lengths: list[int]) -> TokenStore:
    ids = np.arange(sum(lengths)) % 256
    return TokenStore.from_ids(ids, tokenizer="bytes", document_ends=np.cumsum(lengths))


def harmful_corpus(tmp_path: Path) -> Path:
    """The train store of a book and of 40 lines of JSON, one of them blank, with markup and escapes among them."""
    lines = [json.dumps({"text": f"line {n} of hay. {EVIL if n == 9 else ''}"}) for n in range(1, 41)]
    lines[19] = ""  # a blank line is nothing at all
    (tmp_path / "web.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "book.txt").write_text("one\ntwo\n\x1b[2J windrows\n", encoding="utf-8")
    prepare([tmp_path / "book.txt", tmp_path / "web.jsonl"], tmp_path / "corpus", tokenizer="bytes")
    return tmp_path / "corpus" / "train"


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout
