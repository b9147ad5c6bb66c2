"""ListenBrainz: the .zip of a person's export, its JSON Lines files, listens as its API gives them, or its dumps.

A listen has listened_at (Unix seconds) and track_metadata: artist_name, track_name, release_name, additional_info
(duration_ms or duration in seconds, recording_mbid) and mbid_mapping (recording_mbid). `feedback.jsonl` has a
recording_mbid, a score and created. Other files (`pinned_recording.jsonl`) are ignored and listed.

Listeners: `--user`, else the listen's user_name, else the username in `user.json`, else the name in
`listenbrainz_NAME_123.zip` or the folder of the export. Tracks: the recording's MusicBrainz id, else `Artist - Title`.
Skips: none are known; a listen is sent once half of the track or four minutes were heard, so each is a `complete`. A
score of 1 is a `like`, of -1 a `dislike`. Licence: the person's own data; CC0 for the dumps.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import polars as pl

from training.data.log import LogError
from training.sources.names import named_tracks
from training.sources.reading import Part, Request
from training.sources.tables.files import File, Ignored, find
from training.sources.tables.records import Record, count_records, frame_of, record_blocks
from training.sources.tables.table import ABOUT_ROWS, FAULT, PASSED
from training.sources.times import Clock, read_times

NO_OPINION = "feedback that was taken back"
NO_RECORDING = "feedback without a recording's MusicBrainz id"
NO_TIME = "feedback without a time"
_LISTEN, _FEEDBACK, _USER = {"listened_at", "track_metadata"}, {"score"}, {"username"}
_COLUMNS = ("user", "time", "title", "artist", "album", "recording", "duration_ms", "duration_s")
_EXPORT = re.compile(r"listenbrainz_(.+)_\d+")
_INSIDE = re.compile(r"listens|\d{4}")


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read files, or folders or archives of them."""
    files, ignored = find(request.places, (".jsonl", ".ndjson", ".json", ".listens"))
    yield from ignored
    first = {file.name: _first(file, request) for file in files}
    users = {file.folders: first[file.name]["username"] for file in files if first[file.name].keys() >= _USER}
    read_any = False
    for file in files:
        keys = first[file.name].keys()
        if keys >= _USER and not keys >= _LISTEN:
            continue
        if not (keys >= _LISTEN or keys >= _FEEDBACK):
            yield Ignored(name=file.name, why="has no listens and no feedback")
            continue
        read_any = True
        rows = (_listens if keys >= _LISTEN else _feedback)(file, _listener(file, users, request), request)
        yield Part(name=file.name, rows=rows, count=partial(count_records, file, request.encoding), unit="line")
    if not read_any:
        raise LogError(
            f"{', '.join(request.places.values())}: wanted listens with listened_at and track_metadata;"
            f" found {', '.join(file.name for file in files[:5])}"
        )


def _first(file: File, request: Request) -> Mapping[str, Any]:
    """Return the first object of a file."""
    found = (record.value for record in chain.from_iterable(record_blocks(file, request.encoding)))
    return next((value for value in found if value is not None), {})


def _listener(file: File, users: Mapping[tuple[str, ...], str], request: Request) -> str:
    if request.user is not None:
        return request.user
    for size in range(len(file.folders), 0, -1):
        if file.folders[:size] in users:
            return users[file.folders[:size]]
    folder = next((name for name in reversed(file.folders) if not _INSIDE.fullmatch(name)), "")
    export = _EXPORT.fullmatch(folder)
    return export[1] if export else folder


def _listens(file: File, listener: str, request: Request) -> Iterator[pl.DataFrame]:
    for block in record_blocks(file, request.encoding):
        frame = frame_of([_flat(record) for record in block], _COLUMNS, ())
        times = read_times(frame["time"], Clock())
        named = named_tracks(frame["artist"], frame["title"])
        seconds = pl.col("duration_s").cast(pl.Float64, strict=False) * 1000
        user = pl.lit(listener) if request.user is not None else pl.coalesce("user", pl.lit(listener))
        yield frame.with_columns(times["at_ms"], named.alias("named")).select(
            user.alias("user_id"),
            pl.coalesce(pl.col("recording").replace("", None), "named").alias("track_id"),
            "at_ms",
            "time",
            "title",
            "artist",
            "album",
            *(name for name in ABOUT_ROWS if name != FAULT),
            pl.coalesce(FAULT, times["fault"]).alias(FAULT),
            type=pl.lit("complete"),
            duration_ms=pl.coalesce(pl.col("duration_ms").cast(pl.Float64, strict=False), seconds),
        )


def _flat(record: Record) -> Record:
    """Flatten the nested values of a listen."""
    if record.value is None:
        return record
    listen = record.value
    meta = listen.get("track_metadata")
    if not isinstance(meta, dict):
        return record._replace(value=None, fault="a listen without track_metadata")
    extra, mapping = _object(meta, "additional_info"), _object(meta, "mbid_mapping")
    flat = {
        "user": listen.get("user_name"),
        "time": listen.get("listened_at"),
        "title": meta.get("track_name"),
        "artist": meta.get("artist_name"),
        "album": meta.get("release_name"),
        "recording": mapping.get("recording_mbid") or extra.get("recording_mbid"),
        "duration_ms": extra.get("duration_ms"),
        "duration_s": extra.get("duration"),
    }
    return record._replace(value=flat)


def _object(meta: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = meta.get(name)
    return found if isinstance(found, dict) else {}


def _feedback(file: File, listener: str, request: Request) -> Iterator[pl.DataFrame]:
    for block in record_blocks(file, request.encoding):
        frame = frame_of(block, ("recording_mbid", "score", "created"), ())
        times = read_times(frame["created"], Clock(zone="UTC"))
        passed = (
            pl.when(pl.col("score") == "0")
            .then(pl.lit(NO_OPINION))
            .when(pl.col("recording_mbid").is_null())
            .then(pl.lit(NO_RECORDING))
            .when(pl.col("created").is_null())
            .then(pl.lit(NO_TIME))
        )
        yield frame.with_columns(times["at_ms"]).select(
            pl.lit(listener).alias("user_id"),
            pl.col("recording_mbid").alias("track_id"),
            "at_ms",
            "score",
            "created",
            *(name for name in ABOUT_ROWS if name not in (FAULT, PASSED)),
            pl.coalesce(FAULT, times["fault"]).alias(FAULT),
            pl.coalesce(PASSED, pl.when(pl.col(FAULT).is_null()).then(passed)).alias(PASSED),
            type=pl.col("score").replace_strict({"1": "like", "-1": "dislike"}, default=None, return_dtype=pl.String),
        )
