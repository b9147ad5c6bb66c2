"""The report as one HTML file that needs nothing else: no script, no font, no network; light or dark as the reader's system."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from training import plots
from training.report import METRICS, Epoch, Report

LENGTH_METRICS = ("hr@20", "ndcg@10")
BAR_METRICS = ("hr@20", "ndcg@10", "refused@20", "auc")

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


def write_page(report: Report, path: Path) -> None:
    """Write the page."""
    path.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The whole page: table, bars, metrics by history length, training curves, what the metrics mean."""
    facts = "".join(f"<li><b>{escape(name)}</b> {escape(value)}</li>" for name, value in report.facts.items())
    sections = [
        f'<h1>{escape(report.title)}</h1><ul class="facts">{facts}</ul>',
        "<h2>Results</h2>" + _table(report),
        _section("Side by side", [_bars(report, key) for key in BAR_METRICS if key in report.metrics()]),
        _section("By length of history", [_by_length(report, key) for key in LENGTH_METRICS]),
        _section("Training", [_curve(report, kind, key) for kind, key in _curve_keys(report)]),
        "<h2>What the columns mean</h2>" + _meanings(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(report.title)}</title><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _table(report: Report) -> str:
    keys = report.metrics()
    head = "".join(f"<th>{escape(METRICS[key].label)}{'' if METRICS[key].higher else ' ↓'}</th>" for key in keys)
    rows = []
    for ranker in report.rankers:
        cells = []
        for key in keys:
            value = ranker.values.get(key)
            mark = ' class="best"' if value is not None and value == report.best(key) else ""
            cells.append(f"<td{mark}>{'' if value is None else f'{value:.4f}'}</td>")
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
    metric = METRICS[key]
    direction = "higher is better" if metric.higher else "lower is better"
    return _figure(metric.label, f"{metric.meaning}; {direction}", plots.bars(values))


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
    scores = dict.fromkeys(("score", key) for epoch in epochs for key in epoch.scores if key in METRICS)
    return [*losses, *scores]


def _curve(report: Report, kind: str, key: str) -> str:
    series = {}
    for name, epochs in report.curves.items():
        points = [(float(epoch.number), value) for epoch in epochs if (value := _values(epoch, kind).get(key)) is not None]
        if points:
            series[name] = points
    title, caption = (f"Loss: {key}", "mean of an epoch") if kind == "loss" else (METRICS[key].label, "on the validation part")
    return _figure(title, caption, plots.lines(series, x_label="epoch"))


def _values(epoch: Epoch, kind: str) -> dict[str, float]:
    return epoch.losses if kind == "loss" else epoch.scores


def _meanings(report: Report) -> str:
    metrics = [METRICS[key] for key in report.metrics()]
    return f"<dl>{''.join(f'<dt>{escape(metric.label)}</dt><dd>{escape(metric.meaning)}</dd>' for metric in metrics)}</dl>"
