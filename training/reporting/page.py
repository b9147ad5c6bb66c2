"""The report as one self-contained HTML file: no script, no font, no network. It is light or dark like the reader's system.

It begins with the verdict in words and a table of at most six columns. The rest follows or is folded. It fits 1,000 pixels and
prints without cut columns.
"""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate
from pathlib import Path

from training.evaluation.evaluate import Measured
from training.reporting import plots
from training.reporting.examples import Example, Play
from training.reporting.report import GROUPS, METRICS, Epoch, Report
from training.reporting.verdict import BEST_POSSIBLE, POPULAR, SESSION_KNN, worse_than_popularity

BAR_METRICS = ("hr@20", "skipped_hits@20", "hr@20_new", "hr@20_repeat")
BUCKET_METRICS = ("hr@20", "ndcg@10")
CURVE_METRICS = ("ndcg@10", "hr@20", "auc", "pairwise", "refused@20")
_ENOUGH = 30
"""Smallest number of cases of a bucket that is drawn, because fewer mean little."""
THIRDS = ("most played", "middle", "rarely played")
_COLOURS = "".join(
    f".c{number} {{ --mine: var(--c{number}); }} rect.c{number}, .c{number} circle {{ fill: var(--c{number}); }} "
    f".c{number} polyline {{ stroke: var(--c{number}); }}\n"
    for number in range(plots.COLOURS)
)


def write_page(title: str, reports: Sequence[Report], path: Path) -> None:
    """Write the page to a file."""
    path.write_text(page(title, reports), encoding="utf-8")


def page(title: str, reports: Sequence[Report]) -> str:
    """Return the whole page: the reports one after the other, and below what the metrics mean."""
    style = (files("training.reporting") / "page.css").read_text("utf-8") + _COLOURS
    sections = [section for report in reports for section in _sections(report)]
    sections.append("<h2>What the figures mean</h2>" + _meanings(reports))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n'
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def _sections(report: Report) -> list[str]:
    facts = "".join(f"<li><b>{escape(name)}</b> {escape(value)}</li>" for name, value in report.facts.items())
    folded = [
        _details(title, _table(report, [key for key in keys if key in report.metrics()])) for title, keys in GROUPS.items()
    ]
    return [
        f'<h1>{escape(report.title)}</h1>{_verdict(report)}<ul class="facts">{facts}</ul>',
        "<h2>Results</h2>" + _table(report, report.columns()),
        _examples(report.examples),
        _plots("Side by side", [_bars(report, key) for key in BAR_METRICS if key in report.metrics()]),
        _plots("By length of history", [_by_length(report, key) for key in BUCKET_METRICS]),
        _plots("By popularity of the track", [_by_popularity(report, key) for key in BUCKET_METRICS]),
        "<h2>All figures</h2>" + "".join(folded),
        _details("Training, epoch by epoch", _grid([_curve(report, kind, key) for kind, key in _curve_keys(report)])),
    ]


def _verdict(report: Report) -> str:
    sentences = " ".join(report.verdict())
    text = f'<p class="verdict">{escape(sentences)}</p>' if sentences else ""
    fault = worse_than_popularity(report.rankers, report.model) if report.model else None
    return text + (f'<p class="warning">{escape(fault[0].upper() + fault[1:])}.</p>' if fault else "")


def _table(report: Report, keys: Sequence[str]) -> str:
    """Return a table of some metrics. Each heading describes its metric in words."""
    if not keys:
        return ""
    head = "".join(
        f'<th scope="col" title="{escape(METRICS[key].explanation)}">{escape(METRICS[key].heading)}</th>' for key in keys
    )
    rows = "".join(_row(report, ranker, keys) for ranker in report.rankers)
    table = f'<table><thead><tr><th scope="col">model</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _row(report: Report, ranker: Measured, keys: Sequence[str]) -> str:
    cells = []
    for key in keys:
        value = ranker.values.get(key)
        mark = ' class="best"' if value is not None and value == report.best(key) else ""
        cells.append(f"<td{mark}>{report.cell(ranker, key)}</td>")
    mine = ' class="model"' if ranker.name == report.model else ""
    return f"<tr{mine}><td>{escape(ranker.name)}</td>{''.join(cells)}</tr>"


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    hits = sum(example.rank is not None for example in examples)
    intro = (
        f"Drawn at random from the test part, not chosen. In {hits} of {len(examples)} the track that was played next is among "
        "the first 20 proposals."
    )
    return f'<h2>Real cases</h2><p>{intro}</p><ul class="cases">{"".join(map(_example, examples))}</ul>'


def _example(example: Example) -> str:
    heard = "".join(f"<li>{_play(play)}</li>" for play in example.heard)
    proposed = "".join(
        f"<li{' class=' + chr(34) + 'hit' + chr(34) if place == example.rank else ''}>{_play(play)}</li>"
        for place, play in enumerate(example.proposed, start=1)
    )
    place = "not among the first 20 proposals" if example.rank is None else f"proposal {example.rank}"
    return (
        f"<li><div><small>heard, oldest first</small><ul>{heard}</ul></div>"
        f"<div><small>proposed</small><ol>{proposed}</ol></div>"
        f"<div><small>then</small><ul><li>{_play(example.then)}</li><li><small>{place}</small></li></ul></div></li>"
    )


