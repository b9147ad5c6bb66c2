"""Writes the report as one HTML file without scripts, fonts or network. It is light or dark like the reader's system."""

from collections.abc import Sequence
from html import escape
from itertools import accumulate
from pathlib import Path

from training.reporting import plots
from training.reporting.report import METRICS, Epoch, Report

LENGTH_METRICS = ("hr@20", "ndcg@10")
BAR_METRICS = ("hr@20", "ndcg@10", "refused@20", "auc")
CURVE_METRICS = ("ndcg@10", "hr@20", "auc", "pairwise", "refused@20")
TRADE_OFF = ("hr@20", "refused@20")

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5f6871; --rule: #e3e6e9; --paper: #ffffff; --card: #f7f8f9;
  --c0: #2563c9; --c1: #d9641e; --c2: #16875d; --c3: #8b4fc4; --c4: #b4881a; --c5: #c23a6b; --c6: #1a8fa3; --c7: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ae; --rule: #2c3238; --paper: #14171a;
  --card: #1b1f23; --c0: #6ea3f5; --c1: #f0955a; --c2: #4fc592; --c3: #b98ae6; --c4: #dcb84f; --c5: #ec7ba3; --c6: #55c3d6;
  --c7: #a1a9b3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 48px 24px 80px; max-width: 1280px; color: var(--ink); background: var(--paper);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 12px; letter-spacing: -.015em; }
