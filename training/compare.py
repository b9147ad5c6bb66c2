"""Compare recipes over logs and seeds, on the same cases: one table with means and spreads.

    DIR/
      LOG-RECIPE-SEED/…    folders of runs, see `training.run_folder`
      rows.jsonl           a line for each finished row (`training.reporting.rows`)
      compare.html         a section for each log: means and spreads over the seeds, plots

A row that is in `rows.jsonl` is not computed again. So an interrupted comparison continues, and one more recipe, seed or log
costs only its own time. A log whose content has changed counts as another log. Baselines have no seed and are measured once for
each log.

All recipes of a log must follow one protocol: the same split, skip rule, validation cases and start of the biases. `follow`
copies these settings from another recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from model.events import HistoryRule
from training import run
from training.data.log import Log
from training.data.split import TEST
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import Measured, with_share_of_best
from training.evaluation.rankers import NetworkRanker
from training.fitting.checkpoint import Epoch, RunError
from training.fitting.fit import Fitted
from training.machine import machine
from training.recipe import Recipe
from training.reporting.page import write_page
from training.reporting.report import Report, print_table
from training.reporting.rows import Row, append_row, by_name, cost_of, curve_of, mean_of, protocol_of, read_rows
from training.run_folder import Run, prepare_below

ROWS, PAGE = "rows.jsonl", "compare.html"


def follow(recipe: Recipe, protocol: Recipe) -> Recipe:
    """Return the recipe with the protocol of another one.

    The protocol is the split, the history rule except its length, the validation cases, and the popularity that biases start
    from.
    """
    return replace(
        recipe,
        split=protocol.split,
        history=replace(protocol.history, length=recipe.history.length),
        fit=replace(
            recipe.fit,
            valid_cases=protocol.fit.valid_cases,
            prior_half_life_days=protocol.fit.prior_half_life_days,
        ),
    )


def compare(
    logs: Sequence[Log],
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    folder: Path,
    console: Console,
    *,
    cap: int | None = None,
    reference: str | None = None,
) -> list[Row]:
    """Train and measure every recipe on every log with every seed, unless the folder has the row. Print a table for each log,
    and write a page with all logs of the folder.

    The table shows how long each recipe trains until it reaches the best validation score of `reference`, by default the first
    recipe. RunError if the recipes follow different protocols.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_rows(folder / ROWS)
    for log in logs:
        bench = _Bench(log=log, content=log.content(), folder=folder, rows=rows, console=console, cap=cap)
        bench.check(recipes)
        bench.baselines(recipes[0])
        for recipe in recipes:
            for seed in seeds:
                bench.trained(recipe.with_seed(seed))
        _print(report_of(rows, log.folder.name, reference or recipes[0].name), console)
    names = dict.fromkeys(row.log for row in rows)
    reports = [report_of(rows, name, reference or recipes[0].name) for name in names]
    write_page("Comparison", reports, folder / PAGE)
    return rows


_FURTHER = ("response@20", "response_artist@20", "to_ndcg@10", "epochs_to_ndcg@10", "to_pairwise", "seconds")


def _print(report: Report, console: Console) -> None:
    print_table(report, console, further=_FURTHER)
    for name, value in report.facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)


def report_of(rows: Sequence[Row], log: str, reference: str) -> Report:
    """Summarise the rows of a log for display."""
    grouped = by_name(rows, log)
    bar = grouped.get(reference, [])
    summed = {name: mean_of(same, bar) for name, same in grouped.items()}
    trained = [row for same in grouped.values() for row in same if row.seed is not None]
    counts = next(iter(summed.values()))[0].counts
    facts = {
        "cases": f"{counts['cases']:,} of {counts['users']:,} listeners",
        "seeds": ", ".join(map(str, sorted({row.seed for row in trained if row.seed is not None}))),
        "something to read": _covered(counts, "read"),
        "something kept to read": _covered(counts, "kept"),
        "times": f"to the best validation scores of {reference}",
        "machine": "; ".join(dict.fromkeys(row.machine for row in trained)),
        "measured": max(row.at for same in grouped.values() for row in same)[:10],
    }
    return Report(
        title=f"Comparison on {log}",
        rankers=[mean for mean, _ in summed.values()],
        facts=facts,
        curves={name: _epochs(same[0]) for name, same in grouped.items() if same[0].curve},
        spreads={name: spread for name, (_, spread) in summed.items()},
    )


