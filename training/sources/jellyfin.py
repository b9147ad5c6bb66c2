"""Jellyfin's and Emby's plugin Playback Reporting: its database (`playback_reporting.db`), or its backup as TSV.

Columns of the table PlaybackActivity, and of the TSV, which has no header: DateCreated (when the playback began, by the
server's clock), UserId, ItemId, ItemType, ItemName, PlaybackMethod, ClientName, DeviceName, PlayDuration (seconds).

Rows whose ItemType is not Audio (films, episodes) are passed over. Times have no zone, so `--timezone` must give the server's.
Listeners and tracks: the ids of user and item. Skips: heard for less than 30 s. The database is opened for reading only.
Licence: the server's own data.
"""

from collections.abc import Iterator

import polars as pl

from training.sources.reading import Part, Request, part
from training.sources.tables.delimited import Delimited, open_delimited
from training.sources.tables.files import Ignored, find
from training.sources.tables.query import DATABASES, open_database
from training.sources.tables.table import ABOUT_ROWS, FAULT, PASSED, Table
from training.sources.times import Clock, read_times

NO_MUSIC = "playback that is no music"
_COLUMNS = ("DateCreated", "UserId", "ItemId", "ItemType", "ItemName", "PlayDuration")
_BACKUP = Delimited(
    separator="\t", names=(*_COLUMNS[:5], "PlaybackMethod", "ClientName", "DeviceName", "PlayDuration"), quotes=False
)
_QUERY = f"SELECT {', '.join(_COLUMNS)} FROM PlaybackActivity"  # noqa: S608 # constants
_LEFT_S = 30


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read databases and backups."""
    files, ignored = find(request.places, (*DATABASES, ".tsv", ".txt"))
    yield from ignored
    for file in files:
        table = open_database(file, _QUERY) if file.kind in DATABASES else open_delimited(file, request.encoding, _BACKUP)
        yield Ignored(name=file.name, why="is empty") if table is None else part(table, _rows(table, request.clock))


def _rows(table: Table, clock: Clock) -> Iterator[pl.DataFrame]:
    for frame in table.rows(_COLUMNS):
        times = read_times(frame["DateCreated"], clock)
        seconds = pl.col("PlayDuration").cast(pl.Float64, strict=False)
        music = pl.col("ItemType") == "Audio"
        judged = frame.with_columns(
            pl.coalesce(PASSED, pl.when(pl.col(FAULT).is_null() & ~music).then(pl.lit(NO_MUSIC))).alias(PASSED),
            pl.coalesce(FAULT, times["fault"]).alias(FAULT),
            times["at_ms"],
        )
        yield judged.select(
            pl.col("UserId").alias("user_id"),
            pl.col("ItemId").alias("track_id"),
            pl.col("ItemName").alias("title"),
            pl.col("DateCreated").alias("time"),
            "at_ms",
            *ABOUT_ROWS,
            type=pl.when(seconds < _LEFT_S).then(pl.lit("skip")).when(seconds.is_not_null()).then(pl.lit("complete")),
            played_ms=seconds * 1000,
        )
