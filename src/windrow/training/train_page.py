"""``train.html``: the curves of a run while it trains, a page that reads itself again every few seconds.

Guarantee: self-contained, no script and no request but for itself; whole or not there. Cost: one pass over the log, at
most every ``SECONDS`` seconds. It does not do: the log (``trainer.py``), which stands beside it as ``log.jsonl``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from windrow.look.figures import PALETTE, line, loss_curve
from windrow.shown import safe
from windrow.store.whole import write_whole

__all__ = ["SECONDS", "TRAIN_PAGE", "curve_of", "write_train_page"]

TRAIN_PAGE, SECONDS = "train.html", 5
Row = Mapping[str, float]
_STYLE = """
body{margin:0 auto;max-width:52rem;padding:1rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.4rem;margin:.3em 0}h2{font-size:1rem;margin:1.4em 0 .2em}p{margin:.4em 0}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.6em;margin:1em 0}
dt{color:var(--soft);
font-size:.85rem}dd{margin:0;font-size:1.15rem;font-variant-numeric:tabular-nums}
progress{width:100%;accent-color:var(--bar)}
svg{display:block;width:100%;height:auto}svg .line{fill:none;stroke:var(--bar);stroke-width:2}
svg .axis{stroke:var(--line)}
svg .value{font:14px system-ui,sans-serif;fill:var(--soft)}
"""


def write_train_page(
    folder: Path, log: Sequence[Row], num_steps: int, *, marks: Sequence[tuple[float, str]] = (), is_done: bool = False
) -> None:
    """Write the page of a run of ``num_steps`` steps whose rows so far are ``log``; done, it no longer refreshes."""
    refresh = "" if is_done else f'<meta http-equiv="refresh" content="{SECONDS}">'
    title = f"{folder.name}: step {len(log):,} of {num_steps:,}"
    ended = "done" if len(log) >= num_steps else "stopped"
    state = ended if is_done else f"training; this page reads itself again every {SECONDS} seconds"
    rates = [row["tokens_per_second"] for row in log]
    waits = [100 * row.get("wait_share", 0.0) for row in log]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'\">{refresh}"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{safe(title)}</title><style>{PALETTE}{_STYLE}</style></head><body><h1>{safe(title)}</h1><p>{state}</p>"
        f'<progress max="{num_steps}" value="{len(log)}" aria-label="steps done"></progress>'
        f"{_numbers(log)}{curve_of(log, 'Loss', marks)}{_valid_lines(log)}"
        f"<h2>Tokens per second</h2>{line(rates, label='Tokens per second by step', unit='tokens/s')}"
        f"<h2>Time spent waiting for data</h2>{line(waits, label='Share of waiting by step', unit='%')}</body></html>\n"
    )
    write_whole(folder / TRAIN_PAGE, lambda file: file.write(page.encode()))


def _numbers(log: Sequence[Row]) -> str:
    last = log[-1] if log else {}
    valid, bits = ([row[name] for row in log if name in row] for name in ("valid_loss", "valid_bits_per_byte"))
    facts = [
        ("loss", f"{last['loss']:.4f}" if last else "-"),
        ("valid loss", f"{valid[-1]:.4f}" if valid else "-"),
        *([("bits per byte", f"{bits[-1]:.4f}")] if bits else []),
        ("tokens/s", f"{last['tokens_per_second']:,.0f}" if last else "-"),
        ("waiting for data", f"{last.get('wait_share', 0):.2%}" if last else "-"),
    ]
    return "<dl>" + "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts) + "</dl>"


def _valid_lines(log: Sequence[Row]) -> str:
    """A line for all else that was measured on the valid part: bits per byte, and both figures of each member."""
    names = {name: None for row in log for name in row if name.startswith("valid_") and name != "valid_loss"}
    parts = []
    for name in names:
        values, unit = [row[name] for row in log if name in row], "bits" if "bits" in name else "nats"
        kind, _, member = name.partition("/")
        label = kind.replace("_", " ").capitalize() + (member and f" of {member}")
        parts.append(f"<h2>{safe(label)}: {values[-1]:.4f}</h2>{line(values, label=label, unit=unit)}")
    return "".join(parts)


def curve_of(log: Sequence[Row], title: str, marks: Sequence[tuple[float, str]]) -> str:
    """The losses in ``log`` as SVG; ``marks`` are ``(step, label)``."""
    valid = [(row["step"], row["valid_loss"]) for row in log if "valid_loss" in row]
    return loss_curve([(row["step"], row["loss"]) for row in log], valid, title=title, marks=marks)
