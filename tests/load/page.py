"""Draws plots from the benchmark's JSON lines, those of earlier runs too: `python -m tests.load.page RESULTS`.

It writes an SVG for each plot and `results.html`, one page without scripts and network. If a row was measured several times,
the last measurement counts. Rates that the service could not carry are named instead of drawn, because their latency grows as
long as one measures.
"""

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from training.reporting.plots import COLOURS, HEIGHT, LEFT, WIDTH, lines

CARRIED = 0.98
"""Share of an open loop's rate that must be answered for the rate to count as carried."""
_COLOURS = ("#2563c9", "#d9641e", "#16875d", "#8b4fc4", "#b4881a", "#c23a6b", "#1a8fa3", "#6b7280")
_STYLE = """svg { background: #fff; } text { font: 12px system-ui, sans-serif; fill: #5f6871; } .grid { stroke: #e3e6e9; }
@media (prefers-color-scheme: dark) { svg { background: #16191d; } text { fill: #a9b1ba; } .grid { stroke: #32383f; } }
polyline { stroke-width: 2; } .legend { list-style: none; display: flex; gap: 18px; padding: 0; font-size: 13px; }
body { max-width: 760px; margin: 32px auto; padding: 0 20px; font: 15px/1.5 system-ui, sans-serif; color: #1c2024; }
""" + "".join(
    f".c{number} circle, text.c{number} {{ fill: {colour}; }} .c{number} polyline {{ stroke: {colour}; }} "
    f"li.c{number} {{ color: {colour}; }}\n"
    for number, colour in enumerate(_COLOURS[:COLOURS])
)

Line = dict[str, Any]


def write_page(results: Path) -> None:
    """Write the plots and the page beside a results file."""
    rows = latest(results)
    plots = {"latency": _latency(rows), "cpu": _cost(rows, "cpu_s_per_1000"), "memory": _cost(rows, "rss_mb")}
    captions = {
        "latency": f"Latency over load, ms at requests a second, the full job with 100,000 tracks. {_not_carried(rows)}",
        "cpu": "CPU time over catalogue size: ms a request of the full job, 16 connections",
        "memory": "Memory over catalogue size: MB resident, the mapped item matrix included",
    }
    figures = []
    for name, plot in plots.items():
        if plot:
            (results.parent / f"{name}.svg").write_text(standalone(plot), encoding="utf-8")
            figures.append(f"<h2>{escape(captions[name])}</h2>{plot}")
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Speed</title><style>{_STYLE}</style></head>'
    page = f"{head}\n<body><h1>Speed</h1>\n{''.join(figures)}\n</body></html>\n"
    results.with_suffix(".html").write_text(page, encoding="utf-8")


def standalone(plot: str) -> str:
    """Return a plot of `training.reporting.plots` as the text of an SVG file: with its style, and its legend below the axis."""
    svg, legend = ElementTree.fromstring(f"<div>{plot}</div>")  # noqa: S314  # drawn by our own module
    svg.set("xmlns", "http://www.w3.org/2000/svg")
    svg.set("viewBox", f"0 0 {WIDTH} {HEIGHT + 24}")
    for number, name in enumerate(legend):
        left = LEFT + number * (WIDTH - LEFT) / len(legend)
        shown = {"class": name.get("class", ""), "x": f"{left:.0f}", "y": f"{HEIGHT + 14}"}
        ElementTree.SubElement(svg, "text", shown).text = name.text
    style = ElementTree.Element("style")
    style.text = _STYLE
    svg.insert(0, style)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def latest(results: Path) -> list[Line]:
    """Read the lines of a results file, the last one of each work, setting and rival."""
    last: dict[tuple[str, str, str | None], Line] = {}
    if results.exists():
        for text in results.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            last[line["work"], line["setting"], line["rival"]] = line
    return list(last.values())


def carried(line: Line) -> bool:
    """Say whether an open loop's requests were answered at their rate."""
    return bool(line["ours"]["req_s"]["median"] >= CARRIED * line["rate"])


def _open_loops(rows: Sequence[Line]) -> list[Line]:
    mine = [line for line in rows if line["work"] == "full" and line.get("rate") and line["tracks"] == 100_000]
    return sorted((line for line in mine if "minutes" not in line["setting"]), key=lambda line: line["rate"])


def _latency(rows: Sequence[Line]) -> str:
    shown = [line for line in _open_loops(rows) if carried(line)]
    series = {name: [(line["rate"], line["ours"][name]["median"]) for line in shown] for name in ("p50", "p90", "p99")}
    return lines(series, x_label="requests a second")


def _not_carried(rows: Sequence[Line]) -> str:
    rates = [f"{line['rate']:g}" for line in _open_loops(rows) if not carried(line)]
    return f"Not carried: {', '.join(rates)} a second" if rates else "All rates were carried"


def _cost(rows: Sequence[Line], figure: str) -> str:
    found = {
        line["tracks"]: line["ours"][figure]["median"]
        for line in rows
        if line["work"] == "full" and line.get("connections") == 16
    }
    sizes = sorted(found)
    points = [(float(place), found[size]) for place, size in enumerate(sizes)]
    return lines({"full job": points}, x_label="tracks", ticks=[f"{size:,}" for size in sizes])


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
