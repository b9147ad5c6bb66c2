"""Logs in nexttrack's own columns: CSV, JSON Lines, JSON or Parquet; a file, several, a glob, a zip archive, or a folder.

| column | |
|---|---|
| user_id, track_id | required; text or whole numbers |
| at, at_s or at_ms | one is required: a time (`training.sources.times`), Unix seconds, Unix milliseconds |
| type | required: play, skip, complete, like, dislike |
| played_ms, track_ms, session_id, asked, part | optional, see `training.data.log` |
| title, artist | optional; the first row of a track that has one of them counts |

`--column track_id=song` reads a column under another name. Columns that are not needed are ignored. Everything is read as text
first, so that one odd value breaks one row and not the file. Skips: the event's type, and `played_ms` where it is given
(`model.events.SkipRule`). Licence: the log's own.

Files need not agree on columns or types. A folder `type=skip/` gives its files a column of that name, if it is one of ours. All
files' columns are checked before a row is read.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from training.data.checks import present
from training.data.log import SCHEMA, LogError
from training.sources.reading import Part, Request, missing_columns, part
from training.sources.tables.files import Ignored, find
from training.sources.tables.opening import KINDS, open_table
from training.sources.tables.table import ABOUT_ROWS, FAULT, Table
from training.sources.times import Clock, read_times, read_unix

TIMES = ("at", "at_s", "at_ms")
TITLES = ("title", "artist")
COLUMNS = (*TIMES, *(name for name in SCHEMA.names() if name != "at_ms"), *TITLES)
_REQUIRED = ("user_id", "track_id", "type")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read a request; its `columns` say which of the log's columns stands for one of ours."""
    if unknown := sorted(set(request.columns) - set(COLUMNS)):
        raise LogError(f"--column {unknown[0]}=…: no such column; the columns are {', '.join(COLUMNS)}")
    files, ignored = find(request.places, KINDS)
    theirs = {name: request.columns.get(name, name) for name in COLUMNS}
    opened = [open_table(file, request.encoding, booleans=(theirs["asked"],)) for file in files]
    for table in opened:
        if table is not None and (table.columns or not table.open):  # a file without any JSON object has its own faults
            _check_columns(table, theirs, request.columns)
    yield from ignored
    for file, table in zip(files, opened, strict=True):
        yield Ignored(name=file.name, why="is empty") if table is None else part(table, _rows(table, theirs, request.clock))


def _check_columns(table: Table, theirs: Mapping[str, str], renamed: Mapping[str, str]) -> None:
    """LogError that names all columns that the table lacks."""
    found = (*table.columns, *(name for name in table.file.keys if name not in table.columns))
    missing = [theirs[name] for name in _REQUIRED if theirs[name] not in found]
    missing += [name for name in renamed.values() if name not in (*found, *missing)]
    if not any(theirs[name] in found for name in TIMES):
        missing.append("one of at, at_s, at_ms")
    if missing:
        raise missing_columns(table.file, missing, found)


def _rows(table: Table, theirs: Mapping[str, str], clock: Clock) -> Iterator[pl.DataFrame]:
    keys = {name: value for name, value in table.file.keys.items() if name not in table.columns}
    wanted = {ours: name for ours, name in theirs.items() if name in table.columns or (table.open and name not in keys)}
    for frame in table.rows(tuple(dict.fromkeys(wanted.values()))):
        ours = frame.select(
            *(pl.col(name).alias(ours) for ours, name in wanted.items()),
            *(pl.lit(keys[name]).alias(ours) for ours, name in theirs.items() if name in keys),
            *ABOUT_ROWS,
        )
        yield _timed(ours, clock)


def _timed(frame: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Put `at_ms` in the place of the log's own times, which stay in one column to be shown with a broken row."""
    read = []
    for name in (name for name in TIMES if name in frame.columns):
        values = frame[name]
        if not isinstance(values.dtype, pl.Datetime):
            values = frame.select(present(pl.col(name).cast(pl.String)))[name]
        read.append(
            read_times(values, clock)
            if name == "at" or isinstance(values.dtype, pl.Datetime)
            else read_unix(values, milliseconds=name == "at_ms")
        )
    at_ms = frame.select(pl.coalesce(one["at_ms"] for one in read)).to_series()
    fault = frame.select(pl.coalesce(one["fault"] for one in read)).to_series()
    given = frame.select(pl.coalesce(pl.col(name).cast(pl.String) for name in TIMES if name in frame.columns)).to_series()
    return frame.drop(TIMES, strict=False).with_columns(
        at_ms.alias("at_ms"),
        given.alias("time"),
        pl.coalesce(pl.col(FAULT), pl.when(at_ms.is_null()).then(fault)).alias(FAULT),
    )
