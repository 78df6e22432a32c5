"""A step as HTML for a notebook: a chip for each token, boundaries and targets visible.

Guarantee: every string of the corpus is escaped and its controls are written out; no script, nothing from elsewhere.
Cost: the rows, of which at most ``_MOST_ROWS`` rows and ``_MOST_PLACES`` places are written. It does not do: a page.
"""

from typing import TYPE_CHECKING

from windrow.batches.batch import IGNORE_INDEX
from windrow.shown import safe
from windrow.tokens.protocol import Tokenizer

if TYPE_CHECKING:
    from windrow.explain import Explanation, Row

__all__ = ["explanation_html", "safe", "token_text"]

_MOST_ROWS, _MOST_PLACES = 16, 256
_STYLE = """
.windrow{font:14px/1.6 system-ui,sans-serif}.windrow p{margin:.3em 0}.windrow details{margin:.5em 0}
.windrow code{font:12px/1.9 ui-monospace,monospace;overflow-wrap:anywhere}
.windrow b{font-weight:400;border-radius:3px;padding:1px 2px;background:#7aa7d63a;white-space:pre-wrap}
.windrow b:nth-child(even){background:#d6a77a3a}.windrow b.off{opacity:.65;text-decoration:line-through}
.windrow i{font-style:normal;border-left:3px solid #c2571a;padding-left:3px;margin-left:2px;font-size:11px}
"""


def explanation_html(made: "Explanation") -> str:
    """The rows of ``made``, each with where it comes from and a chip a token."""
    parts = [f'<div class="windrow"><style>{_STYLE}</style><p>step {made.step}, rank {made.dp_rank}</p>']
    for row in made.rows[:_MOST_ROWS]:
        parts += [*_row(row, made)]
    if len(made.rows) > _MOST_ROWS:
        parts.append(f"<p>... and {len(made.rows) - _MOST_ROWS} more rows</p>")
    parts.append("<p>A bar marks where a document begins; a token struck through has a target that does not count.</p>")
    return "".join([*parts, "</div>"])


def _row(row: "Row", made: "Explanation") -> list[str]:
    counting = sum(target != IGNORE_INDEX for target in row.targets)
    member = f"{safe(row.member)}, " if row.member else ""
    head = (
        f"row {row.row}: {member}window {row.window} of epoch {row.epoch}, from token {row.start}; "
        f"{counting} of {len(row.targets)} targets count"
    )
    chips = _chips(row, made)
    more = f" ... {len(row.inputs) - _MOST_PLACES} more" if len(row.inputs) > _MOST_PLACES else ""
    return [f"<details {'open' * (row.row == 0)}><summary>{head}</summary><code>{chips}{more}</code></details>"]


def _chips(row: "Row", made: "Explanation") -> str:
    tokenizer, parts, before = made.tokenizers[row.member], [], -2
    for place, token in enumerate(row.inputs[:_MOST_PLACES]):
        document, target = row.documents[place], row.targets[place]
        if document != before:
            parts.append(f"<i>{_named(row, document)}</i> ")
        text, off = safe(token_text(tokenizer, token)), target == IGNORE_INDEX
        follows = "does not count" if off else safe(f"target {target} '{token_text(tokenizer, target)}'")
        parts.append(f'<b{" class=off" * off} title="{token}; {follows}">{text}</b>')
        before = document
    return "".join(parts)


def _named(row: "Row", document: int) -> str:
    if document < 0:
        return "padding"
    origin = row.origins.get(document)
    return f"document {document}" + (f", {safe(str(origin))}" if origin else "")


def token_text(tokenizer: Tokenizer | None, token: int) -> str:
    """The text of one token; bytes that are part of a character are written ``\\xNN``."""
    if tokenizer is None:
        return f"<{token}>"
    decode_bytes = getattr(tokenizer, "decode_bytes", None)
    if decode_bytes is None:
        return tokenizer.decode([token])
    data: bytes = decode_bytes([token])
    return data.decode("utf-8", errors="backslashreplace")