def _play(play: Play) -> str:
    outcome = f' <b class="{escape(play.outcome)}">{escape(play.outcome)}</b>' if play.outcome else ""
    artist = f" <small>{escape(play.artist)}</small>" if play.artist else ""
    return escape(play.title) + artist + outcome


def _plots(title: str, figures: Sequence[str]) -> str:
    grid = _grid(figures)
    return f"<h2>{escape(title)}</h2>{grid}" if grid else ""


def _grid(figures: Sequence[str]) -> str:
    shown = "".join(figures)
    return f'<div class="plots">{shown}</div>' if shown else ""


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def _figure(title: str, caption: str, plot: str) -> str:
    caption = f"<h3>{escape(title)}</h3>{escape(caption)}"
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>" if plot else ""


def _bars(report: Report, key: str) -> str:
    values = {ranker.name: ranker.values[key] for ranker in report.rankers if key in ranker.values}
    spreads = {name: spread[key] for name, spread in report.spreads.items() if key in spread}
    return _figure(METRICS[key].label, METRICS[key].explanation, plots.bars(values, spreads))


def _by_length(report: Report, key: str) -> str:
    starts = sorted({int(bucket["from"]) for ranker in report.rankers for bucket in _enough(ranker.by_length)})
    points = {
        ranker.name: [(float(starts.index(int(bucket["from"]))), bucket[key]) for bucket in _enough(ranker.by_length)]
        for ranker in report.rankers
    }
    ticks = [f"from {start}" if start else "none" for start in starts]
    plot = plots.lines(_shown(report, points), x_label="known tracks before", ticks=ticks)
    return _figure(METRICS[key].label, f"{METRICS[key].explanation}; lengths with at least {_ENOUGH} cases", plot)


def _by_popularity(report: Report, key: str) -> str:
    """Return a line for each ranker over the thirds of all plays. The ticks give the number of tracks in a third."""
    whole = [ranker for ranker in report.rankers if len(ranker.by_popularity) == len(THIRDS)]
    if not whole:
        return ""
    points = {ranker.name: [(float(at), bucket[key]) for at, bucket in enumerate(ranker.by_popularity)] for ranker in whole}
    sizes = [f"{bucket['tracks']:,.0f} {name}" for name, bucket in zip(THIRDS, whole[0].by_popularity, strict=True)]
    plot = plots.lines(_shown(report, points), x_label="tracks that make up a third of all plays", ticks=sizes)
    return _figure(METRICS[key].label, METRICS[key].explanation, plot)


def _enough(buckets: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    return [bucket for bucket in buckets if bucket["cases"] >= _ENOUGH]


def _shown(report: Report, points: Mapping[str, plots.Points]) -> dict[str, plots.Points]:
    """Keep the points of the rankers that a line plot has room for. The others keep their colours.

    In a report about one model these are the model, the rankers of its verdict, and the best other baseline.
    """
    named = (report.model, BEST_POSSIBLE, POPULAR, SESSION_KNN)
    others = [ranker for ranker in report.rankers if ranker.name not in named and "hr@20" in ranker.values]
    best = max(others, key=lambda ranker: ranker.values["hr@20"], default=None)
    kept = {ranker.name for ranker in report.rankers if not report.model or ranker.name in named or ranker is best}
    return {ranker.name: points.get(ranker.name, ()) if ranker.name in kept else () for ranker in report.rankers}


def _curve_keys(report: Report) -> list[tuple[str, str]]:
    epochs = [epoch for curve in report.curves.values() for epoch in curve]
    losses = dict.fromkeys(("loss", key) for epoch in epochs for key in epoch.losses)
    return [*losses, *(("score", key) for key in CURVE_METRICS if any(key in epoch.scores for epoch in epochs))]


def _curve(report: Report, kind: str, key: str) -> str:
    series = {ranker.name: _points(report.curves.get(ranker.name, ()), kind, key) for ranker in report.rankers}
    title, caption = (f"Loss: {key}", "mean of an epoch") if kind == "loss" else (METRICS[key].label, "on the validation part")
    return _figure(title, caption, plots.lines(series, x_label="epoch" if kind == "loss" else "seconds of training steps"))


def _points(epochs: Sequence[Epoch], kind: str, key: str) -> list[tuple[float, float]]:
    """Return losses by epoch, or scores by the seconds of training after which they were reached."""
    seconds = accumulate(epoch.seconds for epoch in epochs)
    places = (float(epoch.number) if kind == "loss" else upto for epoch, upto in zip(epochs, seconds, strict=True))
    values = (epoch.losses.get(key) if kind == "loss" else epoch.scores.get(key) for epoch in epochs)
    return [(place, value) for place, value in zip(places, values, strict=True) if value is not None]


def _meanings(reports: Sequence[Report]) -> str:
    metrics = [METRICS[key] for key in METRICS if any(key in report.metrics() for report in reports)]
    return f"<dl>{''.join(f'<dt>{escape(metric.label)}</dt><dd>{escape(metric.meaning)}</dd>' for metric in metrics)}</dl>"
