"""The loss curve: what it draws, and that nothing can break out of it."""

import math
from xml.etree import ElementTree

import pytest

from windrow.look.figures import bars, loss_curve

SVG = "{http://www.w3.org/2000/svg}"


def lines(svg: str, name: str) -> list[list[tuple[float, float]]]:
    found = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}polyline") if e.get("class") == name]
    return [[tuple(map(float, pair.split(","))) for pair in e.get("points", "").split()] for e in found]


def test_a_falling_loss_is_a_line_that_goes_down_to_the_right() -> None:
    (raw,) = lines(loss_curve([(0, 10.8), (1, 8.0), (2, 5.5)]), "raw")
    assert [x for x, _ in raw] == sorted(x for x, _ in raw)
    assert [y for _, y in raw] == sorted(y for _, y in raw)  # y grows downwards


def test_every_point_lies_inside_the_picture() -> None:
    svg = loss_curve([(s, 11 - s / 30) for s in range(300)], [(50, 9.0), (299, 4.0)])
    points = [p for name in ("raw", "train", "valid") for line in lines(svg, name) for p in line]
    assert points
    assert all(56 <= x <= 624 and 56 <= y <= 352 for x, y in points)


def words(svg: str) -> list[tuple[str, float]]:
    return [(e.text or "", float(e.get("x", "0"))) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(("first", "last", "num_steps"), [(10.9, 0.4, 402), (10.9, 4.1, 37), (3.2, 3.1, 100_001)])
def test_both_axes_end_where_the_data_does(first: float, last: float, num_steps: int) -> None:
    svg = loss_curve([(0, first), (num_steps - 1, last)])
    (raw,) = lines(svg, "raw")
    assert raw[0] == (56, 56)
    assert raw[-1][1] <= 352
    losses = [float(label) for label, x in words(svg) if x == 48]
    assert len(losses) >= 2
    assert losses[0] <= last
    assert losses[-1] <= first
    assert (f"{num_steps - 1:,}", 624) in words(svg)


def test_a_level_line_lies_within_the_picture_and_steps_are_whole() -> None:
    svg = loss_curve([(0, 5.0), (1, 5.0), (2, 5.0)])
    (raw,) = lines(svg, "raw")
    assert all(60 < y < 348 for _, y in raw)
    assert [text for text, x in words(svg) if text in ("0", "0.5", "1", "1.5", "2") and x > 48] == ["0", "1", "2"]


def test_the_last_label_of_a_few_bars_stands_under_the_last_bar() -> None:
    svg = bars([3.0] * 6, ["bar"] * 6, label="bars", ends=("first", "last"))
    placed = words(svg.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"'))
    assert {("first", 52), ("last", 52 + 6 * 80)} <= {*placed}


def test_text_is_escaped_and_control_characters_are_replaced() -> None:
    evil = "<script>alert('&')</script>\x1b[31m\x00 \"quoted\" \ud800"
    root = ElementTree.fromstring(loss_curve([(0, 1.0)], title=evil, marks=[(0, evil)]).encode())
    assert not list(root.iter(f"{SVG}script"))
    texts = [e.text for e in root.iter(f"{SVG}text") if e.text and "alert" in e.text]
    assert len(texts) == 2
    assert "\x1b" not in texts[0]


@pytest.mark.parametrize(
    "points",
    [[], [(0, 1.0)], [(0, 0.0), (1, 0.0)], [(0, math.nan), (1, math.inf), (2, 3.0)], [(0, 1e-9), (1, 1e9)]],
)
def test_no_points_few_points_and_numbers_that_are_none_make_a_picture_all_the_same(
    points: list[tuple[float, float]],
) -> None:
    svg = loss_curve(points, points)
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_long_run_is_thinned_and_keeps_its_last_point() -> None:
    svg = loss_curve([(s, 1 + 1 / (s + 1)) for s in range(100_001)])
    assert len(svg) < 100_000
    assert lines(svg, "raw")[0][-1][0] == 624


def test_the_same_numbers_give_the_same_bytes_and_nothing_is_loaded_from_elsewhere() -> None:
    svg = loss_curve([(0, 2.0), (1, 1.0)], title="t")
    assert svg == loss_curve([(0, 2.0), (1, 1.0)], title="t")
    assert svg.count("http") == 1  # the namespace
