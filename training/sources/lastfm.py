"""Scrobbles of Last.fm: a person's own history as CSV, and the data set of 1,000 listeners (Celma, 2010) as TSV.

| file | columns |
|---|---|
| CSV with a header | artist, album, track (or name, title), and uts, timestamp, date or utc_time |
| CSV without a header (lastfm-to-csv) | artist, album, track, date |
| userid-timestamp-artid-artname-traid-traname.tsv | as its name says; no header, no quotes |

Times are UTC, as Last.fm gives them: `31 Jan 2026, 10:00`, or Unix time. A row without a time is a track that was playing
during the export. A row of 1970 is a scrobble whose time was lost. Both are passed over.

Listeners: the TSV names them. In a CSV the listener is `--user`, the name in the header (`Date#rj`), or the file's name
(`rj.csv`, `recenttracks-rj-1769853600.csv`). Tracks: `Artist - Title`, since the MusicBrainz ids are often missing. Skips: none
are known. A track is scrobbled once half of it or four minutes were heard, so each row is a `complete`. Licence: the person's
own data, or non-commercial for the data set.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl

from training.sources.names import named_tracks
from training.sources.reading import Part, Request, missing_columns, part
from training.sources.tables.delimited import Delimited, open_delimited
from training.sources.tables.files import File, Ignored, find
from training.sources.tables.table import ABOUT_ROWS, FAULT, PASSED, Table
from training.sources.times import Clock, read_times

PLAYING = "track that was playing during the export"
LOST = "scrobble of 1970, whose time was lost"
_UTC = Clock(zone="UTC")
_NAMES = {
    "artist": ("artist", "artist_name"),
    "title": ("track", "name", "track_name", "title"),
    "album": ("album", "album_name"),
    "time": ("uts", "timestamp", "date", "utc_time", "time"),
}
_LISTENERS = Delimited(separator="\t", names=("user_id", "time", "artist_id", "artist", "track_id", "title"), quotes=False)
_PLAIN = Delimited(separator=",", names=("artist", "album", "title", "time"))
_1971_MS = 31_536_000_000
_EXPORT = re.compile(r"recenttracks-(.+)-\d+")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read files, or folders or archives of them."""
    files, ignored = find(request.places, (".csv", ".tsv"))
    yield from ignored
    for file in files:
        table = open_delimited(file, request.encoding, _LISTENERS if file.kind == ".tsv" else None)
        if table is None:
            yield Ignored(name=file.name, why="is empty")
            continue
        listener = request.user or _listener(file, table)
        theirs = _columns(table.columns)
        if file.kind == ".tsv":
            theirs = {name: name for name in ("user_id", "time", "artist", "title")}
        elif {"artist", "title", "time"} - theirs.keys():
            if len(table.columns) != len(_PLAIN.names or ()):
                raise missing_columns(file, ["artist, track and one of uts, date, utc_time"], table.columns)
            table = open_delimited(file, request.encoding, _PLAIN) or table
            theirs = {name: name for name in table.columns}
        yield part(table, _rows(table, theirs, listener))


def _columns(found: tuple[str, ...]) -> dict[str, str]:
    """Find our columns in a file. Returns the file's names, whose case may differ. A listener's name may follow a `#`."""
    plain = {name.partition("#")[0].strip().lower(): name for name in found}
    there = {ours: [plain[name] for name in names if name in plain] for ours, names in _NAMES.items()}
    return {ours: names[0] for ours, names in there.items() if names}


def _listener(file: File, table: Table) -> str:
    named = next((name.partition("#")[2] for name in table.columns if "#" in name), "")
    stem = PurePosixPath(file.member or file.path.name).name.partition(".")[0]
    export = _EXPORT.fullmatch(stem)
    return named or (export[1] if export else stem)


def _rows(table: Table, theirs: dict[str, str], listener: str) -> Iterator[pl.DataFrame]:
    for frame in table.rows(tuple(theirs.values())):
        ours = frame.rename({name: name_of for name_of, name in theirs.items()})
        times = read_times(ours["time"], _UTC)
        passed = (
            pl.when(pl.col("time").str.strip_chars() == "")
            .then(pl.lit(PLAYING))
            .when(times["at_ms"] < _1971_MS)
            .then(pl.lit(LOST))
        )
        ours = ours.with_columns(
            named_tracks(ours["artist"], ours["title"]).alias("track_id"),
            times["at_ms"],
            pl.lit("complete").alias("type"),
            pl.coalesce(FAULT, times["fault"]).alias(FAULT),
        )
        ours = ours.with_columns(pl.coalesce(PASSED, pl.when(pl.col(FAULT).is_null()).then(passed)).alias(PASSED))
        ours = ours if "user_id" in theirs else ours.with_columns(pl.lit(listener).alias("user_id"))
        album = [name for name in ("album",) if name in theirs]
        yield ours.select("user_id", "track_id", "at_ms", "type", "time", "title", "artist", *album, *ABOUT_ROWS)
