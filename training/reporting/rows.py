"""The rows of a comparison: saved as JSON lines, and averaged over seeds.

A row is one ranker with one seed on one log, measured under a *protocol*: the cases, the split, and the rules for choosing the
epoch and the start. Rows of different protocols are never compared. Lines are only appended. Among rows with the same log, name
and seed the last one counts.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from training.errors import TrainingError
from training.evaluation.evaluate import Measured
from training.fitting.fit import Fitted
from training.recipe import Recipe

CURVES = ("ndcg@10", "hr@20", "auc", "pairwise", "refused@20")
"""The validation scores that are saved for each epoch."""
BARS = ("ndcg@10", "pairwise")
"""The validation scores of a reference that set the bar: a metric of finding, and the 'test accuracy' of Mei et al."""


class RowsError(TrainingError):
    """A file of rows cannot be continued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured ranker. `seed` and `recipe` are None for a baseline, whose `cost` and `curve` are empty.

    `cost` has seconds in training steps, epochs and sequences a second. `curve` has a mapping for each epoch: its seconds in
    steps, and validation scores by name.
    """

    log: str
    name: str
    seed: int | None
    protocol: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    measured: Mapping[str, Any]
    cost: Mapping[str, float]
    curve: Sequence[Mapping[str, Any]]
    machine: str
    at: str  # time of the measurement, RFC 3339

    @property
    def key(self) -> tuple[str, str, int | None]:
        """Return the values that identify a row."""
        return self.log, self.name, self.seed


def protocol_of(content: str, recipe: Recipe, cap: int | None) -> dict[str, Any]:
    """Return the settings that must be equal for figures to be compared: the log's `content` (`Log.content`), the split and the
    cases.

    The length of the history that a model reads may differ.
    """
    plain = recipe.as_dict()
    return {
        "log": content,
        "split": plain["split"],
        "history": {key: value for key, value in plain["history"].items() if key != "length"},
        "cases": cap,
        "valid_cases": recipe.fit.valid_cases,
        "prior_half_life_days": recipe.fit.prior_half_life_days,
    }


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file in the order in which they were added; empty without a file. Of rows with the same key, only the
    last is returned.

    Raises RowsError if the file has another version.
    """
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    try:
        rows = [Row(**json.loads(line)) for line in lines]
    except (TypeError, ValueError) as error:
        raise RowsError(f"{path} has rows of another version ({error}); name another folder with --out") from error
    latest: dict[tuple[str, str, int | None], Row] = {}
    for row in rows:
        latest.pop(row.key, None)  # otherwise the new row would get the old one's place, and `by_name` the old protocol
        latest[row.key] = row
    return list(latest.values())


def append_row(path: Path, row: Row) -> None:
    """Add a line to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")


def by_name(rows: Sequence[Row], log: str) -> dict[str, list[Row]]:
    """Group the rows of a log by ranker, with all seeds of one ranker together: best possible, trained rankers, baselines. Only
    the log's newest protocol counts.
    """
    mine = [row for row in rows if row.log == log]
    mine = [row for row in mine if row.protocol == mine[-1].protocol]
    grouped: dict[str, list[Row]] = {}
    for row in sorted(mine, key=lambda row: (row.name != "best possible", row.seed is None)):
        grouped.setdefault(row.name, []).append(row)
    return grouped


def cost_of(fitted: Fitted) -> dict[str, float]:
    """Return what a training cost: seconds in steps, epochs, and sequences a second."""
    return {
        "seconds": fitted.seconds,
        "epochs": len(fitted.epochs),
        "sequences_per_second": fitted.sequences / fitted.seconds,
    }


def curve_of(fitted: Fitted) -> list[dict[str, Any]]:
    """Return for each epoch of a training its seconds and its validation scores, in the form that `Row.curve` has."""
    return [
        {"seconds": epoch.seconds, "scores": {key: epoch.scores[key] for key in CURVES if key in epoch.scores}}
        for epoch in fitted.epochs
    ]


def reached(row: Row, key: str, bar: float) -> tuple[int, float] | None:
    """Return the epochs, and the seconds of training steps, until a validation score reached the bar; None if it never did."""
    seconds = accumulate(epoch["seconds"] for epoch in row.curve)
    for number, (upto, epoch) in enumerate(zip(seconds, row.curve, strict=True), start=1):
        if epoch["scores"].get(key, -1.0) >= bar:
            return number, upto
    return None


def values_of(row: Row, reference: Sequence[Row]) -> dict[str, float]:
    """Return a row's metrics, its cost, and the time that it took to reach the best validation scores of the `reference` row of
    the same seed.
    """
    values = dict(row.measured["values"])
    if row.cost:
        values["seconds"] = row.cost["seconds"]
    for other in reference:
        for key in BARS if other.seed == row.seed else ():
            bar = max((epoch["scores"][key] for epoch in other.curve if key in epoch["scores"]), default=None)
            if bar is not None and (found := reached(row, key, bar)):
                values[f"epochs_to_{key}"], values[f"to_{key}"] = found
    return values


def mean_of(rows: Sequence[Row], reference: Sequence[Row] = ()) -> tuple[Measured, dict[str, float]]:
    """Return the mean over seeds of each value that all rows have, and with several rows its sample standard deviation."""
    columns = [values_of(row, reference) for row in rows]
    shared = [key for key in columns[0] if all(key in values for values in columns)]
    mean = {key: statistics.fmean(values[key] for values in columns) for key in shared}
    spread = {key: statistics.stdev(values[key] for values in columns) for key in shared} if len(rows) > 1 else {}
    first = Measured(**rows[0].measured)
    by_length, by_popularity = (
        _mean_buckets([row.measured.get(kind, ()) for row in rows]) for kind in ("by_length", "by_popularity")
    )
    return replace(first, values=mean, by_length=by_length, by_popularity=by_popularity), spread


def _mean_buckets(rows: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Return the mean over rows of each bucket's values."""
    return [{key: statistics.fmean(bucket[key] for bucket in same) for key in same[0]} for same in zip(*rows, strict=True)]
