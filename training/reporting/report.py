"""What was measured, for people and for programs: a table on the terminal, JSON, and (`training.reporting.page`) one HTML file.

The JSON is an object: `schema_version` (1), `title`, `facts` (text by name: data, seed, machine, date), `rankers` (a list of
`evaluation.evaluate.Measured`: name, values, counts, by_length) and `curves` (by ranker, a list of epochs: number, losses,
scores, seconds). A metric that had nothing to measure is missing from `values`. Numbers are finite.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.evaluate import Measured

SCHEMA = 1


class Metric(NamedTuple):
    """How a metric is shown: a short label, which way is better, and one line that says what it is."""

    label: str
    higher: bool
    meaning: str
    form: str = "{:.4f}"


METRICS: Mapping[str, Metric] = {
    "hr@1": Metric("HR@1", True, "how often the very first proposal is the track that was kept next"),
    "hr@5": Metric("HR@5", True, "how often the track that was kept next is among the first 5"),
    "hr@10": Metric("HR@10", True, "how often the track that was kept next is among the first 10"),
    "hr@20": Metric("HR@20", True, "how often the track that was kept next is among the first 20"),
    "ndcg@10": Metric("NDCG@10", True, "HR@10 in which a hit counts 1 / log2(1 + rank): less, the further down"),
    "mrr@20": Metric("MRR@20", True, "the mean of 1 / rank of the kept track, 0 past 20"),
    "map@10": Metric("MAP@10", True, "with one target a case, MRR@10"),
    "auc": Metric("AUC", True, "within a listener: how often a kept track scores above a refused one; .5 is chance"),
    "gauc": Metric("GAUC", True, "as AUC, a listener weighing as many as their targets"),
    "auc_frozen": Metric("AUC frozen", True, "as AUC, all of a listener's tracks scored in the state before their first case"),
    "ndcg_own": Metric("NDCG own", True, "of a kept track ranked among those that the same listener refused"),
    "pairwise": Metric("Pairs", True, "as AUC, over the pairs of all listeners together, a tie being wrong"),
    "refused@20": Metric("Refused@20", False, "how often a track that was really refused next had been among the first 20"),
    "refused_mrr@20": Metric("Refused MRR", False, "the mean of 1 / rank of the refused track, 0 past 20"),
    "response@20": Metric("Response", True, "of 20 tracks that often follow the last one: the share gone if it was skipped"),
    "coverage@20": Metric("Catalogue", True, "the share of all tracks that are proposed at least once"),
    "users@20": Metric("Users", True, "the share of listeners with at least one hit among 20"),
    "hr@20_new": Metric("HR@20 new", True, "HR@20 where the kept track was new to the listener"),
    "hr@20_repeat": Metric("HR@20 rep.", True, "HR@20 where the listener had met it before"),
    "hr@20_before": Metric("HR@20 before", True, "HR@20 where the listener had met it before this session only"),
    "hr@20_session": Metric("HR@20 sess.", True, "HR@20 where the listener had met it in this session"),
    "hr@20_masked": Metric("HR@20 masked", True, "HR@20 where what this session has played is not proposed, as in service"),
    "ndcg@10_masked": Metric("NDCG masked", True, "NDCG@10 where what this session has played is not proposed"),
    "hr@20_of_best": Metric("of best", True, "how far from popularity (0) to the best possible HR@20 (1)"),
    "ndcg@10_of_best": Metric("NDCG of best", True, "how far from popularity (0) to the best possible NDCG@10 (1)"),
    "to_ndcg@10": Metric("s to NDCG", False, "seconds of training steps to the reference's best validation NDCG@10", "{:.0f}"),
    "epochs_to_ndcg@10": Metric("ep. to NDCG", False, "epochs to the reference's best validation NDCG@10", "{:.1f}"),
    "to_pairwise": Metric("s to pairs", False, "seconds of training steps to the reference's best validation Pairs", "{:.0f}"),
    "epochs_to_pairwise": Metric("ep. to pairs", False, "epochs to the reference's best validation Pairs", "{:.1f}"),
    "seconds": Metric("s", False, "seconds of training steps in all", "{:.0f}"),
}
COLUMNS = ("hr@20", "ndcg@10", "mrr@20", "auc", "refused@20", "hr@20_of_best")
"""What 80 columns of a terminal have room for; JSON and page have all."""


class Epoch(Protocol):
    """An epoch as `fitting.fit` keeps it: mean loss terms and validation scores by name, seconds spent in training steps."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One comparison: rankers measured on the same cases, and how those that were trained got there."""

    title: str
    rankers: Sequence[Measured]
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Epoch]] = field(default_factory=dict)
    spreads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By ranker and metric the standard deviation over seeds, where the values are means."""

    def metrics(self) -> list[str]:
        """The metrics that at least one ranker has, in the order of `METRICS`."""
        return [key for key in METRICS if any(key in ranker.values for ranker in self.rankers)]

    def best(self, key: str) -> float | None:
        """The best value of a metric, None where no two rankers can be compared."""
        values = [ranker.values[key] for ranker in self.rankers if key in ranker.values]
        if len(values) < 2:
            return None
        return max(values) if METRICS[key].higher else min(values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON described above."""
        return {
            "schema_version": SCHEMA,
            "title": self.title,
            "facts": dict(self.facts),
            "rankers": [ranker.as_dict() for ranker in self.rankers],
            "curves": {
                name: [
                    {"number": epoch.number, "losses": epoch.losses, "scores": epoch.scores, "seconds": epoch.seconds}
                    for epoch in epochs
                ]
                for name, epochs in self.curves.items()
            },
        }

    def cell(self, ranker: Measured, key: str) -> str:
        """A value as it is shown, with its spread where there is one; nothing where there is no value."""
        form, spread = METRICS[key].form, self.spreads.get(ranker.name, {}).get(key)
        if key not in ranker.values:
            return ""
        return form.format(ranker.values[key]) + ("" if spread is None else f" ±{form.format(spread)}")


def print_table(report: Report, console: Console, *, columns: Sequence[str] = COLUMNS) -> None:
    """The terminal's table: one row a ranker, the best of each column in bold, the columns explained below."""
    shown = [key for key in columns if key in report.metrics()]
    table = Table(title=escape(report.title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for key in shown:
        table.add_column(METRICS[key].label + ("" if METRICS[key].higher else " ↓"), justify="right", no_wrap=True)
    for ranker in report.rankers:
        table.add_row(ranker.name, *(_cell(report, ranker, key) for key in shown))
    table.width = console.measure(table, options=console.options.update(width=1_000)).maximum
    console.print(table, crop=False)  # as wide as its figures: a line that wraps can be read, one cut off cannot
    for key in shown:
        console.print(f"[dim]{METRICS[key].label}: {METRICS[key].meaning}[/dim]", highlight=False)


def write_report_json(report: Report, path: Path) -> None:
    """Write the JSON; ValueError where a number is not finite."""
    path.write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _cell(report: Report, ranker: Measured, key: str) -> str:
    text = report.cell(ranker, key)
    return f"[bold]{text}[/bold]" if text and ranker.values[key] == report.best(key) else text
