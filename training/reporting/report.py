"""Reports of measurements: a table on the terminal, JSON for programs, and one HTML file (`training.reporting.page`).

The JSON is an object:

    schema_version   2
    title            text
    model            the name of the ranker that the report is about; empty in a comparison of several
    verdict          sentences about it
    facts            text by name: data, seed, machine, date
    rankers          a list of `evaluation.evaluate.Measured`: name, values, counts, by_length, by_popularity
    examples         a list of `reporting.examples.Example`: heard, proposed, then, rank
    curves           by ranker, a list of epochs: number, losses, scores, seconds

A metric that had nothing to measure is missing from `values`. Numbers are finite.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.evaluate import Measured
from training.reporting.examples import Example
from training.reporting.verdict import verdict

SCHEMA = 2


class Metric(NamedTuple):
    """How a metric is shown: a short label, which way is better, and one line with its meaning."""

    label: str
    higher: bool | None  # None: neither way; a model should come near the best possible ranking
    meaning: str
    form: str = "{:.4f}"

    @property
    def heading(self) -> str:
        """Return the label, with an arrow if lower is better."""
        return f"{self.label} ↓" if self.higher is False else self.label

    @property
    def explanation(self) -> str:
        """Return the meaning, and which way is better."""
        way = {True: "higher is better", False: "lower is better", None: "near the best possible is better, where it is known"}
        return f"{self.meaning}; {way[self.higher]}"


METRICS: Mapping[str, Metric] = {
    "hr@1": Metric("HR@1", True, "of the tracks kept next, the share that was the first proposal"),
    "hr@5": Metric("HR@5", True, "of the tracks kept next, the share among the first 5 proposals"),
    "hr@10": Metric("HR@10", True, "of the tracks kept next, the share among the first 10 proposals"),
    "hr@20": Metric("HR@20", True, "of the tracks kept next, the share among the first 20 proposals"),
    "ndcg@10": Metric(
        "NDCG@10",
        True,
        "of the tracks kept next, the share among the first 10 proposals, where a hit counts 1 / log2(1 + rank)",
    ),
    "mrr@20": Metric("MRR@20", True, "the mean of 1 / rank of the kept track, 0 past 20"),
    "map@10": Metric("MAP@10", True, "the same as MRR@10, because each case has one target"),
    "auc": Metric("AUC", True, "how often a kept track scores above a refused one of the same listener; .5 is chance"),
    "gauc": Metric("GAUC", True, "as AUC, but each listener is weighted by the number of targets"),
    "auc_frozen": Metric(
        "AUC frozen", True, "as AUC, but all of a listener's tracks are scored in the state before the first case"
    ),
    "ndcg_own": Metric("NDCG own", True, "NDCG of a kept track among the tracks that the same listener refused"),
    "pairwise": Metric("Pairs", True, "as AUC, but over the pairs of all listeners together, and a tie is wrong"),
    "skipped_hits@20": Metric("Skipped hits", False, "of the proposals that were then played, the share that was skipped"),
    "refused@20": Metric(
        "Refused@20", False, "of the tracks refused next, the share that had been among the first 20 proposals"
    ),
    "refused_mrr@20": Metric("Refused MRR", False, "the mean of 1 / rank of the refused track, 0 past 20"),
    "response@20": Metric(
        "Response", None, "of 20 tracks that often follow the last one, the share that leaves the list if it is skipped"
    ),
    "response_artist@20": Metric(
        "Resp. artist", None, "of other tracks of the last one's artist, the share that leaves the list if it is skipped"
    ),
    "changed@20": Metric("Changed", None, "the share of the list that another one replaces if the last track is skipped"),
    "coverage@20": Metric("Catalogue", True, "the share of all tracks that are proposed at least once"),
    "users@20": Metric("Users", True, "the share of listeners with at least one hit among 20"),
    "hr@20_new": Metric("HR@20 new", True, "HR@20 where the kept track was new to the listener"),
    "hr@20_repeat": Metric("HR@20 rep.", True, "HR@20 where the listener had heard it before"),
    "hr@20_before": Metric("HR@20 before", True, "HR@20 where the listener had heard it before this session only"),
    "hr@20_session": Metric("HR@20 sess.", True, "HR@20 where the listener had heard it in this session"),
    "hr@20_after_skip": Metric("HR@20 aft. skip", True, "HR@20 where the listener had skipped the last track"),
    "hr@20_masked": Metric("HR@20 masked", True, "HR@20 if tracks of this session are not proposed, as in service"),
    "ndcg@10_masked": Metric("NDCG masked", True, "NDCG@10 if tracks of this session are not proposed"),
    "hr@20_of_best": Metric("of best", True, "how far from popularity (0) to the best possible HR@20 (1)"),
    "ndcg@10_of_best": Metric("NDCG of best", True, "how far from popularity (0) to the best possible NDCG@10 (1)"),
    "to_ndcg@10": Metric("s to NDCG", False, "seconds of training steps to the reference's best validation NDCG@10", "{:.0f}"),
    "epochs_to_ndcg@10": Metric("ep. to NDCG", False, "epochs to the reference's best validation NDCG@10", "{:.1f}"),
    "to_pairwise": Metric("s to pairs", False, "seconds of training steps to the reference's best validation Pairs", "{:.0f}"),
    "epochs_to_pairwise": Metric("ep. to pairs", False, "epochs to the reference's best validation Pairs", "{:.1f}"),
    "seconds": Metric("s", False, "seconds of training steps in all", "{:.0f}"),
}
COLUMNS = ("hr@20", "ndcg@10", "skipped_hits@20", "hr@20_new", "hr@20_repeat", "hr@20_of_best", "coverage@20")
"""The metrics that are shown first, as many as fit."""
WIDEST = 5
"""Number of metrics that fit beside the ranker's name into 80 characters of a terminal, or 1,000 pixels of a page."""
GROUPS: Mapping[str, Sequence[str]] = {
    "What is found": ("hr@1", "hr@5", "hr@10", "hr@20", "ndcg@10", "mrr@20", "map@10"),
    "What is refused": ("skipped_hits@20", "refused@20", "refused_mrr@20", "auc", "gauc", "auc_frozen", "ndcg_own", "pairwise"),
    "New and known tracks": (
        "hr@20_new",
        "hr@20_repeat",
        "hr@20_before",
        "hr@20_session",
        "hr@20_masked",
        "ndcg@10_masked",
    ),
    "Response to a skip": ("hr@20_after_skip", "response@20", "response_artist@20", "changed@20"),
    "Reach, and the best possible": ("coverage@20", "users@20", "hr@20_of_best", "ndcg@10_of_best"),
    "Cost of training": ("seconds", "to_ndcg@10", "epochs_to_ndcg@10", "to_pairwise", "epochs_to_pairwise"),
}
"""All metrics, in tables that are narrow enough."""


