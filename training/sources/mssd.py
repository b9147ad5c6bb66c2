"""Spotify's Music Streaming Sessions Dataset (Brost, Mehrotra & Jehan, WWW 2019): sessions of 10 to 20 tracks, with skips.

CSV files, a row a playback: session_id, session_position (from 1), session_length, track_id_clean, skip_1 (left very early),
skip_2 (left early), skip_3 (left, most of it heard), not_skipped, context_switch, …, hour_of_day, date, and more. Track
features lie in files of their own, which this reader does not need. Tested on made-up rows: the data is not to be had freely.

Skips: `skip_2`, as in the papers that use the data. Nobody's sessions can be tied together, so each session is a listener.
Only the date and the hour are known: a playback is put three minutes after the one before, within that hour.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from training.sources.reading import Reading, Source, files, plain, wanted

_COLUMNS = ("session_id", "session_position", "track_id_clean", "skip_2", "date", "hour_of_day")


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read log files, or folders of them."""
    plain("mssd", columns)
    raw = wanted(pl.scan_csv(files(paths, ".csv", ".csv.gz"), infer_schema=False), _COLUMNS, "mssd")
    skip = pl.col("skip_2").str.to_lowercase()
    day = pl.col("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms")).dt.epoch("ms")
    hour, position = (pl.col(name).cast(pl.Int64, strict=False) for name in ("hour_of_day", "session_position"))
    return Reading(
        events=raw.select(
            pl.col("session_id").alias("user_id"),
            pl.col("track_id_clean").alias("track_id"),
            *_COLUMNS[:2],
            *_COLUMNS[3:],
            at_ms=day + hour * 3_600_000 + (position - 1) * 180_000,
            type=pl.when(skip == "true").then(pl.lit("skip")).when(skip == "false").then(pl.lit("complete")),
        )
    )


SOURCE = Source(
    about="Spotify's Music Streaming Sessions Dataset: its log_*.csv files, or a folder of them",
    skips="skip_2: played only briefly",
    licence="research use on Spotify's terms; Brost, Mehrotra & Jehan, WWW 2019",
    read=read,
)
