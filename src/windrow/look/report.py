"""One page that shows a run: from its text to its batches, what is covered, and how good the shuffle is.

Guarantee: a self-contained file: no request, no script but its own (the content-security policy names the hashes of
script and style), every string of the corpus escaped; it reads without JavaScript. Cost: a bounded sample of the store
(``report_data.py``); under 300 kB. It does not do: anything beyond two epochs, or watching a run (``train.html``).
"""

import base64
import hashlib
import importlib.resources
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windrow.loader.loader import Loader
from windrow.look.explain import tokenizer_of
from windrow.look.figures import PALETTE
from windrow.look.pieces import chip_text, pieces, token_text
from windrow.look.report_data import step_rows
from windrow.look.report_sections import COMMAND, Facts, sections
from windrow.shown import safe
from windrow.store.whole import write_whole
from windrow.tokens.protocol import Tokenizer

__all__ = ["write_report"]

_FIRST = 48  # tokens that the sliding windows are shown on


def write_report(loader: Loader, path: str | os.PathLike[str], *, tokenizer: str | Tokenizer | None = None) -> int:
    """Write the page about ``loader`` to ``path``, whole or not at all; returns its size in bytes.

    ``tokenizer`` decodes the tokens if the store's own cannot be loaded by its name. The position of the loader does
    not matter and does not move.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and the page is a file. Give its name: {path / 'report.html'}")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} for the page. Make it first: mkdir -p {path.parent}")
    name, windows = next(iter(loader.members.items()))
    first, decoder = windows.store.tokens(0, _FIRST).tolist(), tokenizer_of(windows, tokenizer)
    facts = Facts(loader, windows, name, decoder, first, step_rows(loader, decoder))
    page = _page(facts).encode()
    write_whole(path, lambda file: file.write(page))
    return len(page)


def _page(facts: Facts) -> str:
    style, script = PALETTE + _part("report.css"), _part("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    title = f"windrow: {facts.title}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{safe(title)}</title><style>{style}</style></head><body>"
        f'<a class="skip" href="#main">to the content</a>{"".join(sections(facts))}'
        f'<script type="application/json" id="data">{_data(facts)}</script><script>{script}</script></body></html>\n'
    )


def _data(facts: Facts) -> str:
    """What the script reads, as JSON that cannot end the element that it stands in."""
    content: dict[str, Any] = {
        "num_tokens": facts.windows.num_tokens,
        "eos": facts.windows.store.eos_id,
        "first": facts.first,
        "steps": facts.steps,
        "texts": dict(sorted(_texts(facts))),
        "carried": facts.carried,
        "command": COMMAND,
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _texts(facts: Facts) -> Iterator[tuple[str, str]]:
    """The text of each chip by its ids: of every token, and of those that only together are a character."""
    rows = [row[part] for step in facts.steps.values() for row in step for part in ("inputs", "targets")]
    for ids in (facts.first, *rows):
        yield from ((str(token), chip_text(token_text(facts.decoder, token))) for token in {*ids})
        yield from ((" ".join(map(str, one.ids)), chip_text(one.text)) for one in pieces(ids, facts.decoder))


def _part(name: str) -> str:
    return importlib.resources.files("windrow.look").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
