"""Comparison of recipes: rows are measured once, averaged, and only compared under one protocol."""

from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tests.training.worlds import small_recipe
from training.__main__ import main
from training.compare import PAGE, ROWS, compare, follow
from training.data.log import EVENTS, Log, open_log
from training.fitting.checkpoint import RunError
from training.recipe import SplitRule
from training.reporting.rows import Row, read_rows, values_of
from training.simulator.simulate import simulate


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Simulate a small log."""
    return simulate(tmp_path_factory.mktemp("compare") / "world", listeners=60, tracks=80, artists=20)


def console() -> Console:
    """Make a console whose output can be read."""
    return Console(file=StringIO(), width=200)


def test_comparison_goes_on_where_it_stopped(log: Log, tmp_path: Path) -> None:
    """A second recipe costs only its own time. The rows of the first recipe and of the baselines stay the same byte for
    byte.
    """
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
    assert "other" in (tmp_path / PAGE).read_text()


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """The rows of a comparison, what it printed, and its page."""

    rows: list[Row]
    said: str
    page: str


@pytest.fixture(scope="module")
def compared(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Compare one recipe with the baselines."""
    folder, out = tmp_path_factory.mktemp("compared"), StringIO()
    rows = compare([log], [small_recipe("one")], [1], folder, Console(file=out, width=200), cap=100)
    return Compared(rows=rows, said=out.getvalue(), page=(folder / PAGE).read_text())


def test_shares_of_the_best_possible_are_measured_against_the_same_rows(compared: Compared) -> None:
    """A trained recipe's share is (model - popular) / (best - popular) of the rows in the same table."""
    rows = {row.name: row.measured["values"] for row in compared.rows}
    popular, best, model = (rows[name]["hr@20"] for name in ("popular", "best possible", "one"))

    assert rows["one"]["hr@20_of_best"] == pytest.approx((model - popular) / (best - popular))


def test_recipes_that_cut_a_log_differently_are_not_compared(log: Log, tmp_path: Path) -> None:
    """Their figures would belong to different cases."""
    with pytest.raises(RunError, match=r"another protocol than a \(split\)"):
        compare(
            [log],
            [small_recipe("a"), replace(small_recipe("b"), split=SplitRule(test=0.2))],
            [1],
            tmp_path,
            console(),
        )


def test_one_protocol_for_all(log: Log, tmp_path: Path) -> None:
    """Split, cases and start come from the protocol. The history's length and the training stay the recipe's own."""
    house = replace(
        small_recipe("house", length=5, fit=replace(small_recipe().fit, prior_half_life_days=4.0, valid_cases=77)),
        split=SplitRule(test=0.2),
    )
    followed = follow(small_recipe("other", length=9), house)
    rows = compare([log], [house, followed], [1], tmp_path, console(), cap=50)

    assert (followed.split, followed.fit.prior_half_life_days, followed.fit.valid_cases) == (SplitRule(test=0.2), 4.0, 77)
    assert (followed.history.length, followed.fit.learning_rate) == (9, small_recipe().fit.learning_rate)
    assert {row.measured["counts"]["cases"] for row in rows} == {50}


def test_recipe_that_changed_is_measured_again(log: Log, tmp_path: Path) -> None:
    """A row belongs to a recipe and not to its name, so new figures replace the old ones."""
    one = small_recipe("one")
    changed = replace(one, loss=replace(one.loss, pair=0.5))
    compare([log], [one], [1], tmp_path, console(), cap=50)
    rows = compare([log], [changed], [1], tmp_path, console(), cap=50)

    assert [row.recipe and row.recipe["loss"]["pair"] for row in rows if row.name == "one"] == [0.5]
    assert read_rows(tmp_path / ROWS) == rows


def test_log_that_changed_is_measured_again(tmp_path: Path) -> None:
    """A row belongs to a log's content, not to its name and size. Here some skips become plays, in as many events."""
    out, one = tmp_path / "out", small_recipe("one")
    before = simulate(tmp_path / "world", listeners=60, tracks=80, artists=20)
    compare([before], [one], [1], out, console(), cap=50)
    events = pl.read_parquet(before.folder / EVENTS)
    mended = events.with_columns(played_ms=pl.when(pl.col("type") == "skip").then(10**6).otherwise("played_ms"))
    mended.write_parquet(before.folder / EVENTS)
    rows = compare([open_log(before.folder)], [one], [1], out, console(), cap=50)

    assert len({str(row.protocol) for row in rows}) == 1
    assert len([row for row in rows if row.name == "one"]) == 1
    assert len((out / ROWS).read_text().splitlines()) == 2 * len(rows)


def test_time_to_the_references_best_is_shown(compared: Compared) -> None:
    """The reference itself needs the seconds up to its best epoch. The row keeps the whole curve."""
    (row,) = (row for row in compared.rows if row.name == "one")
    best = max(range(len(row.curve)), key=lambda number: row.curve[number]["scores"]["ndcg@10"])
    seconds = sum(epoch["seconds"] for epoch in row.curve[: best + 1])

    assert values_of(row, [row])["to_ndcg@10"] == pytest.approx(seconds)
    assert "s to NDCG" in compared.said
    assert "something kept to read: " in compared.said
    assert "times</b> to the best validation scores of one" in compared.page


def test_command_gives_all_recipes_one_protocol_and_few_epochs(log: Log, tmp_path: Path) -> None:
    """All recipes get the split of the named protocol, and run no more epochs than given."""
    small = "[network]\nwidth = 8\nlayers = 1\n[fit]\nvalid_cases = 50\n"
    (tmp_path / "one.toml").write_text(f'name = "one"\n{small}')
    (tmp_path / "house.toml").write_text('name = "house"\n[split]\ntest = 0.2\n')
    recipes = [str(tmp_path / "one.toml"), f"{tmp_path / 'one.toml'}:network.width=16"]
    options = ["--seeds", "1", "--epochs", "1", "--cases", "50", "--protocol", str(tmp_path / "house.toml")]
    assert main(["compare", *recipes, "--log", str(log.folder), "--out", str(tmp_path / "out"), *options]) == 0
    rows = read_rows(tmp_path / "out" / ROWS)

    assert [len(row.curve) for row in rows if row.name.startswith("one")] == [1, 1]
    assert {row.protocol["split"]["test"] for row in rows} == {0.2}
