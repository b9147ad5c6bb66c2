"""Guesses which of a file's columns stand for ours, so that an error can name the options to type."""

from collections.abc import Collection, Mapping, Sequence

from training.sources.tables.lines import printable

_PLAYS: Mapping[str, Sequence[str]] = {
    "at": (
        *("listened_at", "played_at", "started_at", "start_time", "created_at", "occurred_at", "event_time", "timestamp"),
        *("datetime", "date_time", "time", "ts", "date"),
    ),
    "user_id": (
        *("user", "userid", "listener", "listener_id", "account_id", "customer_id", "profile_id", "member_id", "username"),
        *("uid", "account", "customer"),
    ),
    "track_id": (
        *("track", "trackid", "song_id", "song", "songid", "item_id", "item", "recording_id", "media_id", "content_id"),
        *("episode_id", "video_id"),
    ),
    "type": ("event_type", "event", "action", "kind"),
    "played_ms": ("ms_played", "ms", "listened_ms", "play_ms", "heard_ms", "play_duration_ms", "listening_ms"),
    "track_ms": ("duration_ms", "track_duration_ms", "song_duration_ms", "length_ms"),
    "session_id": ("session", "sessionid"),
}
_TITLES: Mapping[str, Sequence[str]] = {
    "track_id": ("id", *_PLAYS["track_id"]),
    "title": ("name", "track_name", "song_name", "track_title", "song_title", "song", "track"),
    "artist": ("artist_name", "performer", "band"),
    "album": ("album_name", "album_title", "release"),
    "duration_ms": ("length_ms", "track_ms", "ms"),
    "duration_s": ("duration", "length", "seconds"),
}


def guess_columns(found: Sequence[str], known: Collection[str], *, catalogue: bool = False) -> str:
    """Return the options that read `found` columns as ours, for example `--column at=time`; empty if nothing looks alike.

    `known` are our columns that need no guess.
    """
    option = "--catalogue-column" if catalogue else "--column"
    free = {name.lower(): name for name in reversed(found) if name not in known}
    pairs = []
    for ours, names in (_TITLES if catalogue else _PLAYS).items():
        theirs = next((free.pop(name) for name in names if name in free), None) if ours not in known else None
        if theirs is not None:
            pairs.append(f"{option} {ours}={printable(theirs)}")
    return " ".join(pairs)
