"""The titles of a log's tracks (with artists, albums, groups, durations), from its own rows and from a separate file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.data.checks import checked
from training.data.log import CATALOGUE, EVENTS, TITLES, LogError
from training.sources.guesses import guess_columns
from training.sources.reading import missing_columns
from training.sources.tables.files import find
from training.sources.tables.opening import KINDS, open_table
from training.sources.tables.table import FAULT, PASSED, Table

COLUMNS = (*TITLES.names(), "duration_s")
_FILE = "catalogue.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Titles:
    """How many rows of a catalogue's files were read, and how many of them were unusable."""

    rows: int
    broken: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TitleTable:
    """An open file of a catalogue, and its names for our columns, as far as it has them."""

    table: Table
    wanted: Mapping[str, str]


def open_titles(places: Mapping[str, str], columns: Mapping[str, str], encoding: str | None) -> list[TitleTable]:
    """Open the catalogue in `places`, and check the columns of all files. `columns` maps our column names to the catalogue's.

    Its columns are track_id and any of title, artist, album, group, duration_ms and duration_s. LogError if a file has no
    track_id or none of the others.
    """
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise LogError(f"--catalogue-column {unknown[0]}=…: no such column; the columns are {', '.join(COLUMNS)}")
    theirs = {name: columns.get(name, name) for name in COLUMNS}
    opened = []
    for file in find(places, KINDS)[0]:
        table = open_table(file, encoding)
        if table is None:
            continue
        wanted = {ours: name for ours, name in theirs.items() if name in table.columns}
        missing = [name for name in ("track_id", *columns) if name not in wanted]
        if missing or len(wanted) == 1:
            guess = guess_columns(table.columns, {*wanted, *columns}, catalogue=True)
            lacking = missing or ["one of " + ", ".join(COLUMNS[1:])]
            raise missing_columns(file, lacking, table.columns, f"perhaps add {guess}" if guess else _HINT)
        opened.append(TitleTable(table=table, wanted=wanted))
    return opened


def read_titles(name: str, opened: Sequence[TitleTable], folder: Path) -> Titles:
    """Read an open catalogue into a folder of titles. LogError if it has no track_id, or if its rows do not add up."""
    frames = []
    broken = 0
    for one in opened:
        table, wanted = one.table, one.wanted
        found = 0
        for frame in table.rows(tuple(wanted.values())):
            found += len(frame)
            kept = frame.filter(pl.col(PASSED).is_null())
            named = kept.select(*(pl.col(name).alias(ours) for ours, name in wanted.items()), pl.col(FAULT))
            ids = checked(named.select("track_id", FAULT), FAULT)
            sound = named.with_columns(ids["track_id"]).filter(pl.col("track_id").is_not_null() & pl.col(FAULT).is_null())
            broken += len(kept) - len(sound)
            frames.append(_typed(sound))
        if found != table.count():
            raise LogError(
                f"{table.file.name}: the file has {table.count():,} rows, but {found:,} were read; please report this"
            )
    rows = sum(map(len, frames))
    if not rows:
        raise LogError(f"{name}: the catalogue has no rows with a track_id")
    folder.mkdir(exist_ok=True)
    pl.concat(frames).unique("track_id", keep="first", maintain_order=True).write_parquet(folder / _FILE)
    return Titles(rows=rows + broken, broken=broken)


_HINT = "--catalogue-column OURS=THEIRS reads one under another name"


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    seconds = pl.col("duration_s").cast(pl.Float64, strict=False) * 1000 if "duration_s" in frame.columns else pl.lit(None)
    known = {
        name: pl.col(name).cast(pl.String).str.strip_chars().replace("", None) if name in frame.columns else pl.lit(None)
        for name in TITLES.names()
    }
    known["duration_ms"] = pl.coalesce(known["duration_ms"].cast(pl.Float64, strict=False), seconds).round()
    return frame.select(column.cast(TITLES[name], strict=False).alias(name) for name, column in known.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """How many tracks of a log's events have a line in its catalogue, a title, an artist, and a line in the separate file."""

    lines: int = 0
    titles: int = 0
    artists: int = 0
    beside: int = 0


def write_catalogue(folder: Path, titles: Path) -> Named:
    """Write the catalogue of a log from a folder of titles: tracks of its events, and all tracks of the separate file.

    The first row of a track that has any of them counts. A separate file takes precedence over the log's own rows.
    """
    files = sorted(titles.glob("*.parquet"), key=lambda path: (path.name != _FILE, path.name))
    if not files:
        return Named()
    known = pl.scan_parquet(files, missing_columns="insert", schema=TITLES).unique(
        "track_id", keep="first", maintain_order=True
    )
    heard = pl.scan_parquet(folder / EVENTS).select("track_id").unique()
    beside = [pl.scan_parquet(file).select("track_id") for file in files if file.name == _FILE]
    found = known.join(pl.concat([heard, *beside]), on="track_id", how="semi").sort("track_id").collect(engine="streaming")
    if len(found):
        found.write_parquet(folder / CATALOGUE)
    mine = found.lazy().join(heard, on="track_id", how="semi").collect(engine="streaming")
    return Named(
        lines=len(mine),
        titles=mine["title"].count(),
        artists=mine["artist"].count(),
        beside=sum(len(mine.lazy().join(file, on="track_id", how="semi").collect(engine="streaming")) for file in beside),
    )
