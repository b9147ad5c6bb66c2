"""KuaiRand-Pure (Gao et al., CIKM 2022): short videos, shown and watched or passed over, with real refusals.

A folder with `events.parquet` (user_id, video_id, time_ms, tab, long_view, is_like, is_hate, …) and, optionally,
`history.parquet` (user_id, pos, video_id, long_view): what the same users met before 2022-04-25, in order but without times.

Skips: not `long_view`, which is watched to the end, or for 18 s where the video is longer. That is the data's own
definition, so `play_time_ms` is not handed on: another rule would decide anew from it. A like or hate is an event of its own.

The history's events are put one minute apart, the newest a minute before any event, and are context only. Of the
others the evaluation asks where `tab` is 1: the feed in which videos start by themselves, where passing over is a real skip.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from training.data.log import LogError
from training.sources.reading import Reading, Source, plain, wanted

EVENTS_FROM_MS = 1_650_812_400_000  # 2022-04-24 23:00 in Beijing (+08:00): the first event comes five minutes later


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read the one folder of `paths`."""
    plain("kuairand", columns)
    if len(paths) != 1 or not (Path(paths[0]) / "events.parquet").is_file():
        raise LogError(f"kuairand: wanted one folder with an events.parquet in it; found {', '.join(paths) or 'none'}")
    folder = Path(paths[0])
    frames = [_events(pl.scan_parquet(folder / "events.parquet"))]
    if (folder / "history.parquet").is_file():
        frames.append(_history(pl.scan_parquet(folder / "history.parquet")))
    return Reading(events=pl.concat(frames, how="diagonal"))


SOURCE = Source(
    about="KuaiRand-Pure: a folder with events.parquet and history.parquet",
    skips="not long_view",
    licence="CC BY-SA 4.0; Gao et al., CIKM 2022, doi 10.1145/3511808.3557624",
    read=read,
)


def _events(raw: pl.LazyFrame) -> pl.LazyFrame:
    raw = wanted(raw, ("user_id", "video_id", "time_ms", "tab", "long_view", "is_like", "is_hate"), "kuairand: events.parquet")
    rows = raw.with_columns(track_id=pl.col("video_id").cast(pl.String), at_ms=pl.col("time_ms"), asked=pl.col("tab") == 1)
    kinds = {"like": pl.col("is_like") == 1, "dislike": pl.col("is_hate") == 1}
    opinions = [rows.filter(said).with_columns(type=pl.lit(kind)) for kind, said in kinds.items()]
    return pl.concat([rows.with_columns(type=_TYPE), *opinions]).select("user_id", "track_id", "at_ms", "type", "asked")


def _history(raw: pl.LazyFrame) -> pl.LazyFrame:
    raw = wanted(raw, ("user_id", "pos", "video_id", "long_view"), "kuairand: history.parquet")
    ago = pl.col("pos").max().over("user_id").cast(pl.Int64) + 1 - pl.col("pos")
    return raw.select(
        "user_id",
        track_id=pl.col("video_id").cast(pl.String),
        at_ms=EVENTS_FROM_MS - 60_000 * ago,
        type=_TYPE,
        asked=pl.lit(value=False),
    )


_TYPE = pl.when(pl.col("long_view") == 1).then(pl.lit("complete")).otherwise(pl.lit("skip"))
