"""The loss curve: what it draws, and that nothing can break out of it."""

import math
from xml.etree import ElementTree

import pytest

from windrow.look.figures import loss_curve

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
