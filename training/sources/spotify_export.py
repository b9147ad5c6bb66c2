"""A person's own Spotify export ("extended streaming history"): JSON files, one array of playbacks each.

Fields used: ts (when the playback ended, UTC), ms_played, spotify_track_uri (null for podcasts, which are passed over),
master_metadata_track_name, master_metadata_album_artist_name, reason_end, skipped, and username where it is there. New
exports name nobody: then a listener is the folder that a file lies in, so exports of several people want a folder each.

Skips: `skipped` where it says something; it is null in 79 % of rows, and then a playback was left when it did not end by
itself (`reason_end` is not trackdone) before 30 s. `ms_played` is handed on. Files are read whole, some 12 MB each.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from training.data.log import LogError
from training.sources.reading import Reading, Source, files, plain

_FIELDS = {
    "ts": pl.String(),
    "username": pl.String(),
    "ms_played": pl.Int64(),
    "spotify_track_uri": pl.String(),
    "master_metadata_track_name": pl.String(),
    "master_metadata_album_artist_name": pl.String(),
    "reason_end": pl.String(),
    "skipped": pl.Boolean(),
}


def read(paths: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Read files, or the folders of an export or of several."""
    plain("spotify_export", columns)
    rows = pl.concat([_playbacks(path) for path in files(paths, ".json")]).filter(pl.col("spotify_track_uri").is_not_null())
    left = pl.coalesce("skipped", (pl.col("reason_end") != "trackdone") & (pl.col("ms_played") < 30_000))
    ended = pl.col("ts").str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False).dt.epoch("ms")
    events = rows.select(
        pl.col("username").alias("user_id"),
        pl.col("spotify_track_uri").alias("track_id"),
        "ts",
        "reason_end",
        "skipped",
        at_ms=ended - pl.col("ms_played"),
        type=pl.when(left).then(pl.lit("skip")).otherwise(pl.lit("complete")),
        played_ms=pl.col("ms_played"),
    )
    catalogue = rows.select(
        pl.col("spotify_track_uri").alias("track_id"),
        pl.col("master_metadata_track_name").alias("title"),
        pl.col("master_metadata_album_artist_name").alias("artist"),
    )
    return Reading(events=events.lazy(), catalogue=catalogue.lazy())


SOURCE = Source(
    about="personal Spotify exports: Streaming_History_Audio_*.json or endsong_*.json, or a folder of them",
    skips="skipped; where null, not ended by itself and under 30 s",
    licence="the person's own data",
    read=read,
)


def _playbacks(path: str) -> pl.DataFrame:
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        frame = pl.DataFrame(found, schema=_FIELDS, orient="row", strict=False)
    except (ValueError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        raise LogError(f"{path}: wanted a JSON array of playbacks: {error}") from error
    return frame.with_columns(pl.col("username").fill_null(Path(path).resolve().parent.name))
