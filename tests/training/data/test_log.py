"""The canonical log on disk: found, refused, replaced whole or not at all."""

from pathlib import Path

import polars as pl
import pytest

from training.data.log import ABOUT, EVENTS, SCHEMA, LogError, describe, open_log, replacing, write_about


def _write(folder: Path, mark: str) -> None:
    pl.DataFrame(schema=SCHEMA).write_parquet(folder / EVENTS)
    write_about(folder, {"mark": mark})


def _write_half(folder: Path) -> None:
    _write(folder, "new")
    raise OSError("disk full")


def test_a_folder_without_a_log_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    """A newcomer who names the wrong folder reads what was wanted and what to do."""
    with pytest.raises(LogError, match="python -m training import"):
        open_log(tmp_path)


def test_a_log_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Nothing stands at the final place while the log is being written; then all of it does."""
    out = tmp_path / "log"
    with replacing(out, force=False) as folder:
        _write(folder, "new")
        seen_early = out.exists()

    assert not seen_early
    assert open_log(out).about == {"mark": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_failed_import_leaves_the_old_log_and_no_litter(tmp_path: Path) -> None:
    """An error half way, even with --force, costs nothing that was there before."""
    out = tmp_path / "log"
    with replacing(out, force=False) as folder:
        _write(folder, "old")

    with pytest.raises(OSError, match="disk full"), replacing(out, force=True) as folder:
        _write_half(folder)

    assert open_log(out).about == {"mark": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_force_replaces_a_log(tmp_path: Path) -> None:
    """With --force the new log takes the old one's place."""
    out = tmp_path / "log"
    for mark in ("old", "new"):
        with replacing(out, force=True) as folder:
            _write(folder, mark)

    assert open_log(out).about == {"mark": "new"}


def test_an_existing_log_is_not_replaced_without_force(tmp_path: Path) -> None:
    """A log is an hour's work for someone: it goes only when asked for."""
    (tmp_path / ABOUT).write_text("{}")

    with pytest.raises(LogError, match="--force"), replacing(tmp_path, force=False):
        pass


def test_force_deletes_nothing_but_logs(tmp_path: Path) -> None:
    """`--out ~ --force` does not delete a home."""
    (tmp_path / "letters.txt").write_text("dear")

    with pytest.raises(LogError, match="no log"), replacing(tmp_path, force=True):
        pass

    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_a_description_counts_and_dates_the_events() -> None:
    """log.json's figures, by hand on three events."""
    events = pl.LazyFrame(
        {
            "user_id": ["a", "a", "b"],
            "track_id": ["x", "x", "x"],
            "at_ms": [0, 1_500, 86_400_000],
            "type": ["play", "skip", "play"],
        }
    )

    assert describe(events) == {
        "events": 3,
        "users": 2,
        "tracks": 1,
        "types": {"play": 2, "skip": 1, "complete": 0, "like": 0, "dislike": 0},
        "first": "1970-01-01T00:00:00.000+00:00",
        "last": "1970-01-02T00:00:00.000+00:00",
    }
