"""Personal Spotify exports, of one person or of several, extended and basic: the .zip as downloaded, JSON files, or folders.

*Extended streaming history* (Streaming_History_Audio_*.json, endsong_*.json): a JSON array of playbacks. Fields used: ts (when
the playback ended, UTC), ms_played, spotify_track_uri, master_metadata_track_name, master_metadata_album_artist_name,
reason_end, skipped, and username if present. *Account data* (StreamingHistory_music_*.json): endTime (UTC, to the minute),
artistName, trackName, msPlayed. Podcasts, audiobooks and playbacks that name no track are passed over by reason. Other files of
an export are ignored and listed. The keys of a file's objects decide its kind, not its name.

Listeners: `--user`, else the username, else the folder or archive of a person's files. Exports of several people need a folder
each. Folders that Spotify itself names (`MyData`, `Spotify Extended Streaming History`) and `my_spotify_data.zip` do not count.

Tracks: the URI. The basic history has none. A track gets the URI that an extended history in the same import has for this
artist and title, else `Artist - Title`. Playbacks of the basic history are passed over if the same listener's extended history
covers their time, because they are in it too.

Skips: `skipped` if it has a value. It is null in 79 % of rows. Then, and in the basic history, a playback is a skip if it
lasted less than 30 s and is not known to have ended by itself (`reason_end` is trackdone). `ms_played` is imported. A file, of
about 12 MB, is read whole.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import polars as pl

from training.data.log import LogError
from training.sources.names import named_tracks
from training.sources.reading import Part, Request
from training.sources.tables.files import File, Ignored, find
from training.sources.tables.records import count_records, frame_of, record_blocks
from training.sources.tables.table import ABOUT_ROWS, FAULT, PASSED
from training.sources.times import Clock, read_times

PODCAST = "podcast or audiobook"
NO_TRACK = "playback that names no track"
TWICE = "playback of the basic history in the time of the extended one"
_LEFT_MS = 30_000
_UTC = Clock(zone="UTC")
_NO_HISTORY = "is no listening history"
_EXTENDED = {
    "ts": "ended",
    "username": "username",
    "ms_played": "played",
    "spotify_track_uri": "track_id",
    "master_metadata_track_name": "title",
    "master_metadata_album_artist_name": "artist",
    "episode_name": "episode",
    "spotify_episode_uri": "episode_uri",
    "audiobook_uri": "audiobook_uri",
    "audiobook_title": "audiobook",
    "reason_end": "reason_end",
    "skipped": "skipped",
}
_BASIC = {"endTime": "ended", "msPlayed": "played", "trackName": "title", "artistName": "artist"} | {
    "podcastName": "podcast",
    "episodeName": "episode",
}
_FORMS = {"extended": (_EXTENDED, ("ts", "ms_played")), "basic": (_BASIC, ("endTime", "msPlayed"))}
_EPISODE = ("episode", "episode_uri", "audiobook_uri", "audiobook", "podcast")
_HISTORY = re.compile(r"streaming_?history|endsong", re.IGNORECASE)
_SPOTIFYS_OWN = re.compile(
    r"(my[ _]?spotify[ _]?data|mydata|spotify (extended streaming history|account data|technical log information))( ?\(\d+\))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """Facts from the extended histories of an import that are needed for the basic ones."""

    uris: dict[tuple[str, str], str] = field(default_factory=dict)  # by artist and title
    usernames: dict[str, str] = field(default_factory=dict)  # by the name of the person's folder
    times: dict[str, tuple[int, int]] = field(default_factory=dict)  # time of the first and last playback of each listener, ms


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read files, archives, or the folders of an export or of several."""
    files, ignored = find(request.places, (".json",))
    yield from ignored
    found: dict[str, list[File]] = {form: [] for form in _FORMS}
    for file in files:
        form = _form(file, request)
        if form is None:
            yield Ignored(name=file.name, why=_NO_HISTORY)
        else:
            found[form].append(file)
    histories = [file for form in found.values() for file in form]
    if not histories or any(file.given and file not in histories for file in files):
        raise LogError(
            f"{', '.join(request.places.values())}: wanted Spotify's streaming history, JSON arrays of playbacks with ts and"
            f" ms_played, or endTime and msPlayed; found {', '.join(file.name for file in files[:5])}"
        )
    listeners = _listeners(histories, request.user)
    known = _known(found["extended"], listeners, request) if found["basic"] else _Known()
    for form, one in ((form, file) for form, of_form in found.items() for file in of_form):
        rows = _rows(one, form, listeners[one.folders], known, request)
        yield Part(name=one.name, rows=rows, count=partial(count_records, one, request.encoding), unit="element")


def _form(file: File, request: Request) -> str | None:
    """Return the form of a file, `extended` or `basic`; None for other files. LogError if a history is damaged."""
    try:
        for record in chain.from_iterable(record_blocks(file, request.encoding)):
            for form, (_, keys) in _FORMS.items():
                if record.value is not None and record.value.keys() >= set(keys):
                    return form
    except LogError:
        if file.given or _HISTORY.search(file.name):
            raise
    return None


