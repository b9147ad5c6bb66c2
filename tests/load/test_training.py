"""What times the way from a log to a model really goes it."""

from pathlib import Path

import polars as pl

from tests.load.training import Size, run, write_events
from training.data.log import open_log


def test_steps_do_their_work_on_what_was_made_up(tmp_path: Path) -> None:
    """The import keeps all events, sound ones every one; the fold reads that log, and its profile names the fold."""
    size = Size(events=2_000, tracks=50)
    write_events(size, tmp_path)
    imported = run("import_parquet", size, tmp_path)
    folded = run("fold", size, tmp_path, profile=True)

    assert (imported["unit"], imported["amount"]) == ("events", 2_000)
    assert open_log(tmp_path / "log").events().select(pl.len()).collect().item() > 1_900
    assert float(imported["seconds"]) > 0
    assert "(fold)" in str(folded["profile"])
