"""The sections of a report, each a piece of HTML with a heading.

Guarantee: strings that are not our own pass through ``safe``; each section reads without JavaScript. Cost: that of
``report_data.py``. It does not do: style or script.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from windrow.audit.sizes import RunSizes, recipe_line
from windrow.loader.loader import Loader
from windrow.look import report_data, tour
from windrow.look.figures import bars, dots, shares, stacked
from windrow.look.pieces import Piece, chip_text, hues_of, passages, pieces, reading, token_text
from windrow.look.report_data import CARRIED_PLACES, CARRIED_ROWS
from windrow.look.tour import Station
from windrow.shown import safe
from windrow.tokens.protocol import Tokenizer
from windrow.windows.windows import Windows

__all__ = ["COMMAND", "Facts", "sections"]

COMMAND = "windrow show STORE"
_POINTS = 600
_NAV = [
    ("steps-h", "Any step"),
    ("coverage", "Coverage"),
    ("ledger", "Ledger"),
    ("path", "From text to batch"),
    ("windows-h", "Windows"),
    ("order", "Order"),
    ("ranks", "Ranks"),
    ("data-h", "The text"),
    ("mixture", "The mixture"),
    ("shuffle", "The shuffle"),
]


@dataclass(frozen=True)
class Facts:
    """What all sections share: the loader, its first member's windows, and the tokens that are shown."""

    loader: Loader
    windows: Windows
    name: str
    decoder: Tokenizer | None
    first: list[int]
    steps: dict[int, list[dict[str, Any]]]

    @property
    def title(self) -> str:
        path = self.windows.store.path
        return "/".join(path.parts[-2:]) if path else "tokens in memory"  # where it lies is nobody's business

    @property
    def carried(self) -> str:
        """The steps that the page holds, in words."""
        epoch = len(self.loader)
        return f"0 to {max(step for step in self.steps if step < epoch)} and {epoch} to {max(self.steps)}"

    def row(self, name: str, ids: Sequence[int], hues: str, *, numbered: bool = False) -> str:
        """The chips of ``ids``, each in the colour of its first token; ``hues`` has a digit for each token."""
        chips = [self._chip(piece, hues[piece.place], numbered) for piece in pieces(ids, self.decoder)]
        return _row(name, "".join(chips))

    def _chip(self, piece: Piece, hue: str, numbered: bool) -> str:
        if piece.ids[0] < 0:
            return '<span class="chip off">-100</span>'
        kind = "eos" if piece.ids[0] == self.windows.store.eos_id else f"c{hue}"
        ids, count = " ".join(map(str, piece.ids)), f"×{len(piece.ids)}" * (len(piece.ids) > 1)
        note = f"<small>{ids if numbered else count}</small>" if numbered or count else ""
        return f'<span class="chip {kind}" title="id {ids}">{safe(chip_text(piece.text))}{note}</span>'


def sections(facts: Facts) -> Iterator[str]:
    """The body of the page, from its heading to its end."""
    yield from _head(facts)
    yield '<main id="main">'
    for part in (_steps, _coverage, _path, _windows, _order, _ranks, _text, _mixture, _shuffle):
        yield from part(facts)
    line = recipe_line(json.loads(facts.loader.recipe), facts.loader.batch_size)
    yield f"</main><p class=soft>Recipe: {safe(line)}</p>"


def _head(facts: Facts) -> Iterator[str]:
    windows, loader = facts.windows, facts.loader
    stride = windows.stride if windows.policy == "concat" else windows.policy
    numbers = [
        ("tokens", windows.num_tokens),
        ("documents", windows.store.num_documents),
        ("max_length", windows.max_length),
        ("stride", stride),
        ("windows", windows.num_samples),
        ("batch_size", loader.batch_size),
        ("ranks", loader.dp_world_size),
        ("steps an epoch", len(loader)),
    ]
    yield f"<header><h1>{safe(facts.title)}</h1><p>How this text becomes batches. Every batch is a pure function of "
    yield "(data, recipe, position): nothing on this page was remembered, all of it was computed.</p>"
    if len(loader.members) > 1:
        yield f"<p>A mixture of {len(loader.members)} members; windows and text are those of {safe(facts.name)}.</p>"
    yield "<dl class=facts>"
    for label, value in numbers:
        shown = f"{value:,}" if isinstance(value, int) else safe(value)
        yield f"<div><dt>{label}</dt><dd>{shown}</dd></div>"
    there = [place for place in _NAV if place[0] != "mixture" or len(loader.members) > 1]
    links = "".join(f'<li><a href="#{target}">{label}</a></li>' for target, label in there)
    yield f'</dl></header><nav aria-label="Sections"><ul>{links}</ul></nav>'


