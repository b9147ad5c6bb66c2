"""The #nowplaying sessions in their published split: tracks that people tweeted, in order, without skips.

A folder with `train.csv`, `valid.csv` and `test.csv`, tab separated: session_id, item_id, timestamp (Unix seconds). The
people are not known, so each session is a listener. Each file is a part of the split, which the log keeps. As in the
published comparisons on it, nothing is asked about a session's first track; tweets of one second keep the file's order, a
millisecond apart. A file is read whole.
"""

from collections.abc import Iterator

import polars as pl

from training.data.log import PARTS, LogError
from training.sources.reading import Part, Request, part, require, tables
from training.sources.tables.delimited import Delimited
from training.sources.tables.files import Ignored
from training.sources.tables.table import ABOUT_ROWS, FAULT, Table
from training.sources.times import read_unix

_COLUMNS = ("session_id", "item_id", "timestamp")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read the one folder of a request."""
    found: dict[str, Table] = {}
    for table in tables(request, (".csv",), form=Delimited(separator="\t")):
        split = "" if isinstance(table, Ignored) else table.file.path.name.partition(".")[0]
        if isinstance(table, Ignored):
            yield table
        elif split in PARTS and split not in found:
            require(table, _COLUMNS)
            found[split] = table
        else:
            yield Ignored(name=table.file.name, why="is no part of the split: train.csv, valid.csv, test.csv")
    if set(found) != set(PARTS):
        raise LogError(
            "nowplaying: wanted one folder with train.csv, valid.csv and test.csv;"
            f" found {', '.join(table.file.name for table in found.values()) or 'none of them'}"
        )
    for split in PARTS:
        yield part(found[split], _rows(found[split], split))


def _rows(table: Table, split: str) -> Iterator[pl.DataFrame]:
    raw = pl.concat(table.rows(_COLUMNS))
    times = read_unix(raw["timestamp"], milliseconds=False)
    place = pl.int_range(pl.len())
    yield raw.with_columns(times["at_ms"], pl.coalesce(pl.col(FAULT), times["fault"]).alias(FAULT)).select(
        pl.col("session_id").alias("user_id"),
        pl.col("item_id").alias("track_id"),
        "session_id",
        "timestamp",
        *ABOUT_ROWS,
        at_ms=pl.col("at_ms") + place.over("session_id", "timestamp"),
        type=pl.lit("play"),
        asked=place.over("session_id") > 0,
        part=pl.lit(split),
    )
