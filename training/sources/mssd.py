"""Spotify's Music Streaming Sessions Dataset (Brost, Mehrotra & Jehan, WWW 2019): sessions of 10 to 20 tracks, with skips.

CSV files with one row for each playback: session_id, session_position (from 1), session_length, track_id_clean, skip_1 (left
very early), skip_2 (left early), skip_3 (left, most of it heard), not_skipped, context_switch, …, hour_of_day, date, and more.
Track features are in separate files, which this reader does not need. It was tested on invented rows only, because the data is
not freely available.

Skips: `skip_2`, as in the papers that use the data. Sessions cannot be assigned to people, so each session is a listener. Only
the date and the hour are known, so playbacks are put three minutes apart, within that hour.
"""

from collections.abc import Iterator

import polars as pl

from training.sources.reading import Part, Request, part, require, tables
from training.sources.tables.files import Ignored
from training.sources.tables.table import ABOUT_ROWS, Table

_COLUMNS = ("session_id", "session_position", "track_id_clean", "skip_2", "date", "hour_of_day")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read log files, or folders of them."""
    for table in tables(request, (".csv",)):
        if isinstance(table, Ignored):
            yield table
        else:
            require(table, _COLUMNS)
            yield part(table, _rows(table))


def _rows(table: Table) -> Iterator[pl.DataFrame]:
    skip = pl.col("skip_2").str.to_lowercase()
    day = pl.col("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms")).dt.epoch("ms")
    hour, position = (pl.col(name).cast(pl.Int64, strict=False) for name in ("hour_of_day", "session_position"))
    for frame in table.rows(_COLUMNS):
        yield frame.select(
            pl.col("session_id").alias("user_id"),
            pl.col("track_id_clean").alias("track_id"),
            *_COLUMNS[:2],
            *_COLUMNS[3:],
            *ABOUT_ROWS,
            at_ms=day + hour * 3_600_000 + (position - 1) * 180_000,
            type=pl.when(skip == "true").then(pl.lit("skip")).when(skip == "false").then(pl.lit("complete")),
        )
