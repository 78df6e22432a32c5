"""Figures for pages, and the loss curve as a file of its own: small SVG drawn by hand, and the colours of both.

Guarantee: text is escaped, colours are classes of the page's style (the curve brings its own), ``PALETTE`` is what such
a page begins its style with, and the same values give the same bytes. Cost: one element a bar or a few bytes a point.
It does not do: any reading of data.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from string import Template

from windrow.shown import safe

__all__ = ["PALETTE", "bars", "dots", "line", "loss_curve", "shares", "stacked"]

_WIDTH = 960
_NAMES = ("page", "ink", "soft", "line", "blue", "warm", "bar")
_LIGHT = ("#fff", "#1b1f24", "#57606a", "#d0d7de", "#0b5cad", "#a34313", "#3b7fc4")
_DARK = ("#14171b", "#e6e9ed", "#a3adb8", "#353c45", "#79b8f5", "#f0a06a", "#5d9fe0")


def _in_both(rules: str) -> str:
    """CSS ``rules`` in the light colours, and again in the dark ones for a reader whose screen is dark."""
    named = (dict(zip(_NAMES, colours, strict=True)) for colours in (_LIGHT, _DARK))
    light, dark = (Template(rules).substitute(colours) for colours in named)
    return f"{light}@media (prefers-color-scheme: dark) {{{dark}}}\n"


PALETTE = _in_both(f":root{{color-scheme:light dark;{''.join(f'--{name}:${name};' for name in _NAMES)}}}")


def _figure(height: int, label: str, parts: Sequence[str], width: int = _WIDTH) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}">'
    return "".join([head, *parts, "</svg>"])


def bars(values: Sequence[float], labels: Sequence[str], *, label: str, ends: tuple[str, str]) -> str:
    """A bar for each of ``values``; ``labels`` are shown on hover; ``ends`` name the first and the last."""
    height, base, top, left = 190, 160, 14, 52
    most = max([*values, 1e-9])
    step = min((_WIDTH - left) / max(len(values), 1), 80.0)
    right = max(left + step * len(values), left + 400)  # two labels have room
    parts = [
        f'<line class="axis" x1="{left}" y1="{base}" x2="{right:.0f}" y2="{base}"/>',
        f'<line class="grid" x1="{left}" y1="{top}" x2="{right:.0f}" y2="{top}"/>',
        f'<text x="{left - 6}" y="{top + 5}" text-anchor="end">{most:.4g}</text>',
        f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{left}" y="{height - 6}">{safe(ends[0])}</text>',
        f'<text x="{right:.0f}" y="{height - 6}" text-anchor="end">{safe(ends[1])}</text>',
    ]
    for number, (value, named) in enumerate(zip(values, labels, strict=True)):
        tall = (base - top) * value / most
        parts.append(_rect("bar", left + number * step, base - tall, max(step - 1, 0.5), tall, named))
    return _figure(height, label, parts)


def _rect(kind: str, x: float, y: float, width: float, height: float, named: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {place}><title>{safe(named)}</title></rect>'


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
    height, step = 150, _WIDTH / max(len(columns), 1)
    parts = [
        _rect(f"s{which % 6}", number * step, top * height, step - 1, share * height, f"{names[which]} {share:.2%}")
        for number, column in enumerate(columns)
        for which, (share, top) in enumerate(zip(column, accumulate(column, initial=0.0), strict=False))
    ]
    return _figure(height, label, parts)


def shares(parts: Sequence[tuple[str, float]], *, label: str) -> str:
    """One bar cut into parts; a part too thin to be seen is left to the table beside it."""
    height, x, out = 34, 0.0, []
    total = sum(share for _, share in parts) or 1
    for which, (name, share) in enumerate(parts):
        out.append(_rect(f"s{which % 6}", x, 0, width := share / total * _WIDTH, height, f"{name} {share / total:.1%}"))
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


Point = tuple[float, float]  # step, loss in nats per token

_CURVE_WIDTH, _CURVE_HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 96, 56, 48  # margins: axis labels, line labels, title, axis labels
_MOST_POINTS = 2000
_STYLE = _in_both("""
  text { font: 13px system-ui, sans-serif; fill: $soft } .title { font-size: 15px; font-weight: 600; fill: $ink }
  .page { fill: $page } .grid { stroke: $line } .mark { stroke: $soft; stroke-dasharray: 4 4 }
  .raw, .train, .valid { fill: none; stroke: $bar; stroke-width: 2 } .raw { stroke-width: 1; stroke-opacity: .3 }
  .valid { stroke: $warm } .dot, .valid-label { fill: $warm } .train-label { fill: $blue }
