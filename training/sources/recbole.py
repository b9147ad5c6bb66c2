"""RecBole's atomic files (`NAME.inter`), in which MovieLens, Last.fm and many other data sets are shared.

Tab-separated text. The header gives each column a type: user_id:token, item_id:token, timestamp:float (Unix seconds),
and often rating:float. A file `NAME.item` in the same folder names the items: the first of its columns title, name,
movie_title, track_name (token_seq), and artist or artist_name.

Listeners and tracks: the ids as they are. Skips: a rating below 3 is a `skip`, any other row a `complete`; without ratings
nothing is a skip. Ratings of a scale other than 1 to 5 should not be read this way. Licence: the data set's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from training.data.log import LogError
from training.sources.reading import Part, Request, part, require
from training.sources.tables.delimited import Delimited, open_delimited
from training.sources.tables.files import Ignored, find
from training.sources.tables.table import ABOUT_ROWS, FAULT, Table
from training.sources.times import read_unix

_FORM = Delimited(separator="\t", quotes=False)
_TITLES, _ARTISTS = ("title", "name", "movie_title", "track_name"), ("artist", "artist_name")
_DISLIKED = 3


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read files, or folders or archives of them."""
    files, ignored = find(request.places, (".inter", ".item"))
    yield from ignored
    opened = [(file, open_delimited(file, request.encoding, _FORM)) for file in files]
    items = [_typed(table) for file, table in opened if file.kind == ".item" and table is not None]
    titles = pl.concat([_titles(table) for table in items]).unique("track_id", keep="first") if items else None
    if not any(file.kind == ".inter" for file in files):
        raise LogError(f"{', '.join(request.places.values())}: wanted a file that ends in .inter; found {files[0].name}")
    for file, table in opened:
        if table is None:
            yield Ignored(name=file.name, why="is empty")
        elif file.kind == ".inter":
            typed = _typed(table)
            require(typed, ("user_id", "item_id", "timestamp"))
            yield part(typed, _rows(typed, titles))
        else:
            yield Ignored(name=file.name, why="was read for titles")


def _typed(table: Table) -> Table:
    """Remove the types from the names of a table's columns."""
    names = {name.partition(":")[0]: name for name in table.columns}

    def rows(wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
        there = {name: names[name] for name in wanted if name in names}
        for frame in table.rows(tuple(there.values())):
            absent = [pl.lit(None, pl.String).alias(name) for name in wanted if name not in there]
            yield frame.rename({theirs: ours for ours, theirs in there.items()}).with_columns(absent)

    return replace(table, columns=tuple(names), rows=rows)


def _titles(table: Table) -> pl.DataFrame:
    """Read ids, titles and artists from a file of items."""
    require(table, ("item_id",))
    given = {
        "title": next((name for name in _TITLES if name in table.columns), "title"),
        "artist": next((name for name in _ARTISTS if name in table.columns), "artist"),
    }
    frames = [
        frame.select(pl.col("item_id").alias("track_id"), *(pl.col(name).alias(ours) for ours, name in given.items()))
        for frame in table.rows(("item_id", *given.values()))
    ]
    return pl.concat(frames).drop_nulls("track_id")


def _rows(table: Table, titles: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
    for frame in table.rows(("user_id", "item_id", "timestamp", "rating")):
        times = read_unix(frame["timestamp"], milliseconds=False)
        rating = pl.col("rating").cast(pl.Float64, strict=False)
        unread = rating.is_null() & (pl.col("rating") != "")
        events = frame.with_columns(times["at_ms"], times["fault"].alias("unread")).select(
            "user_id",
            pl.col("item_id").alias("track_id"),
            "timestamp",
            "rating",
            "at_ms",
            *(name for name in ABOUT_ROWS if name != FAULT),
            pl.coalesce(FAULT, "unread", pl.when(unread).then(pl.lit("unreadable rating"))).alias(FAULT),
            type=pl.when(rating < _DISLIKED).then(pl.lit("skip")).otherwise(pl.lit("complete")),
        )
        yield events if titles is None else events.join(titles, on="track_id", how="left", maintain_order="left")