def _covered(counts: Mapping[str, int], which: str) -> str:
    users, cases = (counts[f"{which}_{what}"] / counts[what] for what in ("users", "cases"))
    return f"{users:.1%} of listeners, {cases:.1%} of cases"


def _epochs(row: Row) -> list[Epoch]:
    return [
        Epoch(number=number, losses={}, scores=epoch["scores"], seconds=epoch["seconds"])
        for number, epoch in enumerate(row.curve)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    """Measures rankers on one log, and appends the rows to a file in the comparison's folder."""

    log: Log
    content: str
    folder: Path
    rows: list[Row]
    console: Console
    cap: int | None

    def check(self, recipes: Sequence[Recipe]) -> None:
        """Check that all recipes follow one protocol. RunError if not."""
        first = protocol_of(self.content, recipes[0], self.cap)
        for recipe in recipes:
            other = protocol_of(self.content, recipe, self.cap)
            if differing := [key for key in first if first[key] != other[key]]:
                raise RunError(
                    f"{recipe.name} follows another protocol than {recipes[0].name} ({', '.join(differing)}), so their figures "
                    "cannot be compared; --protocol RECIPE gives all of them that recipe's"
                )

    def baselines(self, recipe: Recipe) -> None:
        """Measure the baselines if they are missing. They have no seed; the recipe gives the split."""
        protocol = protocol_of(self.content, recipe, self.cap)
        if self._known(protocol):
            return
        plain = replace(recipe, name="baselines", history=replace(recipe.history, length=HistoryRule().length))
        current = self._prepare(plain)
        rankers = [*run.best_possible(current), *run.baseline_rankers(current.split)]
        cases = select_cases(current.split, TEST, cap=self.cap)
        for measured in with_share_of_best(run.measure_all(current, rankers, cases, self.console)):
            self._keep(measured, protocol)

    def trained(self, recipe: Recipe) -> None:
        """Train and measure a recipe with its seed, if this row is missing."""
        protocol, plain = protocol_of(self.content, recipe, self.cap), recipe.as_dict()
        key = (self.log.folder.name, recipe.name, recipe.seed)
        if any((row.key, row.protocol, row.recipe) == (key, protocol, plain) for row in self.rows):
            return
        current = self._prepare(recipe)
        fitted = run.train(current, self.console)
        current = run.complete(current, fitted.network)
        ranker = NetworkRanker.of(recipe.name, fitted.network)
        [measured] = run.measure_all(current, [ranker], select_cases(current.split, TEST, cap=self.cap), self.console)
        self._keep(with_share_of_best([measured, *self._known(protocol)])[0], protocol, recipe, fitted)

    def _known(self, protocol: Mapping[str, object]) -> list[Measured]:
        mine = [row for row in self.rows if row.log == self.log.folder.name and row.seed is None]
        return [Measured(**row.measured) for row in mine if row.protocol == protocol]

    def _prepare(self, recipe: Recipe) -> Run:
        return prepare_below(self.folder, self.log, recipe, console=self.console)

    def _keep(
        self, measured: Measured, protocol: Mapping[str, object], recipe: Recipe | None = None, fitted: Fitted | None = None
    ) -> None:
        row = Row(
            log=self.log.folder.name,
            name=measured.name,
            seed=recipe.seed if recipe else None,
            protocol=protocol,
            recipe=recipe.as_dict() if recipe else None,
            measured=measured.as_dict(),
            cost=cost_of(fitted) if fitted else {},
            curve=curve_of(fitted) if fitted else [],
            machine=machine(),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.rows[:] = [other for other in self.rows if other.key != row.key] + [row]
        append_row(self.folder / ROWS, row)
