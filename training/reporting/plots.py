"""Draws line and bar plots as SVG text, without a drawing library. A page with them needs no script and no network.

Colours come from the page's style sheet (`.c0` to `.c7`, dashes `.s0` to `.s2`, `.grid`, `.label`), which decides about light
and dark. This module knows nothing of metrics.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 28, 14, 40
COLOURS = 8
_FITS = 26  # number of characters that fit beside a bar

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], *, x_label: str, ticks: Sequence[str] | None = None) -> str:
    """Draw a line for each series of (x, y) points.

    `ticks` names the places x = 0, 1, … if x is no number. An axis of fractions starts at 0. A series without points is not
    drawn but keeps its colour, so that the plots of a page agree.
    """
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    if not xs:
        return ""
    counted = all(x.is_integer() for x in xs)
    across_marks = sorted(set(xs)) if counted else nice_ticks(0.0, max(xs))
    left, right = across_marks[0], across_marks[-1]
    marks = nice_ticks(min(0.0, *ys) if min(ys) < max(ys) / 2 else min(ys), max(ys))
    low, high = marks[0], marks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    body = [_grid_line(place(left, mark)[1], mark) for mark in marks]
    names = list(enumerate(ticks)) if ticks else [(x, f"{x:g}") for x in _few(across_marks)]
    body += [_text(place(x, low)[0], HEIGHT - BOTTOM + 16, name, _anchor(place(x, low)[0])) for x, name in names]
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    drawn = [(number, name, points) for number, (name, points) in enumerate(series.items()) if points]
    for number, name, points in drawn:
        at = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in at)
        body.append(
            f'<g class="{_style(number)}"><title>{escape(name)}</title><polyline fill="none" points="{path}"/>{dots}</g>'
        )
    names_drawn = [(number, name) for number, name, _ in drawn]
    return _svg(body, HEIGHT, f"{', '.join(name for _, name in names_drawn)} by {x_label}") + _legend(names_drawn)


def dots(places: Mapping[str, tuple[float, float]], *, x_label: str, y_label: str) -> str:
    """Draw a dot for each name at its (x, y)."""
    if not places:
        return ""
    x_marks, y_marks = (nice_ticks(min(values), max(values)) for values in zip(*places.values(), strict=True))

    def across(x: float) -> float:
        return LEFT + (x - x_marks[0]) / (x_marks[-1] - x_marks[0]) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_marks[0]) / (y_marks[-1] - y_marks[0]) * (HEIGHT - TOP - BOTTOM)

    body = [_grid_line(up(mark), mark) for mark in y_marks]
    body += [_text(across(mark), HEIGHT - BOTTOM + 16, f"{mark:.4g}", "middle") for mark in x_marks]
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, f"{x_label} (across), {y_label} (up)", "middle"))
    for number, (name, (x, y)) in enumerate(places.items()):
        circle = f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="5"/>'
        body.append(f'<g class="{_style(number)} dot"><title>{escape(name)}</title>{circle}</g>')
    return _svg(body, HEIGHT, f"{y_label} against {x_label}") + _legend(list(enumerate(places)))


def bars(values: Mapping[str, float], spreads: Mapping[str, float] | None = None, *, form: str = "{:.3f}") -> str:
    """Draw a horizontal bar for each name, with its value behind it. A spread is a line around the bar's end."""
    longest = max((value for value in values.values()), default=0) or 1
    per_unit = (WIDTH - 170 - 64) / longest
    height, names = 30, 170
    body = []
    for number, (name, value) in enumerate(values.items()):
        y, length = number * height, max(0.0, value) * per_unit
        body.append(_text(names - 10, y + 20, name if len(name) <= _FITS else f"{name[: _FITS - 1]}…", "end"))
        body.append(
            f'<rect class="c{number % COLOURS}" x="{names}" y="{y + 5}" width="{length:.1f}" height="{height - 10}" rx="3"/>'
        )
        spread = (spreads or {}).get(name, 0.0) * per_unit
        if spread:
            x1, x2 = names + max(0.0, length - spread), names + length + spread
            body.append(f'<line class="spread" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y + 15}" y2="{y + 15}"/>')
        body.append(_text(names + length + spread + 8, y + 20, form.format(value), "start"))
    return _svg(body, max(height, height * len(values)), ", ".join(values))


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, a step of 1, 2 or 5 times a power of ten apart."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** floor(log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if span <= factor * power * count)
    first, last = floor(low / step), ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _anchor(x: float) -> str:
    """Return the anchor of a label at x, so that a label at the edge of the plot is not cut."""
    return "start" if x < 2 * LEFT else "end" if x > WIDTH - 2 * RIGHT else "middle"


def _few(values: Sequence[float]) -> Sequence[float]:
    return values[:: ceil(len(values) / 10)]


def _grid_line(y: float, mark: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(LEFT - 8, y + 4, f"{mark:.4g}", "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _style(number: int) -> str:
    """Return the CSS classes of a series: its colour, and another dash after the last colour."""
    return f"c{number % COLOURS} s{number // COLOURS}"


def _legend(names: Sequence[tuple[int, str]]) -> str:
    items = "".join(f'<li class="{_style(number)}">{escape(name)}</li>' for number, name in names)
    return f'<ul class="legend">{items}</ul>'


def _svg(body: Sequence[str], height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'
