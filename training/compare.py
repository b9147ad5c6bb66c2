"""Recipes beside each other: several logs, several seeds, the same cases, one table with means and spreads.

    DIR/
      LOG-RECIPE-SEED/     a run's folder, as `train` leaves it
      rows.jsonl           a line a finished row: log, recipe or baseline, seed, metrics, cost, machine
      LOG.html             the table with plots: means over the seeds

A row that stands in `rows.jsonl` is not computed again, so a comparison that was stopped goes on, and one more recipe or seed
costs only itself. Baselines have no seed and are measured once a log. All recipes of a log must cut it alike, or their
figures would be of different cases; that is checked.
"""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from training import run
from training.cases import select_cases
from training.checkpoint import RunError
from training.evaluate import Measured, Ranker, evaluate, with_share_of_best
from training.fit import Fitted
from training.log import Log
from training.page import write_page
from training.rankers import NetworkRanker
from training.recipe import Recipe
from training.report import COLUMNS, METRICS, Report
from training.split import TEST

ROWS = "rows.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured ranker: `seed` is None for a baseline; `cost` has seconds in steps, epochs and sequences a second."""

    log: str
    name: str
    seed: int | None
    measured: Mapping[str, Any]
    cost: Mapping[str, float]
    machine: str

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What makes it the same row."""
        return self.log, self.name, self.seed


def compare(
    logs: Sequence[Log], recipes: Sequence[Recipe], seeds: Sequence[int], folder: Path, console: Console, *, cap: int | None
) -> list[Row]:
    """Measure what is not measured yet; print and write a table for each log. RunError where recipes cut a log differently."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = {(recipe.split, recipe.history.scope) for recipe in recipes}
    if len(rules) > 1:
        raise RunError("the recipes split differently, so their figures would be of different cases; give them one [split]")
    rows = read_rows(folder / ROWS)
    for log in logs:
        bench = _Bench(log=log, folder=folder, rows=rows, console=console, cap=cap)
        bench.baselines(recipes[0])
        for recipe in recipes:
            for seed in seeds:
                bench.trained(recipe.with_seed(seed))
        summary = summarise([row for row in rows if row.log == log.folder.name])
        print_means(log.folder.name, summary, console)
        _write_page(log.folder.name, summary, seeds, folder)
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier comparison, none where there was none."""
    return [Row(**json.loads(line)) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def summarise(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by name, seeds together, in the order of their first appearance."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.name, []).append(row)
    return grouped


def means_of(rows: Sequence[Row]) -> dict[str, float]:
    """The mean over seeds of each metric that all of them have."""
    return {
        key: statistics.fmean(row.measured["values"][key] for row in rows)
        for key in rows[0].measured["values"]
        if all(key in row.measured["values"] for row in rows)
    }


def spread_of(rows: Sequence[Row], key: str) -> float | None:
    """The sample standard deviation over seeds; None with one."""
    return statistics.stdev(row.measured["values"][key] for row in rows) if len(rows) > 1 else None


def print_means(title: str, summary: Mapping[str, Sequence[Row]], console: Console) -> None:
    """The terminal's table: mean ± standard deviation over seeds, and what training cost."""
    shown = [key for key in COLUMNS if all(key in means_of(rows) for rows in summary.values())]
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("", *(METRICS[key].label + ("" if METRICS[key].higher else " ↓") for key in shown), "s", "seq/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rows in summary.items():
        cells = [_cell(rows, key) for key in shown]
        costs = [f"{statistics.fmean(row.cost[key] for row in rows):.0f}" if rows[0].cost else "" for key in _COSTS]
        table.add_row(name, *cells, *costs)
    console.print(table)


_COSTS = ("seconds", "sequences_per_second")


def _cell(rows: Sequence[Row], key: str) -> str:
    spread = spread_of(rows, key)
    return f"{means_of(rows)[key]:.4f}" + ("" if spread is None else f" ±{spread:.4f}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    """A log on which rows are measured, and where they are kept."""

    log: Log
    folder: Path
    rows: list[Row]
    console: Console
    cap: int | None

    def baselines(self, recipe: Recipe) -> None:
        """The rows without a seed, where they are not there yet; the recipe says how the log is cut."""
        if self._known():
            return
        current = self._prepare(recipe, "baselines")
        rankers = [*run.best_possible(current), *run.rivals(current.split)]
        for measured in with_share_of_best([self._measure(current, ranker) for ranker in rankers]):
            self._keep(measured, None, {})

    def trained(self, recipe: Recipe) -> None:
        """The row of a recipe with its seed, where it is not there yet."""
        if any(row.key == (self.log.folder.name, recipe.name, recipe.seed) for row in self.rows):
            return
        current = self._prepare(recipe, f"{recipe.name}-{recipe.seed}")
        fitted = run.train(current, self.console)
        measured = self._measure(current, NetworkRanker.of(recipe.name, fitted.network))
        self._keep(with_share_of_best([measured, *self._known()])[0], recipe.seed, _cost(fitted))

    def _known(self) -> list[Measured]:
        return [Measured(**row.measured) for row in self.rows if row.log == self.log.folder.name and row.seed is None]

    def _prepare(self, recipe: Recipe, name: str) -> run.Run:
        return run.prepare(self.log, recipe, self.folder / f"{self.log.folder.name}-{name}")

    def _measure(self, current: run.Run, ranker: Ranker) -> Measured:
        cases = select_cases(current.split, TEST, cap=self.cap)
        return evaluate(ranker, cases, length=current.recipe.history.length, progress=self.console)

    def _keep(self, measured: Measured, seed: int | None, cost: Mapping[str, float]) -> None:
        name = self.log.folder.name
        row = Row(log=name, name=measured.name, seed=seed, measured=measured.as_dict(), cost=cost, machine=_machine())
        self.rows.append(row)
        with (self.folder / ROWS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")


def _write_page(title: str, summary: Mapping[str, Sequence[Row]], seeds: Sequence[int], folder: Path) -> None:
    means = [replace(Measured(**rows[0].measured), values=means_of(rows)) for rows in summary.values()]
    facts = {"seeds": ", ".join(map(str, seeds)), "machine": _machine(), "cases": f"{means[0].counts['cases']:,}"}
    write_page(Report(title=f"Comparison on {title}", rankers=means, facts=facts), folder / f"{title}.html")


def _cost(fitted: Fitted) -> dict[str, float]:
    return {
        "seconds": fitted.seconds,
        "epochs": len(fitted.epochs),
        "sequences_per_second": fitted.sequences / fitted.seconds,
    }


def _machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
