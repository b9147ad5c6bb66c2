"""Navidrome's database (`navidrome.db`), a server of the Subsonic API: scrobbles and stars of its listeners.

Tables used: scrobbles (media_file_id, user_id, submission_time in Unix seconds; since version 0.59), media_file (id,
title, artist, album, duration in seconds), user (id, user_name) and annotation (starred, starred_at). Older databases
count plays, but do not know when they were.

Listeners: the user's name. Tracks: the id of the media file, which is the id in the Subsonic API. Skips: none are
known; a player submits a track once half of it or four minutes were heard, so each scrobble is a `complete`. A star is
a `like` at its time. The database is opened for reading only. Licence: the server's own data.
"""

from collections.abc import Iterator

import polars as pl

from training.sources.reading import Part, Request, part
from training.sources.tables.files import Ignored, find
from training.sources.tables.query import DATABASES, open_database
from training.sources.tables.table import ABOUT_ROWS, FAULT, Table
from training.sources.times import Clock, read_times

_NAMED = """
    coalesce(u.user_name, x.user_id) AS user_id, m.title AS title, m.artist AS artist, m.album AS album,
    1000 * m.duration AS duration_ms"""
_SCROBBLES = f"""
    SELECT x.media_file_id AS track_id, x.submission_time AS time, 'complete' AS type, {_NAMED} FROM scrobbles x
    LEFT JOIN user u ON u.id = x.user_id LEFT JOIN media_file m ON m.id = x.media_file_id"""  # noqa: S608 # constants
_STARS = f"""
    SELECT x.item_id AS track_id, x.starred_at AS time, 'like' AS type, {_NAMED} FROM annotation x
    LEFT JOIN user u ON u.id = x.user_id LEFT JOIN media_file m ON m.id = x.item_id
    WHERE x.item_type = 'media_file' AND x.starred AND x.starred_at IS NOT NULL"""  # noqa: S608 # constants
_COLUMNS = ("user_id", "track_id", "time", "type", "title", "artist", "album", "duration_ms")
_UTC = Clock(zone="UTC")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read databases."""
    files, ignored = find(request.places, DATABASES)
    yield from ignored
    for file in files:
        for query in (_SCROBBLES, _STARS):
            table = open_database(file, query)
            yield part(table, _rows(table))


def _rows(table: Table) -> Iterator[pl.DataFrame]:
    for frame in table.rows(_COLUMNS):
        times = read_times(frame["time"], _UTC)
        yield frame.with_columns(times["at_ms"], pl.coalesce(FAULT, times["fault"]).alias(FAULT)).select(
            *_COLUMNS, "at_ms", *ABOUT_ROWS
        )