""")


def loss_curve(
    train: Sequence[Point], valid: Sequence[Point] = (), *, title: str = "Loss", marks: Sequence[tuple[float, str]] = ()
) -> str:
    """The SVG of the losses ``(step, nats per token)`` of ``train`` and ``valid``; ``marks`` are ``(step, label)``.

    The train loss is drawn twice: as it was, faintly, and smoothed over the last few percent of the run.
    """
    train, valid = ([point for point in points if all(map(math.isfinite, point))] for points in (train, valid))
    frame = _Frame([*train, *valid])
    lines = {"raw": train, "train": _smoothed(train), "valid": valid}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" width="{_CURVE_WIDTH}" '
        f'height="{_CURVE_HEIGHT}" role="img" aria-label="{safe(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_CURVE_WIDTH}" height="{_CURVE_HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="26">{safe(title)}</text>',
        *_grid(frame),
        *[part for step, label in marks for part in _mark(frame, step, label)],
        *[_line(frame, name, points) for name, points in lines.items() if len(points) > 1],
        *[f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>' for x, y in map(frame.place, _thinned(valid))],
        *_labels(frame, lines),
        "</svg>\n",
    ]
    return "\n".join(parts)


class _Frame:
    """Where a point lies in the picture: steps from 0, losses from a round number, both to where the data ends."""

    def __init__(self, points: Sequence[Point]) -> None:
        losses = [loss for _, loss in points] or [0.0, 1.0]
        low, high = min(losses), max(losses)
        room = max(1.0, abs(high) / 10) if math.isclose(low, high, abs_tol=1e-9) else 0.0  # around a level line
        self.loss_ticks, self.most = _ticks(low - room, high + room), high + room
        self.num_steps = max([step for step, _ in points], default=1) or 1

    def place(self, point: Point) -> Point:
        low, high = self.loss_ticks[0], self.most
        x = _LEFT + point[0] / self.num_steps * (_CURVE_WIDTH - _LEFT - _RIGHT)
        y = _CURVE_HEIGHT - _BOTTOM - (point[1] - low) / (high - low) * (_CURVE_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers, the first at or below ``low``, the last at or below ``high``, which is more."""
    span = high - low
    power = 10 ** math.floor(math.log10(span / 5))
    size = next(size * power for size in (1, 2, 5, 10) if span / (size * power) <= 5)
    return [round(number * size, 10) for number in range(math.floor(low / size), math.floor(high / size) + 1)]


def _grid(frame: _Frame) -> Iterator[str]:
    for loss in frame.loss_ticks:
        _, y = frame.place((0, loss))
        yield f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_CURVE_WIDTH - _RIGHT}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{loss:g}</text>'
    whole = [tick for tick in _ticks(0, frame.num_steps) if tick % 1 == 0 and tick < 0.93 * frame.num_steps]
    for step in [*whole, frame.num_steps]:
        x, _ = frame.place((step, 0))
        yield f'<text x="{x}" y="{_CURVE_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{step:,.7g}</text>'
    middle = (_LEFT + _CURVE_WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:g}" y="{_CURVE_HEIGHT - 8}" text-anchor="middle">step</text>'
    yield f'<text x="{_LEFT}" y="{_TOP - 10}">loss, nats per token</text>'


def _mark(frame: _Frame, step: float, label: str) -> Iterator[str]:
    x, _ = frame.place((step, 0))
    yield f'<line class="mark" x1="{x}" y1="{_TOP}" x2="{x}" y2="{_CURVE_HEIGHT - _BOTTOM}"/>'
    yield f'<text x="{x + 5}" y="{_TOP + 12}">{safe(label)}</text>'


def _line(frame: _Frame, name: str, points: Sequence[Point]) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in map(frame.place, _thinned(points)))
    return f'<polyline class="{name}" points="{path}"/>'


def _labels(frame: _Frame, lines: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """The names of the lines and their last values, at their ends and at least one text line apart."""
    ends = [(frame.place(lines[name][-1]), name, lines[name][-1][1]) for name in ("train", "valid") if lines[name]]
    lowest = -math.inf
    for (x, y), name, loss in sorted(ends, key=lambda end: end[0][1]):
        lowest = max(y + 4, lowest + 16)
        yield f'<text class="{name}-label" x="{x + 8:g}" y="{lowest:g}">{name} {loss:.2f}</text>'


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """A running mean over the last 4 % of the points, at least five: a step's loss alone jumps about."""
    reach, sums = max(5, len(points) // 25), [0.0, *accumulate(loss for _, loss in points)]
    ends = [(step, number + 1, max(0, number + 1 - reach)) for number, (step, _) in enumerate(points)]
    return [(step, (sums[end] - sums[begin]) / (end - begin)) for step, end, begin in ends]


def _thinned(points: Sequence[Point]) -> list[Point]:
    every = -(-len(points) // _MOST_POINTS) or 1
    return [*points[::every], *([points[-1]] if points and (len(points) - 1) % every else [])]
