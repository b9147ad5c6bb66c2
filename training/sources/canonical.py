"""Logs in nexttrack's own columns: CSV, JSON Lines, JSON or Parquet; one file or several, a glob, a zip archive, or a folder.

| column | |
|---|---|
| user_id, track_id | required; text or whole numbers. `--user NAME` replaces user_id |
| at, at_s or at_ms | one is required: a time (`training.sources.times`), Unix seconds, Unix milliseconds |
| type | play, skip, complete, like, dislike. `--type` gives one to all rows |
| played_ms, track_ms, session_id, asked, part | optional, see `training.data.log` |
| title, artist, album, group, duration_ms | optional; the first row of a track that has one of them counts |

`--column track_id=song` reads a column under another name. Columns that are not needed are ignored. Everything is read as text
first, so that one odd value breaks one row and not the file.

Skips: the event's type, and `played_ms` if it is given (`model.events.SkipRule`). In a file without types each row is a whole
play. With played_ms, the rule's defaults make it a `skip` or a `complete`; without, it is a `play`. Licence: the log's own.

Files may have different columns and types. A folder `type=skip/` gives its files a column `type`, if that is one of our
columns. The columns of all files are checked before any row is read.
"""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from model.events import SkipRule
from training.data.checks import present
from training.data.log import SCHEMA, TITLES, TYPES, LogError
from training.sources.guesses import guess_columns
from training.sources.reading import Part, Request, missing_columns, part
from training.sources.tables.files import Ignored, find
from training.sources.tables.opening import KINDS, open_table
from training.sources.tables.table import ABOUT_ROWS, FAULT, Table
from training.sources.times import Clock, read_times, read_unix

TIMES = ("at", "at_s", "at_ms")
COLUMNS = (
    *TIMES,
    *(name for name in SCHEMA.names() if name != "at_ms"),
    *(name for name in TITLES.names() if name != "track_id"),
)
BY_PLAYED = "no column type: a row is a skip where played_ms is under 30 s and under 90 % of track_ms, else complete"
ALL_PLAYS = "no column type and no column played_ms: every row is a play, and nothing is a skip"
_RULE = SkipRule()


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read files. The request's `columns` map our column names to the files'."""
    theirs = names(request)
    files, ignored = find(request.places, KINDS)
    opened = [open_table(file, request.encoding, booleans=(theirs["asked"],)) for file in files]
    parts = [
        Ignored(name=file.name, why="is empty") if table is None else canonical_part(table, request)
        for file, table in zip(files, opened, strict=True)
    ]
    yield from ignored
    yield from parts


def names(request: Request) -> dict[str, str]:
    """Return for each of our columns the name that it has in the log. Raises LogError if the request names a column that we do
    not have.
    """
    if unknown := sorted(set(request.columns) - set(COLUMNS)):
        raise LogError(f"--column {unknown[0]}=…: no such column; the columns are {', '.join(COLUMNS)}")
    if request.type is not None and request.type not in TYPES:
        raise LogError(f"--type {request.type}: no such type; the types are {', '.join(TYPES)}")
    return {name: request.columns.get(name, name) for name in COLUMNS}


def canonical_part(table: Table, request: Request) -> Part:
    """Make a part from a table. LogError that names all missing columns."""
    theirs = names(request)
    found = (*table.columns, *(name for name in table.file.keys if name not in table.columns))
    if table.columns or not table.open:  # a file without any JSON object gets its own error
        _check_columns(table, theirs, found, request)
    if request.type is not None or theirs["type"] in found:
        return part(table, _rows(table, theirs, request))
    timed = theirs["played_ms"] in found
    note = BY_PLAYED if timed else ALL_PLAYS
    if not timed and "played_ms" in (guess := _guess(theirs, found, request)):
        note += f"; or perhaps {guess}"
    return part(table, _rows(table, theirs, request, untyped="complete" if timed else "play"), note)


def _check_columns(table: Table, theirs: Mapping[str, str], found: Sequence[str], request: Request) -> None:
    constants = {"user_id": request.user, "type": request.type}
    for name, value in constants.items():
        if value is not None and theirs[name] in found:
            option = name.removesuffix("_id")
            raise LogError(f"{table.file.name}: found a column {theirs[name]} and --{option} {value}; wanted one of the two")
    required = [name for name in ("user_id", "track_id") if constants.get(name) is None]
    missing = [theirs[name] for name in required if theirs[name] not in found]
    missing += [name for name in request.columns.values() if name not in (*found, *missing)]
    if not any(theirs[name] in found for name in TIMES):
        missing.append("one of at, at_s, at_ms")
    if missing:
        guess = _guess(theirs, found, request)
        hint = f"perhaps add {guess}" if guess else "--column OURS=THEIRS reads one under another name"
        if theirs["user_id"] in missing and "user_id=" not in guess:
            hint += ", and --user NAME gives one listener to all rows"
        raise missing_columns(table.file, missing, found, hint)


def _guess(theirs: Mapping[str, str], found: Sequence[str], request: Request) -> str:
    """Return the `--column` options that an error suggests: unused columns of the file in place of the missing ones."""
    constants = {name for name, value in (("user_id", request.user), ("type", request.type)) if value is not None}
    named = {ours for ours, name in theirs.items() if name in found} | set(request.columns) | constants
    if named.intersection(TIMES):
        named.add("at")
    return guess_columns(found, named - {"duration_ms"})  # it makes a catalogue; as track_ms it tells what was a skip


def _rows(table: Table, theirs: Mapping[str, str], request: Request, untyped: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield frames in our columns. In a file without types, `untyped` is the type of a row that is no skip."""
    keys = {name: value for name, value in table.file.keys.items() if name not in table.columns}
    wanted = {ours: name for ours, name in theirs.items() if name in table.columns or (table.open and name not in keys)}
    given = {"user_id": request.user, "type": request.type}
    constants = {ours: keys[name] for ours, name in theirs.items() if name in keys}
    constants |= {name: value for name, value in given.items() if value is not None}
    for frame in table.rows(tuple(dict.fromkeys(wanted.values()))):
        ours = frame.select(*(pl.col(name).alias(ours) for ours, name in wanted.items()), *ABOUT_ROWS)
        ours = ours.with_columns(pl.lit(value, pl.String).alias(name) for name, value in constants.items())
        timed = _timed(ours, request.clock)
        yield timed if untyped is None else _typed(timed, untyped)


def _typed(frame: pl.DataFrame, untyped: str) -> pl.DataFrame:
    """Set the type of whole plays by the skip rule's defaults."""
    absent = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in _PLAY if name not in frame.columns)
    played, track = (present(pl.col(name).cast(pl.String)).cast(pl.Float64, strict=False) for name in _PLAY[:2])
    skipped = (played < _RULE.limit_ms) & (track.is_null() | (played < _RULE.end_share * track))
    derived = pl.when(skipped).then(pl.lit("skip")).otherwise(pl.lit(untyped))
    return absent.with_columns(pl.coalesce("type", derived).alias("type"))


_PLAY = ("played_ms", "track_ms", "type")


def _timed(frame: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Replace the log's own times by `at_ms`. They stay in one column, to be shown with a broken row."""
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
