"""The #nowplaying sessions in their published split: tracks that people tweeted, in order, without skips.

A folder with `train.csv`, `valid.csv` and `test.csv`, tab separated: session_id, item_id, timestamp (Unix seconds). The
people are not known, so each session is a listener. Each file is a part of the split, which the log keeps. As in the
published comparisons on it, nothing is asked about a session's first track; tweets of one second keep the file's order, a
millisecond apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from training.data.log import PARTS, LogError
from training.sources.reading import Reading, Source, plain, wanted


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read the one folder of `paths`."""
    plain("nowplaying", columns)
    found = {part: Path(path) / f"{part}.csv" for path in paths for part in PARTS}
    if len(paths) != 1 or not all(file.is_file() for file in found.values()):
        raise LogError(
            f"nowplaying: wanted one folder with train.csv, valid.csv and test.csv; found {', '.join(paths) or 'none'}"
        )
    return Reading(events=pl.concat([_part(file, part) for part, file in found.items()]))


SOURCE = Source(
    about="#nowplaying sessions: a folder with train.csv, valid.csv, test.csv (tab separated)",
    skips="none are known: every event is a play",
    licence="terms of the original data not found: for measuring, not for passing on",
    read=read,
)


def _part(file: Path, part: str) -> pl.LazyFrame:
    raw = pl.scan_csv(file, separator="\t", infer_schema=False)
    wanted(raw, ("session_id", "item_id", "timestamp"), f"nowplaying: {file.name}")
    at_s = pl.col("timestamp").cast(pl.Float64, strict=False)
    return raw.select(
        pl.col("session_id").alias("user_id"),
        pl.col("item_id").alias("track_id"),
        "session_id",
        "timestamp",
        at_ms=(at_s * 1000).cast(pl.Int64, strict=False) + pl.int_range(pl.len()).over("session_id", "timestamp"),
        type=pl.lit("play"),
        asked=pl.int_range(pl.len()).over("session_id") > 0,
        part=pl.lit(part),
    )
