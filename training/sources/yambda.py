"""Yambda (Ploshkin et al., RecSys 2025): listening and opinions of listeners of Yandex Music, in its flat form.

Parquet or CSV files: listens (uid, item_id, timestamp, is_organic, played_ratio_pct, track_length_seconds), likes and dislikes
(uid, item_id, timestamp, is_organic). Unlikes and undislikes are passed over. multi_event has all of these and a column
event_type; it is ignored if listens is in the same folder.

Times count seconds from an unknown day, in steps of five. The import counts them from 1 January 2024, so dates mean nothing,
but order and gaps do. Skips: less than half of the track heard, which is the authors' definition of a listen. So the time heard
is not imported: the skip rule would decide again from it. Licence: Apache 2.0.
"""

from collections.abc import Iterator

import polars as pl

from training.data.log import LogError
from training.sources.reading import Part, Request, part, require, tables
from training.sources.tables.files import Ignored
from training.sources.tables.table import ABOUT_ROWS, FAULT, PASSED, Table

FROM_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
TAKEN_BACK = "opinion that was taken back"
_COLUMNS = ("uid", "item_id", "timestamp")
_EVENTS = {"listens": "listen", "likes": "like", "dislikes": "dislike", "unlikes": "unlike", "undislikes": "undislike"}
_ALL = "multi_event"


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read the data set's files, or a folder of them."""
    found: list[tuple[str, Table]] = []
    for table in tables(request, (".parquet", ".csv")):
        if isinstance(table, Ignored):
            yield table
            continue
        name = (table.file.member or table.file.path.name).rpartition("/")[2].partition(".")[0]
        if name in (*_EVENTS, _ALL):
            found.append((name, table))
        else:
            yield Ignored(name=table.file.name, why=f"is none of {', '.join((*_EVENTS, _ALL))}")
    if not found:
        raise LogError(f"{', '.join(request.places.values())}: wanted a file called listens or {_ALL}; found neither")
    apart = any(name == "listens" for name, _ in found)
    for name, table in found:
        if name == _ALL and apart:
            yield Ignored(name=table.file.name, why="has the events of the files beside it")
            continue
        listens = name in ("listens", _ALL)
        require(table, (*_COLUMNS, *(["played_ratio_pct"] if listens else []), *(["event_type"] if name == _ALL else [])))
        yield part(table, _rows(table, _EVENTS.get(name)))


def _rows(table: Table, event: str | None) -> Iterator[pl.DataFrame]:
    for frame in table.rows((*_COLUMNS, "played_ratio_pct", "event_type")):
        kind = pl.col("event_type") if event is None else pl.lit(event)
        ratio = pl.col("played_ratio_pct").cast(pl.Float64, strict=False)
        heard = pl.when(ratio < 50).then(pl.lit("skip")).when(ratio.is_not_null()).then(pl.lit("complete"))
        back = kind.is_in(["unlike", "undislike"]) & pl.col(FAULT).is_null()
        yield frame.select(
            pl.col("uid").alias("user_id"),
            pl.col("item_id").alias("track_id"),
            "timestamp",
            "played_ratio_pct",
            *(name for name in ABOUT_ROWS if name != PASSED),
            pl.coalesce(PASSED, pl.when(back).then(pl.lit(TAKEN_BACK))).alias(PASSED),
            at_ms=FROM_MS + (pl.col("timestamp").cast(pl.Float64, strict=False) * 1000).cast(pl.Int64, strict=False),
            type=pl.when(kind == "listen").then(heard).otherwise(kind),
        )
