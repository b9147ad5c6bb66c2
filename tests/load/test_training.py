"""The measurement of training speed really runs the steps from a log to a model."""

from pathlib import Path

import polars as pl

from tests.load.training import STEPS, Size, run, write_events
from training.data.log import open_log


def test_steps_do_their_work_on_what_was_made_up(tmp_path: Path) -> None:
    """The import keeps all events. The fold reads that log, and its profile names the fold."""
    size = Size(events=2_000, tracks=50)
    write_events(size, tmp_path)
    unit, amount, seconds = STEPS["import_parquet"](size, tmp_path)
    folded = run("fold", size, tmp_path, profile=True)

    assert (unit, amount) == (folded["unit"], folded["amount"]) == ("events", 2_000)
    assert open_log(tmp_path / "log").events().select(pl.len()).collect().item() > 1_900
    assert seconds > 0
    assert float(folded["seconds"]) > 0
    assert "fold)" in str(folded["profile"])
