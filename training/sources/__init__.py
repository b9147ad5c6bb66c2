"""The log formats that `import` reads: a description of each, its definition of a skip, and the licence of its data.

A new format needs a line in `SOURCES`, and a module of that name with a function `read` (`training.sources.reading.Reader`).
`training.data.import_log` checks, sorts and writes the events. This table imports no other module, so that `--help` is quick.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What `--help` and `log.json` say about a log format."""

    about: str
    skips: str  # the format's definition of a skip
    licence: str
    takes: tuple[str, ...] = ()  # options that only some sources accept
    database: bool = False  # a path is the URL of a database


SOURCES: dict[str, Source] = {
    "canonical": Source(
        about="CSV, JSON Lines or Parquet in nexttrack's own columns",
        skips="the event's type; where played_ms is given, the recipe's skip rule",
        licence="the log's own",
        takes=("column", "user", "type", "timezone", "dates"),
    ),
    "sql": Source(
        about="the rows that --query gives of a database, in the same columns; a path is a database URL as SQLAlchemy reads it",
        skips="as canonical",
        licence="the log's own",
        takes=("column", "user", "type", "timezone", "dates", "query"),
        database=True,
    ),
    "kuairand": Source(
        about="KuaiRand-Pure: a folder with events.parquet and history.parquet",
        skips="not long_view",
        licence="CC BY-SA 4.0; Gao et al., CIKM 2022, doi 10.1145/3511808.3557624",
    ),
    "nowplaying": Source(
        about="#nowplaying sessions: a folder with train.csv, valid.csv, test.csv (tab separated)",
        skips="none are known: every event is a play",
        licence="terms of the original data not found: for measuring, not for passing on",
    ),
    "mssd": Source(
        about="Spotify's Music Streaming Sessions Dataset: its log_*.csv files, or a folder of them",
        skips="skip_2: played only briefly",
        licence="research use on Spotify's terms; Brost, Mehrotra & Jehan, WWW 2019",
    ),
    "spotify_export": Source(
        about="personal Spotify exports, extended and basic: the .zip as downloaded, its JSON files, or folders of them",
        skips="skipped; where it says nothing, not ended by itself and under 30 s; of the basic history, under 30 s",
        licence="the person's own data",
        takes=("user",),
    ),
    "lastfm": Source(
        about="Last.fm: a person's scrobbles as CSV, or the TSV of 1,000 listeners",
        skips="none are known: a row was heard for half the track or four minutes",
        licence="the person's own data; the data set is for non-commercial use",
        takes=("user",),
    ),
    "listenbrainz": Source(
        about="ListenBrainz: the .zip of an export, its JSON Lines files, or dumps",
        skips="none are known: a listen was heard for half the track or four minutes; feedback becomes like and dislike",
        licence="the person's own data; CC0 for the dumps",
        takes=("user",),
    ),
    "navidrome": Source(
        about="Navidrome's database: scrobbles and stars (also those of Subsonic players)",
        skips="none are known: a scrobble was heard for half the track or four minutes",
        licence="the server's own data",
    ),
    "jellyfin": Source(
        about="Playback Reporting of Jellyfin or Emby: its database, or its backup as TSV",
        skips="under 30 s heard",
        licence="the server's own data",
        takes=("timezone", "dates"),
    ),
    "yambda": Source(
        about="Yambda: its flat files, Parquet or CSV, or a folder of them",
        skips="under half of the track heard",
        licence="Apache 2.0; Ploshkin et al., RecSys 2025",
    ),
    "kuairand_full": Source(
        about="KuaiRand-1K and KuaiRand-27K: log_standard_* and log_random_*, CSV or Parquet",
        skips="not long_view",
        licence="CC BY-SA 4.0; Gao et al., CIKM 2022, doi 10.1145/3511808.3557624",
    ),
    "recbole": Source(
        about="RecBole's .inter files (MovieLens and others), and .item files beside them",
        skips="a rating below 3; none without ratings",
        licence="the data set's own",
    ),
}