def _path(facts: Facts) -> Iterator[str]:
    store = facts.windows.store
    yield '<h2 id="path">From text to batch</h2>'
    yield "<p>A chip is a token, with its id beside its text; tokens that only together are a character share one. A "
    yield "blank is ·, and what does not print is an escape.</p>"
    yield reading(passages(facts.first, facts.decoder, store.eos_id))
    yield from _station(facts, tour.tokens(store, facts.decoder))
    yield from _station(facts, tour.next_token(store, facts.decoder, facts.windows.max_length))
    yield from _station(facts, tour.batch(facts.loader, facts.decoder))
    yield "<p><a href='#steps-h'>See what this and other steps hold.</a></p>"


def _station(facts: Facts, station: Station, heading: str = "h3") -> Iterator[str]:
    """A station of the tour; ``heading`` is its element, which may have an id."""
    yield f"<{heading}>{safe(station.title)}</{heading.split()[0]}><p>{safe(station.says)}</p>"
    yield from (_row(label, safe(value)) for label, value in station.facts)
    for name, first, tokens in station.tokens:
        hues = hues_of(range(first, first + len(tokens)))
        yield facts.row(name, [token for token, _ in tokens], hues, numbered=True)
    if station.lines:
        shown = "".join(f"<span>{_isolated(line)}</span>" for line in station.lines)
        yield f"<p class='lines{' many' * (len(station.lines) > 4)}'><code>{shown}</code></p>"
    if station.rows:
        yield _table(station.headings, station.rows, left=station.left)


def _isolated(line: str) -> str:
    """``line`` with what stands on each side of an arrow or dots on its side, in whatever direction it is written."""
    parts = re.split(r"( ----> | \.\.\. )", line)
    return "".join(safe(part) if number % 2 else f"<bdi>{safe(part)}</bdi>" for number, part in enumerate(parts))


def _row(name: str, shown: str) -> str:
    return f'<div class="row"><span class="name">{safe(name)}</span><span>{shown}</span></div>'


