"""Plots are well-formed pictures that show every point where it belongs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.show.axis import Axis, scale_of
from fedtier.show.line_plot import PALETTE, Series, line_plot

SVG = "{http://www.w3.org/2000/svg}"
CURVE = Series(
    name="tau=8,2,2", points=[(1, 0.2), (2, 0.5), (9, 0.9)], band=[(0.1, 0.3), (0.5, 0.5), (0.8, 1)]
)
finite = st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-9)


ROUNDS, ACCURACY = Axis(title="round"), Axis(title="accuracy")


def drawn(*series, x=ROUNDS, y=ACCURACY):
    return ET.fromstring(line_plot("Accuracy", series, x=x, y=y))


def area_of(picture):
    """Left, top, right and bottom of where values are drawn; a line's half width lies outside."""
    rect = picture.find(f"{SVG}clipPath/{SVG}rect")
    left, top, width, height = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


def vertices(picture, tag):
    for element in picture.iter(f"{SVG}{tag}"):
        for pair in element.get("points").split():
            across, down = pair.split(",")
            yield float(across), float(down)


def texts(picture):
    return [text.text for text in picture.iter(f"{SVG}text")]


@given(points=st.lists(st.tuples(finite, finite), min_size=1, max_size=30))
def test_every_point_lies_in_the_area(points):
    picture = drawn(Series(name="a", points=points))
    left, top, right, bottom = area_of(picture)
    found = list(vertices(picture, "polyline"))
    assert len(found) == len(points)
    # Coordinates are written with one decimal.
    assert all(left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1 for x, y in found)


def test_a_band_goes_around_the_line_and_into_the_axis():
    picture = drawn(CURVE)
    left, top, right, bottom = area_of(picture)
    band = list(vertices(picture, "polygon"))
    highs, lows = band[:3], band[:2:-1]
    assert len(band) == 6
    assert all(left <= x <= right and top <= y <= bottom for x, y in band)
    for high, (x, y), low in zip(highs, vertices(picture, "polyline"), lows, strict=True):
        assert high[0] == x == low[0]
        assert high[1] <= y <= low[1]  # down the page


@given(
    ends=st.tuples(finite, finite).filter(lambda e: abs(e[0] - e[1]) > 1e-6 * max(map(abs, e))),
    most=st.integers(2, 12),
    rounded=st.booleans(),
)
def test_ticks_are_multiples_of_1_2_or_5_and_no_more_than_asked(ends, most, rounded):
    scale = scale_of(Axis(title="a"), ends, ticks_max=most, rounded=rounded)
    steps = {f"{b - a:.3e}" for a, b in pairwise(scale.ticks)}
    # Of wide spans far from zero the step is a difference of large numbers, exact to 3 digits here.
    assert all(step[0] in "125" and float(step[1:5]) == 0 for step in steps)
    assert len(steps) <= 1
    assert len(scale.ticks) <= most + (2 if rounded else 0)
    assert scale.low <= min(ends) < max(ends) <= scale.high
    assert all(-1e-6 <= scale.share(tick) <= 1 + 1e-6 for tick in scale.ticks)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.02, 130), (0.1, 1, 10, 100)),
        ((1, 80), (1, 2, 5, 10, 20, 50)),
        ((3.1, 4.2), (3.2, 3.4, 3.6, 3.8, 4.0, 4.2)),
        ((1e-6, 1e9), (1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6, 1e8)),
    ],
)
def test_a_logarithmic_axis_has_powers_of_ten_and_what_fits_between(values, ticks):
    scale = scale_of(Axis(title="bytes", log=True), values, ticks_max=9, rounded=False)
    assert scale.ticks == pytest.approx(ticks)
    middle = (values[0] * values[1]) ** 0.5
    assert scale.share(middle) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("axis", "values", "labels"),
    [
        (Axis(title="a", low=0, high=100), (7, 93), ["0", "20", "40", "60", "80", "100"]),
        (Axis(title="a"), (0.89, 0.955), ["0.88", "0.90", "0.92", "0.94", "0.96"]),
        (Axis(title="a"), (500, 25_000), ["0", "5 000", "10 000", "15 000", "20 000", "25 000"]),
        (Axis(title="a"), (-3, 2), ["−3", "−2", "−1", "0", "1", "2"]),
        (Axis(title="a"), (0, 4e9), ["0", "1e9", "2e9", "3e9", "4e9"]),
        (Axis(title="a", low=0), (0, 0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)  # fmt: skip
def test_ticks_are_written_as_people_write_them(axis, values, labels):
    scale = scale_of(axis, values, ticks_max=6, rounded=True)
    assert [label.replace("\N{THIN SPACE}", " ") for label in scale.labels] == labels


def test_names_are_escaped_and_said_to_who_does_not_see():
    text = line_plot(
        'A < B & "C"', [CURVE, Series(name="<script>", points=[(0, 0)])],
        x=Axis(title="x > y"), y=Axis(title="y"),
    )  # fmt: skip
    picture = ET.fromstring(text)
    assert picture.get("aria-label") == 'A < B & "C": y over x > y'
    assert picture.get("role") == "img"
    assert {'A < B & "C"', "<script>", "x > y"} <= set(texts(picture))
    assert "<script" not in text


def test_only_several_series_have_a_legend():
    other = Series(name="tau=1,1,1", points=[(1, 0.3), (2, 0.4)])
    assert "tau=8,2,2" not in texts(drawn(CURVE))
    assert {"tau=8,2,2", "tau=1,1,1"} <= set(texts(drawn(CURVE, other)))


def test_a_long_legend_takes_rows_that_do_not_reach_beyond_the_picture():
    many = [Series(name=f"tau={n},2,2 levels=7,31,127", points=[(0, n), (1, n)]) for n in range(16)]
    picture = drawn(*many)
    entries = [t for t in picture.iter(f"{SVG}text") if t.text.startswith("tau=")]
    assert len(entries) == 16
    assert all(float(t.get("x")) + 8 * len(t.text) < 800 for t in entries)
    assert max(float(t.get("y")) for t in entries) < area_of(picture)[1]
    lines = list(picture.iter(f"{SVG}polyline"))
    looks = {(line.get("stroke"), line.get("stroke-dasharray")) for line in lines}
    assert len(looks) == len(lines) > len(PALETTE)  # nobody takes one for another


def test_points_have_whiskers_and_those_outside_given_ends_are_left_out():
    dots = Series(
        name="a", points=[(1, 60), (2, 95)], band=[(55, 65), (94, 96)], marks="points"
    )  # fmt: skip
    assert len(list(drawn(dots).iter(f"{SVG}circle"))) == 2
    zoomed = drawn(dots, y=Axis(title="accuracy, %", low=90, high=100))
    assert len(list(zoomed.iter(f"{SVG}circle"))) == 1
    assert len(list(zoomed.find(f"{SVG}g").iter(f"{SVG}line"))) == 2  # cut off by the group's edge


def test_a_line_of_one_point_is_a_dot():
    assert len(list(drawn(Series(name="a", points=[(3, 4)])).iter(f"{SVG}circle"))) == 1
