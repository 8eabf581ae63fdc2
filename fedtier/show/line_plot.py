"""Plots as SVG: lines with bands and points with whiskers, on labelled axes, without scripts.

What a plot says stands in the element itself (sizes, colours, fonts), so that it looks the same in
a page, in a file of its own and on a slide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from fedtier.show.axis import Axis, Scale, scale_of

# Okabe and Ito, "Color Universal Design", 2008, without its yellow, which a white page swallows:
# told apart with every kind of colour blindness.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")
_DASHES = ("", "9 5", "2 4")  # a colour that comes again has another dash

_INK, _FAINT, _GRID = "#1c2430", "#4a5563", "#e3e8ef"
_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
_SIZE, _TITLE_SIZE = 15, 18
_EM = 0.56  # of a font size: the mean width of a character, for what must fit
_WIDTH, _AREA_HEIGHT = 800, 300
_LEFT, _RIGHT, _GAP, _LINE = 4, 26, 10, 22
_X_TICKS_MAX, _Y_TICKS_MAX = 9, 6
_DOT = 4.5
_SPARE = 1.5  # around the area: half of a line that lies on its edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one colour of a plot shows.

    Args:
        name: In the legend; a plot with one series has none.
        points: (x, y), finite, in the order they are joined.
        band: (low, high) around each point, such as the range over seeds; empty for none.
        marks: ``line`` joins the points and shades the band; ``points`` draws dots with whiskers.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    marks: Literal["line", "points"] = "line"

    def __post_init__(self) -> None:
        assert len(self.band) in (0, len(self.points)), "a band is around every point, or none"


def line_plot(title: str, series: Sequence[Series], *, x: Axis, y: Axis) -> str:
    """Draw a plot.

    Args:
        title: Above it, and read out by a screen reader.
        series: At least one, with at least one point in all; told apart by their order.
        x: The axis to the right; where it is found it ends with the values.
        y: The axis upwards; where it is found it ends at ticks.

    Returns:
        An ``<svg>`` element, 800 units wide, that stands in a page or alone in a file. What lies
        outside an axis's given ends is cut off.
    """
    across = scale_of(
        x, (px for s in series for px, _ in s.points), ticks_max=_X_TICKS_MAX, rounded=False
    )
    up = scale_of(y, (v for s in series for v in _heights(s)), ticks_max=_Y_TICKS_MAX, rounded=True)
    legend = list(_legend(series)) if len(series) > 1 else []
    area = _Area(
        left=_SIZE + 2 * _GAP + max(map(_wide, up.labels)),
        top=_TITLE_SIZE + 2 * _GAP + _LINE * len(legend),
        x=across,
        y=up,
    )
    height = area.top + _AREA_HEIGHT + 3 * _LINE
    name = f"{title}: {y.title} over {x.title}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(name)}" font-family="{escape(_FONT)}" font-size="{_SIZE}" '
            f'fill="{_FAINT}">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(_LEFT, _TITLE_SIZE + 2, title, size=_TITLE_SIZE, weight=600, fill=_INK),
            *(
                piece
                for row, entries in enumerate(legend)
                for piece in _legend_row(entries, _TITLE_SIZE + _GAP + _LINE * (row + 0.5))
            ),
            *_axes(area),
            *_marks(area, series),
            "</svg>",
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Area:
    """Where in the picture the values are drawn."""

    left: float
    top: float
    x: Scale
    y: Scale

    @property
    def width(self) -> float:
        return _WIDTH - self.left - _RIGHT

    def across(self, value: float) -> float:
        return self.left + self.width * self.x.share(value)

    def down(self, value: float) -> float:
        return self.top + _AREA_HEIGHT * (1 - self.y.share(value))

    def place(self, point: tuple[float, float]) -> str:
        return f"{self.across(point[0]):.1f},{self.down(point[1]):.1f}"


def _heights(series: Series) -> Iterator[float]:
    yield from (y for _, y in series.points)
    yield from (end for ends in series.band for end in ends)


def _axes(area: _Area) -> Iterator[str]:
    bottom, right = area.top + _AREA_HEIGHT, area.left + area.width
    for tick, label in zip(area.y.ticks, area.y.labels, strict=True):
        down = area.down(tick)
        yield _line(area.left, down, right, down, _GRID)
        yield _text(area.left - 8, down + _SIZE / 3, label, anchor="end")
    for tick, label in zip(area.x.ticks, area.x.labels, strict=True):
        across = area.across(tick)
        yield _line(across, bottom, across, bottom + 5, _FAINT)
        yield _text(across, bottom + _LINE, label, anchor="middle")
    yield _line(area.left, bottom, right, bottom, _FAINT)
    yield _text(area.left + area.width / 2, bottom + 2.2 * _LINE, area.x.title, anchor="middle")
    middle = area.top + _AREA_HEIGHT / 2
    yield _text(_SIZE, middle, area.y.title, anchor="middle", turn=True)


def _marks(area: _Area, series: Sequence[Series]) -> Iterator[str]:
    """What is drawn: bands first, so that no line is behind one, and dots in front of all."""
    yield _clip(area)
    for number, one in enumerate(series):
        if one.band and one.marks == "line":
            yield _band(area, one, _colour(number))
    for number, one in enumerate(series):
        if one.marks == "points":
            yield from _whiskers(area, one, _colour(number))
        else:
            joined = " ".join(map(area.place, one.points))
            yield (
                f'<polyline points="{joined}" fill="none" stroke="{_colour(number)}" '
                f'stroke-width="2.5" stroke-linejoin="round"{_dash(number)}/>'
            )
    yield "</g>"
    for number, one in enumerate(series):
        if one.marks == "points" or len(one.points) == 1:  # a line of one point is a dot
            yield from (
                _dot(area.across(x), area.down(y), number)
                for x, y in one.points
                if area.x.holds(x) and area.y.holds(y)
            )


def _clip(area: _Area) -> str:
    """Begin a group of which nothing is seen beyond the edges."""
    left, top = area.left - _SPARE, area.top - _SPARE
    name = f"area-{area.left:.0f}-{area.top:.0f}"  # one name, one place: pages hold many plots
    return (
        f'<clipPath id="{name}"><rect x="{left:.1f}" y="{top:.1f}" '
        f'width="{area.width + 2 * _SPARE:.1f}" height="{_AREA_HEIGHT + 2 * _SPARE:.1f}"/>'
        f'</clipPath><g clip-path="url(#{name})">'
    )


def _band(area: _Area, series: Series, colour: str) -> str:
    xs = [x for x, _ in series.points]
    lows = list(zip(xs, (low for low, _ in series.band), strict=True))
    highs = list(zip(xs, (high for _, high in series.band), strict=True))
    around = " ".join(map(area.place, [*highs, *reversed(lows)]))
    return f'<polygon points="{around}" fill="{colour}" fill-opacity="0.18"/>'


def _whiskers(area: _Area, series: Series, colour: str) -> Iterator[str]:
    for (x, _), (low, high) in zip(series.points, series.band, strict=False):
        across = area.across(x)
        yield _line(across, area.down(low), across, area.down(high), colour, width=2)


def _legend(series: Sequence[Series]) -> Iterator[list[tuple[float, int, Series]]]:
    """Rows of entries that fit: where each begins, its number, and the series."""
    row: list[tuple[float, int, Series]] = []
    across = float(_LEFT)
    for number, one in enumerate(series):
        width = 3 * _GAP + _wide(one.name) + 2.5 * _GAP
        if row and across + width > _WIDTH:
            yield row
            row, across = [], float(_LEFT)
        row.append((across, number, one))
        across += width
    yield row


def _legend_row(entries: Sequence[tuple[float, int, Series]], middle: float) -> Iterator[str]:
    for across, number, one in entries:
        end = across + 2.4 * _GAP
        if one.marks == "line":
            yield _line(across, middle, end, middle, _colour(number), width=3, dash=_dash(number))
        else:
            yield _dot((across + end) / 2, middle, number)
        yield _text(end + 0.7 * _GAP, middle + _SIZE / 3, one.name, fill=_INK)


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _dash(number: int) -> str:
    dash = _DASHES[number // len(PALETTE) % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _wide(text: str) -> float:
    return math.ceil(_EM * _SIZE * len(text))


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = ""
) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dash}/>'


def _dot(across: float, down: float, number: int) -> str:
    where = f'cx="{across:.1f}" cy="{down:.1f}" r="{_DOT}"'
    return f'<circle {where} fill="{_colour(number)}" stroke="#ffffff"/>'


def _text(
    across: float,
    down: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = _SIZE,
    weight: int = 400,
    fill: str = _FAINT,
    turn: bool = False,
) -> str:
    turned = f' transform="rotate(-90 {across:.1f} {down:.1f})"' if turn else ""
    return (
        f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{fill}"{turned}>{escape(text)}</text>'
    )