def _listeners(files: Sequence[File], user: str | None) -> dict[tuple[str, ...], str]:
    """Name the person of each folder: `user`, or the shortest end of the folder's path that no other person's folder has."""
    if user is not None:
        return {file.folders: user for file in files}
    people = {file.folders: tuple(name for name in file.folders if not _SPOTIFYS_OWN.fullmatch(name)) for file in files}
    different = set(people.values())
    names = {}
    for person in different:
        sizes = range(1, len(person))
        size = next((size for size in sizes if sum(one[-size:] == person[-size:] for one in different) == 1), len(person))
        names[person] = "/".join(person[-size:])
    return {folders: names[person] for folders, person in people.items()}


def _known(files: Sequence[File], listeners: Mapping[tuple[str, ...], str], request: Request) -> _Known:
    known = _Known()
    for file in files:
        listener = listeners[file.folders]
        for frame in _rows(file, "extended", listener, known, request):
            sound = frame.filter(pl.col(FAULT).is_null() & pl.col(PASSED).is_null() & pl.col("at_ms").is_not_null())
            for artist, title, uri, user_id, at_ms in sound.select(
                "artist", "title", "track_id", "user_id", "at_ms"
            ).iter_rows():
                known.uris.setdefault((artist, title), uri)
                known.usernames.setdefault(listener, user_id)
                first, last = known.times.get(user_id, (at_ms, at_ms))
                known.times[user_id] = min(first, at_ms), max(last, at_ms)
    return known


def _rows(file: File, form: str, listener: str, known: _Known, request: Request) -> Iterator[pl.DataFrame]:
    names, _ = _FORMS[form]
    for block in record_blocks(file, request.encoding):
        frame = frame_of(block, tuple(names), booleans=("skipped",)).rename(names)
        episode = [name for name in _EPISODE if name in frame.columns]
        frame = frame.with_columns(
            pl.lit(listener).alias("listener"),
            pl.col("played").cast(pl.Int64, strict=False).alias("played_ms"),
            read_times(frame["ended"], _UTC)["at_ms"].alias("ended_ms"),
            pl.any_horizontal(pl.col(episode).is_not_null()).alias("spoken"),
            named_tracks(frame["artist"], frame["title"]).alias("named"),
        )
        yield (_extended(frame, named=request.user is not None) if form == "extended" else _basic(frame, known)).with_columns(
            pl.when(pl.col(FAULT).is_null()).then(PASSED).alias(PASSED)
        )


def _extended(frame: pl.DataFrame, *, named: bool) -> pl.DataFrame:
    skipped = pl.col("skipped").replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    left = pl.coalesce(skipped, (pl.col("reason_end").fill_null("") != "trackdone") & (pl.col("played_ms") < _LEFT_MS))
    track = pl.col("track_id").replace("", None)
    passed = pl.when(track.is_null()).then(pl.when("spoken").then(pl.lit(PODCAST)).otherwise(pl.lit(NO_TRACK)))
    return frame.select(
        *_SHOWN,
        "reason_end",
        "skipped",
        *(name for name in ABOUT_ROWS if name != PASSED),
        user_id="listener" if named else pl.coalesce(pl.col("username").replace("", None), "listener"),
        track_id=track,
        at_ms=pl.col("ended_ms") - pl.col("played_ms").fill_null(0),
        type=_kind(left),
        **{PASSED: passed},
    )


def _basic(frame: pl.DataFrame, known: _Known) -> pl.DataFrame:
    listener = frame["listener"][0] if len(frame) else ""
    user_id = known.usernames.get(listener, listener)
    first, last = known.times.get(user_id, (None, None))
    uris = [known.uris.get(name) for name in frame.select("artist", "title").iter_rows()]
    passed = (
        pl.when("spoken")
        .then(pl.lit(PODCAST))
        .when(pl.col("named").is_null())
        .then(pl.lit(NO_TRACK))
        .when(pl.col("ended_ms").is_between(pl.lit(first, pl.Int64), pl.lit(last, pl.Int64)))
        .then(pl.lit(TWICE))
    )
    started = pl.col("ended_ms") - pl.col("played_ms").fill_null(0)
    order = pl.int_range(pl.len())  # playbacks that ended in one minute keep the file's order
    return frame.with_columns(pl.Series("uri", uris, pl.String)).select(
        *_SHOWN,
        *(name for name in ABOUT_ROWS if name != PASSED),
        user_id=pl.lit(user_id),
        track_id=pl.coalesce("uri", "named"),
        at_ms=((started - order).cum_max() + order).over("ended_ms"),
        type=_kind(pl.col("played_ms") < _LEFT_MS),
        **{PASSED: passed},
    )


def _kind(left: pl.Expr) -> pl.Expr:
    return pl.when(left).then(pl.lit("skip")).when(left.is_not_null()).then(pl.lit("complete"))


_SHOWN = ("ended", pl.col("played").alias("played_ms"), "title", "artist")