def _windows(facts: Facts) -> Iterator[str]:
    windows = facts.windows
    longest = max(2, min(16, len(facts.first) // 3, windows.num_tokens - 1))
    length = min(8, longest)
    stride = max(1, length // 2)
    n = windows.num_tokens
    count = max(0, (n - length - 1) // stride + 1)
    yield '<h2 id="windows-h">Windows slide over the tokens</h2><p>Two numbers decide it: <b>max_length</b>, the '
    yield "inputs in a window, and <b>stride</b>, the tokens from one window's start to the next. Small ones here, so "
    yield f"that they fit the page; this run has max_length {windows.max_length:,}.</p><div class=card>"
    yield '<div class="controls js">'
    for name, label, value in (("length", "max_length", length), ("stride", "stride", stride)):
        control = f"<input type=range id={name} min=1 max={longest} value={value}>"
        yield f"<label>{label} {control}<output id={name}-out for={name}>{value}</output></label>"
    yield f"</div><p aria-live=polite><code id=arithmetic>({n:,} - {length} - 1) // {stride} + 1 = {count:,} windows"
    yield f"</code><br><span id=meaning>a token is a target about {length / stride:g} times an epoch</span></p>"
    yield "<div id=windows>"
    for number in range(min(count, 5)):
        start = number * stride
        ids, hues = facts.first[start : start + length + 1], hues_of(range(start, start + length + 1))
        rows = facts.row(f"window {number}", ids[:-1], hues) + facts.row("its targets", ids[1:], hues[1:])
        yield f"<div class=window>{rows}</div>"
    yield "</div></div>"
    if _is_plain(facts):
        sizes = RunSizes(windows.max_length, windows.stride, facts.loader.batch_size * facts.loader.dp_world_size)
        yield from _station(facts, tour.windows(n, sizes, windows.store, facts.decoder))


def _is_plain(facts: Facts) -> bool:
    """Whether window w starts at token w * stride, in every epoch, and every sample is such a window."""
    return len(facts.loader.members) == 1 and not (facts.windows.moves or facts.windows.may_mask)


def _order(facts: Facts) -> Iterator[str]:
    yield from _station(facts, tour.order(facts.loader), 'h2 id="order"')
    if _is_plain(facts):
        yield "<details>"
        yield from _station(facts, tour.slices(facts.loader, facts.windows), "summary")
        yield "</details>"


def _ranks(facts: Facts) -> Iterator[str]:
    loader = facts.loader
    stream = [f"{s.member} {s.window}".strip() for s in loader.samples_at(0, 16)]
    yield '<h2 id="ranks">How ranks cut the stream</h2><p>There is one stream of windows. A step takes the next '
    yield "batch_size windows for each rank, rank after rank. Another number of ranks or another batch_size cuts the "
    yield "same stream elsewhere; no window moves.</p><div class=card>"
    for ranks, batch in ((1, 8), (2, 4), (4, 2), (4, 4)):
        chips = "".join(
            f'<span class="chip r{place // batch % ranks}" title="step {place // (ranks * batch)}, rank '
            f'{place // batch % ranks}">{safe(text)}</span>'
            for place, text in enumerate(stream)
        )
        yield _row(f"{ranks} rank{'s' * (ranks > 1)} x {batch}", chips)
    yield _row("colours", "".join(f'<span class="chip r{rank}">rank {rank}</span>' for rank in range(4))) + "</div>"


def _steps(facts: Facts) -> Iterator[str]:
    last, length, size = max(facts.steps), facts.windows.max_length, facts.loader.batch_size
    cut = f" The first {CARRIED_PLACES} of {length:,} places are shown." if length > CARRIED_PLACES else ""
    rows = f" The first {CARRIED_ROWS} rows of {size}." if size > CARRIED_ROWS else ""
    yield '<h2 id="steps-h">Any step</h2><p>What a step trained on, or will train on. This page carries the steps '
    yield f"{facts.carried}; <code>{COMMAND} --step NUMBER</code> shows any.{cut}{rows}</p><div class=card>"
    yield f'<div class="controls js"><label>step <input type=number id=step min=0 max={last} value=0></label></div>'
    yield "<div id=batch aria-live=polite data-step=0>"
    for number, row in enumerate(facts.steps[0]):
        member = f"{safe(row['member'])}, " if row["member"] else ""
        yield f"<details class=sample{' open' * (number == 0)}><summary><h3>{member}window {row['window']:,} of epoch "
        yield f"{row['epoch']}, from token {row['start']:,}</h3></summary>{reading(row['reads'])}"
        yield facts.row("inputs", row["inputs"], row["hues"]) + facts.row("targets", row["targets"], row["hues"][1:])
        yield "</details>"
    yield "</div></div>"


def _coverage(facts: Facts) -> Iterator[str]:
    yield '<h2 id="coverage">Coverage: what is trained on, and what is not</h2>'
    if found := report_data.coverage(facts.loader, facts.windows, facts.name):
        stretches, epochs = found
        labels = [f"tokens {start:,} to {stop:,}: {times:.3g} times" for start, stop, times in stretches]
        ends = ("first token", "last token")
        label = "How often a token of each stretch of the store is a target in an epoch"
        of = f" and the first {epochs} epochs" if epochs > 1 else ""
        drawn = bars([times for _, _, times in stretches], labels, label=label, ends=ends)
        yield f"<figure>{drawn}<figcaption>{label}, on average over the stretch{of}.</figcaption></figure>"
    made, policies = report_data.ledger(facts.loader, facts.windows)
    yield '<h3 id="ledger">The ledger: every token once</h3>'
    if made is None:
        yield "<p>The store is too large to count every token on a page; <code>windrow plan STORE</code> does.</p>"
        return
    for name, member in made.members.items():
        targets = member.num_tokens - member.times_target[0]
        parts = [("target once or more", targets), ("context only", member.context_only)]
        parts += [(f"dropped: {reason}", count) for reason, count in member.dropped.items() if count]
        yield f"<h4>{safe(name)}</h4>" if name else ""
        label = "Tokens by use"
        yield f"<figure>{shares(parts, label=label)}</figure>"
        used = [[n, f"{c:,}", f"{c / member.num_tokens:.2%}"] for n, c in parts]
        yield f"<div class=pair>{_table(['', 'tokens', 'share'], used, mark='key')}"
        places = member.num_rows * member.max_length
        rows = [("targets that count", member.trained), *member.masked.items(), ("padding", member.padded)]
        counted = [[n, f"{c:,}", f"{c / places:.2%}"] for n, c in rows if c]
        yield f"<div>{_table(['', 'places', 'share'], counted)}<p>Places of all rows in an epoch: "
        yield f"{member.num_rows:,} x {member.max_length:,} = {places:,}.</p></div></div>"
    if policies:
        yield "<h3>The same text under other policies</h3>"
        yield _table(
            ["policy", "windows", "steps", "trained", "dropped", "padded", "documents cut"],
            [_policy(name, one) for name, one in policies.items()],
        )


def _policy(name: str, made: Any) -> list[str]:
    if isinstance(made, str):
        return [name, "-", "-", "-", "-", "-", "no batch: " + made.split(", so ")[0]]
    (member,) = made.members.values()
    counts = [made.num_samples, made.steps_per_epoch, member.trained, sum(member.dropped.values()), made.padded]
    return [name, *(f"{count:,}" for count in counts), f"{member.documents_cut:,} of {member.num_documents:,}"]


def _text(facts: Facts) -> Iterator[str]:
    lengths, sampled = report_data.document_lengths(facts.windows)
    yield '<h2 id="data-h">The text</h2><h3>How long documents are</h3>'
    labels = [f"{low:,} to {high:,} tokens: {count:,} documents" for low, high, count in lengths]
    ends = (f"{lengths[0][0]:,} tokens", f"{lengths[-1][1]:,} tokens")
    label = "Documents by length in tokens, each bar twice as long as the one before"
    drawn = bars([count for _, _, count in lengths], labels, label=label, ends=ends)
    yield f"<figure>{drawn}<figcaption>{label}{f'; {sampled}' if sampled else ''}.</figcaption></figure>"
    found = report_data.frequent_tokens(facts.windows, facts.decoder)
    per_token = found["bytes_per_token"]
    yield "<div class=pair><div><h3>Most frequent tokens</h3><p>"
    yield f"{found['distinct']:,} different tokens" + (f" in {found['sampled']}" if found["sampled"] else "") + "; "
    yield f"a token is {per_token:.2f} bytes of text on average.</p>" if per_token else "no tokenizer is known.</p>"
    texts = {token: chip_text(token_text(facts.decoder, token)) for token, _ in found["top"]}
    rows = [[texts[token], str(token), f"{n:,}", f"{n / found['of']:.2%}"] for token, n in found["top"]]
    yield _table(["token", "id", "times", "share"], rows, mark="chip") + "</div>"
    if found["scripts"]:
        made = [[name, f"{count:,}", f"{tokens / count:.2f}"] for name, count, tokens in found["scripts"]]
        yield "<div><h3>Tokens a character</h3><p>By script, of a sample of words. The more it takes, the less text a "
        yield f"window holds.</p>{_table(['', 'characters', 'tokens each'], made)}</div>"
    yield "</div>"


def _mixture(facts: Facts) -> Iterator[str]:
    names = list(facts.loader.members)
    if len(names) < 2:
        return
    label = "Share of each member along an epoch"
    yield '<h2 id="mixture">The mixture</h2>'
    drawn = stacked(report_data.mixture_shares(facts.loader), names, label=label)
    yield f"<figure>{drawn}<figcaption>{label}.</figcaption></figure>"
    rows = [
        [name, f"{row['samples']:,}", f"{row['share']:.2%}", f"{row['share_of_targets']:.2%}", f"{row['repeats']:.2f}"]
        for name, row in facts.loader.shares().items()
    ]
    yield _table(["member", "samples an epoch", "share", "share of targets", "epochs of its own"], rows, mark="key")


def _shuffle(facts: Facts) -> Iterator[str]:
    good, bad, z = report_data.order_facts(facts.loader, facts.windows, facts.name)
    num, every = len(good), max(1, len(good) // _POINTS)
    yield '<h2 id="shuffle">How good the shuffle is</h2><p>A point is a window: across, when it comes in an epoch; up, '
    yield "where it lies in the store. A good shuffle is an even cloud. A line or a band means that what stands "
    yield "together in the text comes together in training.</p><div class=pair>"
    for name, kind, values in (("this run", "dot", good), ("a shuffle buffer, for comparison", "bad", bad)):
        points = [(place / num, int(values[place]) / num) for place in range(0, num, every)]
        label = f"When each of {num:,} windows comes: {name}"
        yield f"<figure>{dots(points, label=label, kind=kind)}<figcaption>{label}.</figcaption></figure>"
    yield "</div>"
    if z:
        yield "<p>Each figure counts deviations from what chance gives: within about 4 is what a random order has.</p>"
        rows = [[name, f"{of_run:.1f}", f"{of_buffer:,.1f}"] for name, (of_run, of_buffer) in z.items()]
        yield _table(["", "this run", "shuffle buffer"], rows)


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] = (), mark: str = ""
) -> str:
    """The first column names the row, with a ``mark`` ("key" or "chip"); columns numbered in ``left`` are text too."""
    kinds = [" class=text" * (number in left) for number in range(len(headings))]
    head = "".join(f"<th scope=col{kind}>{safe(text)}</th>" for kind, text in zip(kinds, headings, strict=True))
    body = []
    for number, (first, *rest) in enumerate(rows):
        key = f'<span class="key s{number % 6}"></span>' if mark == "key" else ""
        named = f'<span class="chip">{safe(first)}</span>' if mark == "chip" else f"{key}{safe(first)}"
        cells = "".join(f"<td{kind}>{safe(cell)}</td>" for kind, cell in zip(kinds[1:], rest, strict=True))
        body.append(f"<tr><th scope=row>{named}</th>{cells}</tr>")
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
