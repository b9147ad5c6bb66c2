"""Rows of a comparison by hand: means, spreads, times, and which rows are shown together."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from training.reporting.rows import Row, RowsError, append_row, by_name, mean_of, reached, read_rows, values_of


def row(name: str = "one", seed: int | None = 1, *, hr: float = 0.2, curve: tuple[float, ...] = (0.1, 0.3, 0.2)) -> Row:
    """Make a row whose epochs took two seconds each."""
    bucket = {"from": 0, "cases": 3, "hr@20": hr}
    return Row(
        log="log",
        name=name,
        seed=seed,
        protocol={"cases": 5},
        recipe=None,
        measured={"name": name, "values": {"hr@20": hr}, "counts": {"cases": 3}, "by_length": [bucket]},
        cost={"seconds": 6.0},
        curve=[{"seconds": 2.0, "scores": {"ndcg@10": score}} for score in curve],
        machine="m",
        at="2026-01-01T00:00:00+00:00",
    )


def test_mean_and_spread_by_hand() -> None:
    """.2 and .4 have the mean .3 and the sample standard deviation .1 * sqrt(2), for buckets too. One seed has no spread."""
    mean, spread = mean_of([row(hr=0.2), row(seed=2, hr=0.4)])

    assert mean.values == {"hr@20": pytest.approx(0.3), "seconds": 6.0}
    assert spread["hr@20"] == pytest.approx(0.1 * 2**0.5)
    assert mean.by_length == [{"from": 0, "cases": 3, "hr@20": pytest.approx(0.3)}]
    assert mean_of([row()])[1] == {}


def test_epochs_and_seconds_to_a_score() -> None:
    """They count up to the end of the first epoch that reached it."""
    assert reached(row(), "ndcg@10", 0.1) == (1, 2.0)
    assert reached(row(), "ndcg@10", 0.25) == (2, 4.0)
    assert reached(row(), "ndcg@10", 0.31) is None
    assert reached(row(), "auc", 0.1) is None


def test_time_is_to_the_best_of_the_reference_with_the_same_seed() -> None:
    """Seed 2's reference reached .2 only. If one seed never reaches the bar, there is no mean."""
    reference = [row("bar", 1), row("bar", 2, curve=(0.1, 0.2))]
    slow, quick = row(seed=1, curve=(0.1, 0.2)), row(seed=2, curve=(0.2,))

    assert "to_ndcg@10" not in values_of(slow, reference)
    assert values_of(quick, reference)["to_ndcg@10"] == 2.0
    assert values_of(quick, reference)["epochs_to_ndcg@10"] == 1
    assert "to_ndcg@10" not in mean_of([slow, quick], reference)[0].values


def test_file_of_rows_is_read_as_it_was_written_the_last_of_a_key_counting(tmp_path: Path) -> None:
    """Lines are only appended, so the last line of a key is the newest measurement."""
    for one in (row(hr=0.1), row(seed=2), row(hr=0.3)):
        append_row(tmp_path / "rows.jsonl", one)

    assert read_rows(tmp_path / "rows.jsonl") == [row(seed=2), row(hr=0.3)]
    assert read_rows(tmp_path / "none.jsonl") == []


def test_rows_measured_again_under_another_protocol_are_those_shown_after_a_restart(tmp_path: Path) -> None:
    """All rows of the new protocol are shown, and none of the old one."""
    three, again = (replace(row(name), protocol={"cases": 6}) for name in ("three", "one"))
    for one in (row("one"), row("two"), three, again):
        append_row(tmp_path / "rows.jsonl", one)

    assert by_name(read_rows(tmp_path / "rows.jsonl"), "log") == {"three": [three], "one": [again]}


@pytest.mark.parametrize("line", ["{", json.dumps({**asdict(row()), "colour": "red"})])
def test_rows_of_another_version_are_refused(tmp_path: Path, line: str) -> None:
    """The error says what to do."""
    (tmp_path / "rows.jsonl").write_text(line)
    with pytest.raises(RowsError, match="another folder with --out"):
        read_rows(tmp_path / "rows.jsonl")


def test_rows_of_another_protocol_or_log_are_not_shown_together() -> None:
    """Only rows of the newest protocol are shown: first the best possible, last the baselines."""
    old = replace(row("old"), protocol={"cases": 6})
    rows = [old, replace(row(), log="other"), row("popular", None), row("best possible", None), row("one"), row("one", 2)]

    assert {name: len(same) for name, same in by_name(rows, "log").items()} == {"best possible": 1, "one": 2, "popular": 1}
    assert list(by_name(rows, "log")) == ["best possible", "one", "popular"]