h2 { font-size: 18px; margin: 48px 0 12px; letter-spacing: -.01em; }
h3 { font-size: 14px; margin: 0; } figcaption, .facts, dd, p { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 0; padding: 0; list-style: none; }
.facts b { color: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 7px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td:first-child, td.best { font-weight: 650; } td.best { color: var(--c0); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 20px; }
figure { margin: 0; padding: 18px 20px; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
figcaption { font-size: 13px; margin-bottom: 12px; } svg { display: block; width: 100%; height: auto; }
.s1 polyline { stroke-dasharray: 7 4; } .s2 polyline { stroke-dasharray: 2 4; }
.legend .s1::before { background: linear-gradient(90deg, var(--mine) 55%, transparent 55%); }
.legend .s2::before { background: radial-gradient(var(--mine) 45%, transparent 50%); }
.s1.dot circle { fill: none; stroke: var(--mine); stroke-width: 2; } .s2.dot circle { fill-opacity: .4; }
.spread { stroke: var(--ink); stroke-width: 1.5; }
.label { font-size: 12px; fill: var(--soft); } .grid { stroke: var(--rule); }
polyline { stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; padding: 0; list-style: none; font-size: 13px; }
.legend li::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px;
  background: var(--mine); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 14px; }
dt { font-weight: 600; }
dd { margin: 0; }
""" + "".join(
    f".c{number} {{ --mine: var(--c{number}); }} rect.c{number}, .c{number} circle {{ fill: var(--c{number}); }} "
    f".c{number} polyline {{ stroke: var(--c{number}); }}\n"
    for number in range(plots.COLOURS)
)


def write_page(title: str, reports: Sequence[Report], path: Path) -> None:
    """Write the page to a file."""
    path.write_text(page(title, reports), encoding="utf-8")


def page(title: str, reports: Sequence[Report]) -> str:
    """Render the page: the reports one after the other, and the meaning of the metrics below."""
    sections = [section for report in reports for section in _sections(report)]
    sections.append("<h2>What the columns mean</h2>" + _meanings(reports))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _sections(report: Report) -> list[str]:
    """Render a report: table, bars, trade-off, metrics by history length and training curves."""
    facts = "".join(f"<li><b>{escape(name)}</b> {escape(value)}</li>" for name, value in report.facts.items())
    return [
        f'<h1>{escape(report.title)}</h1><ul class="facts">{facts}</ul>',
        "<h2>Results</h2>" + _table(report),
        _section("Side by side", [*(_bars(report, key) for key in BAR_METRICS if key in report.metrics()), _trade_off(report)]),
        _section("By length of history", [_by_length(report, key) for key in LENGTH_METRICS]),
        _section("Training", [_curve(report, kind, key) for kind, key in _curve_keys(report)]),
    ]


def _table(report: Report) -> str:
    keys = report.metrics()
    head = "".join(f"<th>{escape(METRICS[key].label)}{'' if METRICS[key].higher else ' ↓'}</th>" for key in keys)
    rows = []
    for ranker in report.rankers:
        cells = []
        for key in keys:
            value = ranker.values.get(key)
            mark = ' class="best"' if value is not None and value == report.best(key) else ""
            cells.append(f"<td{mark}>{report.cell(ranker, key)}</td>")
        rows.append(f"<tr><td>{escape(ranker.name)}</td>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _section(title: str, figures: Sequence[str]) -> str:
    shown = [figure for figure in figures if figure]
    return f'<h2>{escape(title)}</h2><div class="plots">{"".join(shown)}</div>' if shown else ""


def _figure(title: str, caption: str, plot: str) -> str:
    caption = f"<h3>{escape(title)}</h3>{escape(caption)}"
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>" if plot else ""


def _bars(report: Report, key: str) -> str:
    values = {ranker.name: ranker.values[key] for ranker in report.rankers if key in ranker.values}
    spreads = {name: spread[key] for name, spread in report.spreads.items() if key in spread}
    metric = METRICS[key]
    direction = "higher is better" if metric.higher else "lower is better"
    return _figure(metric.label, f"{metric.meaning}; {direction}", plots.bars(values, spreads))


def _trade_off(report: Report) -> str:
    found, refused = TRADE_OFF
    rankers = [ranker for ranker in report.rankers if found in ranker.values and refused in ranker.values]
    places = {ranker.name: (ranker.values[refused], ranker.values[found]) for ranker in rankers}
    title = f"{METRICS[found].label} against {METRICS[refused].label}"
    plot = plots.dots(places, x_label=METRICS[refused].label, y_label=METRICS[found].label)
    return _figure(title, "what is found against what is proposed and then refused; the upper left is better", plot)


def _by_length(report: Report, key: str) -> str:
    starts = sorted({int(bucket["from"]) for ranker in report.rankers for bucket in ranker.by_length})
    series = {
        ranker.name: [(float(starts.index(int(bucket["from"]))), bucket[key]) for bucket in ranker.by_length]
        for ranker in report.rankers
    }
    ticks = [f"from {start}" if start else "none" for start in starts]
    return _figure(METRICS[key].label, METRICS[key].meaning, plots.lines(series, x_label="known tracks before", ticks=ticks))


def _curve_keys(report: Report) -> list[tuple[str, str]]:
    epochs = [epoch for curve in report.curves.values() for epoch in curve]
    losses = dict.fromkeys(("loss", key) for epoch in epochs for key in epoch.losses)
    return [*losses, *(("score", key) for key in CURVE_METRICS if any(key in epoch.scores for epoch in epochs))]


def _curve(report: Report, kind: str, key: str) -> str:
    series = {ranker.name: _points(report.curves.get(ranker.name, ()), kind, key) for ranker in report.rankers}
    title, caption = (f"Loss: {key}", "mean of an epoch") if kind == "loss" else (METRICS[key].label, "on the validation part")
    return _figure(title, caption, plots.lines(series, x_label="epoch" if kind == "loss" else "seconds of training steps"))


def _points(epochs: Sequence[Epoch], kind: str, key: str) -> list[tuple[float, float]]:
    """Plot losses by epoch, and scores by the training time at which they were reached."""
    seconds = accumulate(epoch.seconds for epoch in epochs)
    places = (float(epoch.number) if kind == "loss" else upto for epoch, upto in zip(epochs, seconds, strict=True))
    values = (epoch.losses.get(key) if kind == "loss" else epoch.scores.get(key) for epoch in epochs)
    return [(place, value) for place, value in zip(places, values, strict=True) if value is not None]


def _meanings(reports: Sequence[Report]) -> str:
    metrics = [METRICS[key] for key in METRICS if any(key in report.metrics() for report in reports)]
    return f"<dl>{''.join(f'<dt>{escape(metric.label)}</dt><dd>{escape(metric.meaning)}</dd>' for metric in metrics)}</dl>"
