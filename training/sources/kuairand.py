"""KuaiRand-Pure (Gao et al., CIKM 2022): short videos that were shown, and watched or skipped. The skips are real refusals.

A folder with `events.parquet` (user_id, video_id, time_ms, tab, long_view, is_like, is_hate, …) and, optionally,
`history.parquet` (user_id, pos, video_id, long_view): videos of the same users before 2022-04-25, in order but without times.

Skips: not `long_view`, which means watched to the end, or for 18 s if the video is longer. This is the data's own definition,
so `play_time_ms` is not imported: the skip rule would decide again from it. A like or hate is an event of its own.

The history's events are put one minute apart, the newest a minute before any event, and are context only. Among the other
events, cases are those with `tab` 1: the feed in which videos start by themselves, so that passing over is a real skip.
"""

from collections.abc import Iterator

import polars as pl

from training.data.log import LogError
from training.sources.reading import EXTRA, Part, Request, part, require, tables
from training.sources.tables.files import Ignored
from training.sources.tables.table import ABOUT_ROWS, Table

EVENTS_FROM_MS = 1_650_812_400_000  # 2022-04-24 23:00 in Beijing (+08:00), five minutes before the first event
EVENTS = ("user_id", "video_id", "time_ms", "tab", "long_view", "is_like", "is_hate")
_HISTORY = ("user_id", "pos", "video_id", "long_view")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read the one folder of a request."""
    found: dict[str, Table] = {}
    for table in tables(request, (".parquet",)):
        if isinstance(table, Ignored):
            yield table
        elif table.file.path.name in ("events.parquet", "history.parquet") and table.file.path.name not in found:
            found[table.file.path.name] = table
        else:
            yield Ignored(name=table.file.name, why="is neither events.parquet nor history.parquet")
    if "events.parquet" not in found:
        raise LogError(f"kuairand: wanted one folder with an events.parquet in it; found {', '.join(found) or 'none'}")
    require(found["events.parquet"], EVENTS)
    yield part(found["events.parquet"], shown(found["events.parquet"]))
    if "history.parquet" in found:
        require(found["history.parquet"], _HISTORY)
        yield part(found["history.parquet"], _history(found["history.parquet"]))


def shown(table: Table) -> Iterator[pl.DataFrame]:
    """Yield one event for each row, and one more for each like or hate."""
    kinds = {"like": pl.col("is_like") == "1", "dislike": pl.col("is_hate") == "1"}
    for frame in table.rows(EVENTS):
        rows = frame.with_columns(
            track_id=pl.col("video_id"), at_ms=pl.col("time_ms").cast(pl.Int64, strict=False), asked=pl.col("tab") == "1"
        )
        opinions = [
            rows.filter(said).with_columns(pl.lit(kind).alias("type"), pl.lit(value=True).alias(EXTRA))
            for kind, said in kinds.items()
        ]
        played = rows.with_columns(_TYPE.alias("type"), pl.lit(value=False).alias(EXTRA))
        yield pl.concat([played, *opinions]).select("user_id", "track_id", "at_ms", "type", "asked", EXTRA, *ABOUT_ROWS)


def _history(table: Table) -> Iterator[pl.DataFrame]:
    frame = pl.concat(table.rows(_HISTORY))
    place = pl.col("pos").cast(pl.Int64, strict=False)
    yield frame.select(
        "user_id",
        "pos",
        *ABOUT_ROWS,
        track_id=pl.col("video_id"),
        at_ms=EVENTS_FROM_MS - 60_000 * (place.max().over("user_id") + 1 - place),
        type=_TYPE,
        asked=pl.lit(value=False),
    )


_TYPE = pl.when(pl.col("long_view") == "1").then(pl.lit("complete")).when(pl.col("long_view") == "0").then(pl.lit("skip"))