class Epoch(Protocol):
    """An epoch of `fitting.fit`: mean loss terms and validation scores by name, and seconds in training steps."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A comparison of rankers on the same cases, with the training curves of trained ones."""

    title: str
    rankers: Sequence[Measured]
    model: str = ""
    """The name of the ranker that the report is about; empty if several are compared."""
    examples: Sequence[Example] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Epoch]] = field(default_factory=dict)
    spreads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Standard deviation over seeds, by ranker and metric, if values are means."""

    def metrics(self) -> list[str]:
        """Return the metrics that at least one ranker has, in the order of `METRICS`."""
        return [key for key in METRICS if any(key in ranker.values for ranker in self.rankers)]

    def columns(self) -> list[str]:
        """Return the metrics that are shown first."""
        return [key for key in COLUMNS if key in self.metrics()][:WIDEST]

    def verdict(self) -> list[str]:
        """Return sentences about the model; none if several are compared."""
        return verdict(self.rankers, self.model)

    def best(self, key: str) -> float | None:
        """Return the best value of a metric; None if fewer than two rankers have it, or if neither way is better."""
        values = [ranker.values[key] for ranker in self.rankers if key in ranker.values]
        if len(values) < 2 or METRICS[key].higher is None:
            return None
        return max(values) if METRICS[key].higher else min(values)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object described above."""
        return {
            "schema_version": SCHEMA,
            "title": self.title,
            "model": self.model,
            "verdict": self.verdict(),
            "facts": dict(self.facts),
            "rankers": [ranker.as_dict() for ranker in self.rankers],
            "examples": [asdict(example) for example in self.examples],
            "curves": {
                name: [
                    {"number": epoch.number, "losses": epoch.losses, "scores": epoch.scores, "seconds": epoch.seconds}
                    for epoch in epochs
                ]
                for name, epochs in self.curves.items()
            },
        }

    def cell(self, ranker: Measured, key: str) -> str:
        """Format a value with its spread, if there is one. Empty without a value."""
        form, spread = METRICS[key].form, self.spreads.get(ranker.name, {}).get(key)
        if key not in ranker.values:
            return ""
        return form.format(ranker.values[key]) + ("" if spread is None else f" ±{form.format(spread)}")


def print_table(report: Report, console: Console, *, further: Sequence[str] = ()) -> None:
    """Print the verdict, then a table with one row for each ranker, the best of each column in bold, and what the columns mean.

    `further` metrics follow the usual columns.
    """
    shown = report.columns() + [key for key in further if key in report.metrics()]
    table = Table(title=escape(report.title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for key in shown:
        table.add_column(METRICS[key].heading, justify="right", no_wrap=True)
    for ranker in report.rankers:
        table.add_row(ranker.name, *(_cell(report, ranker, key) for key in shown))
    table.width = console.measure(table, options=console.options.update(width=1_000)).maximum
    for sentence in report.verdict():
        console.print(sentence, markup=False, highlight=False)
    console.print(table, crop=False)  # at full width: a wrapped line can be read, a truncated figure cannot
    for key in shown:
        console.print(f"[dim]{METRICS[key].label}: {METRICS[key].meaning}[/dim]", highlight=False)


def write_report_json(report: Report, path: Path) -> None:
    """Write the JSON. ValueError if a number is not finite."""
    path.write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _cell(report: Report, ranker: Measured, key: str) -> str:
    text = report.cell(ranker, key)
    return f"[bold]{text}[/bold]" if text and ranker.values[key] == report.best(key) else text
