"""Recipes beside each other: what is measured once, what is averaged, what may not be compared."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.training.worlds import small_recipe
from training.checkpoint import RunError
from training.compare import ROWS, Row, compare, means_of, read_rows, spread_of
from training.log import Log
from training.recipe import SplitRule
from training.simulate import simulate


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A small simulated log."""
    return simulate(tmp_path_factory.mktemp("compare") / "world", listeners=60, tracks=80, artists=20)


def console() -> Console:
    """One that can be read."""
    return Console(file=StringIO(), width=200)


def test_comparison_goes_on_where_it_stopped(log: Log, tmp_path: Path) -> None:
    """A second recipe costs only itself: the first one's rows and the baselines' are those of the first call, byte for byte."""
    one, other = small_recipe("one"), replace(small_recipe("other"), loss=replace(small_recipe("other").loss, pair=0.5))
    compare([log], [one], [1, 2], tmp_path, console(), cap=100)
    before = (tmp_path / ROWS).read_text()
    rows = compare([log], [one, other], [1, 2], tmp_path, said := console(), cap=100)
    text = said.file.getvalue() if isinstance(said.file, StringIO) else ""

    assert (tmp_path / ROWS).read_text().startswith(before)
    assert [row.seed for row in rows if row.name == "one"] == [1, 2]
    assert [row.seed for row in rows if row.name == "other"] == [1, 2]
    assert sum(row.name == "popular" for row in rows) == 1
    assert read_rows(tmp_path / ROWS) == rows
    assert "±" in text
    assert "other" in (tmp_path / "world.html").read_text()


def test_shares_of_the_best_possible_are_measured_against_the_same_rows(log: Log, tmp_path: Path) -> None:
    """The share that a trained recipe reports is (model - popular) / (best - popular) of the rows beside it."""
    rows = {
        row.name: row.measured["values"] for row in compare([log], [small_recipe("one")], [1], tmp_path, console(), cap=None)
    }
    popular, best, model = (rows[name]["hr@20"] for name in ("popular", "best possible", "one"))

    assert rows["one"]["hr@20_of_best"] == pytest.approx((model - popular) / (best - popular))


def test_recipes_that_cut_a_log_differently_are_not_compared(log: Log, tmp_path: Path) -> None:
    """Their figures would be of different cases."""
    with pytest.raises(RunError, match="split differently"):
        compare(
            [log],
            [small_recipe("a"), replace(small_recipe("b"), split=SplitRule(test=0.2))],
            [1],
            tmp_path,
            console(),
            cap=None,
        )


def test_mean_and_spread_by_hand() -> None:
    """.2 and .4: mean .3, sample standard deviation .1 * sqrt(2); one seed has no spread."""
    rows = [
        Row(log="l", name="n", seed=seed, measured={"values": {"hr@20": value}}, cost={}, machine="m")
        for seed, value in ((1, 0.2), (2, 0.4))
    ]

    assert means_of(rows) == {"hr@20": pytest.approx(0.3)}
    assert spread_of(rows, "hr@20") == pytest.approx(0.1 * 2**0.5)
    assert spread_of(rows[:1], "hr@20") is None
    assert json.loads(json.dumps(rows[0].measured)) == rows[0].measured
