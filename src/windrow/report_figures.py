"""Figures for the report: small SVG drawn by hand.

Guarantee: text is escaped, colours are classes of the page's style, and the same values give the same bytes. Cost: one
element a bar or a few bytes a point. It does not do: any reading of data.
"""

from collections.abc import Sequence

from windrow.shown import safe

__all__ = ["bars", "dots", "line", "shares", "stacked"]

_WIDTH = 960


def _figure(height: int, label: str, parts: Sequence[str], width: int = _WIDTH) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}">'
    return "".join([head, *parts, "</svg>"])


def bars(values: Sequence[float], labels: Sequence[str], *, label: str, unit: str, ends: tuple[str, str]) -> str:
    """A bar for each of ``values``; ``labels`` are shown on hover; ``ends`` name the first and the last."""
    height, base, top, left = 190, 160, 14, 52
    most = max([*values, 1e-9])
    step = min((_WIDTH - left) / max(len(values), 1), 80.0)
    parts = [
        f'<line class="axis" x1="{left}" y1="{base}" x2="{_WIDTH}" y2="{base}"/>',
        f'<line class="grid" x1="{left}" y1="{top}" x2="{_WIDTH}" y2="{top}"/>',
        f'<text x="{left - 6}" y="{top + 5}" text-anchor="end">{most:.4g}</text>',
        f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{left}" y="{height - 6}">{safe(ends[0])}</text>',
        f'<text x="{_WIDTH}" y="{height - 6}" text-anchor="end">{safe(ends[1])}</text>',
        f'<text x="{(_WIDTH + left) / 2}" y="{height - 6}" text-anchor="middle">{safe(unit)}</text>',
    ]
    for number, (value, named) in enumerate(zip(values, labels, strict=True)):
        tall = (base - top) * value / most
        place = f'x="{left + number * step:.1f}" y="{base - tall:.1f}" width="{max(step - 1, 0.5):.1f}"'
        parts.append(f'<rect class="bar" {place} height="{tall:.1f}"><title>{safe(named)}</title></rect>')
    return _figure(height, label, parts)


def dots(points: Sequence[tuple[float, float]], *, label: str, kind: str = "dot") -> str:
    """Points ``(x, y)`` in 0 .. 1, y upwards, in a square."""
    size, margin = 300, 12
    path = "".join(
        f"M{margin + x * (size - 2 * margin):.0f} {size - margin - y * (size - 2 * margin):.0f}h0" for x, y in points
    )
    frame = f'<rect class="frame" x="1" y="1" width="{size - 2}" height="{size - 2}"/>'
    return _figure(size, label, [frame, f'<path class="{kind}" d="{path}"/>'], width=size)


def stacked(columns: Sequence[Sequence[float]], names: Sequence[str], *, label: str) -> str:
    """A column for each stretch of time, cut into the shares of ``names``."""
    height, parts = 150, []
    step = _WIDTH / max(len(columns), 1)
    for number, column in enumerate(columns):
        y = 0.0
        for which, share in enumerate(column):
            place = f'x="{number * step:.1f}" y="{y * height:.1f}" width="{step - 1:.1f}" height="{share * height:.1f}"'
            parts.append(f'<rect class="s{which % 6}" {place}><title>{safe(names[which])} {share:.2%}</title></rect>')
            y += share
    return _figure(height, label, parts)


def shares(parts: Sequence[tuple[str, float]], *, label: str) -> str:
    """One bar cut into parts; a part too thin to be seen is left to the table beside it."""
    height, x, out = 34, 0.0, []
    total = sum(share for _, share in parts) or 1
    for which, (name, share) in enumerate(parts):
        width = share / total * _WIDTH
        place = f'x="{x:.1f}" y="0" width="{width:.1f}" height="{height}"'
        out.append(f'<rect class="s{which % 6}" {place}><title>{safe(name)} {share / total:.1%}</title></rect>')
        x += width
    return _figure(height, label, out)


def line(values: Sequence[float], *, label: str, unit: str, most_points: int = 600) -> str:
    """``values`` from left to right, from 0 up; of more than ``most_points``, means of neighbours."""
    height, top, left = 130, 10, 76
    every = -(-len(values) // most_points) or 1
    means = [sum(part) / len(part) for i in range(0, len(values), every) if (part := values[i : i + every])]
    most = max([*means, 1e-9])
    step = (_WIDTH - left) / max(len(means) - 1, 1)
    points = " ".join(f"{left + i * step:.1f},{height - (height - top) * v / most:.1f}" for i, v in enumerate(means))
    parts = [
        f'<line class="axis" x1="{left}" y1="{height}" x2="{_WIDTH}" y2="{height}"/>',
        f'<text class="value" x="{left - 6}" y="{top + 8}" text-anchor="end">{most:,.4g}</text>',
        f'<text class="value" x="{left - 6}" y="{top + 26}" text-anchor="end">{safe(unit)}</text>',
        f'<text class="value" x="{left - 6}" y="{height}" text-anchor="end">0</text>',
        f'<polyline class="line" points="{points}"/>',
    ]
    return _figure(height + 4, label, parts)
