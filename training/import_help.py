"""The help text of `import`: sources, columns, the skip rule, times, examples. It loads neither polars nor torch."""

from textwrap import fill

from training.sources import SOURCES

_WIDTH = 110


def import_help() -> str:
    """Return the text that `import --help` shows above the options."""
    return f"{_HEAD}\n\nSources (--source):\n{_sources()}\n\n{_TAIL}"


def _sources() -> str:
    lines = []
    for name, source in SOURCES.items():
        text = f"{source.about}. Skips: {source.skips}."
        lines.append(fill(text, _WIDTH, initial_indent=f"  {name:<15} ", subsequent_indent=" " * 18))
    return "\n".join(lines)


_HEAD = """\
Read a listening log and write it as a folder that the other commands take.

  python -m training import plays.csv --out logs/mine
  python -m training import plays.csv --out logs/mine --column at=listened_at --column track_id=song_id --catalogue tracks.csv
  python -m training import plays.csv --out logs/mine --user ann --timezone Europe/Berlin
  python -m training import 's3://bucket/log/**/*.parquet' --out logs/mine
  python -m training import my_spotify_data.zip --out logs/mine --source spotify_export
  python -m training import postgresql+psycopg://me@host/db --out logs/mine --source sql --query 'SELECT * FROM plays'"""
_TAIL = """\
Columns of canonical and sql; others are ignored, and --column OURS=THEIRS reads one under another name:
  user_id           required, or --user: text or whole numbers
  track_id          required: text or whole numbers
  at, at_s, at_ms   one is required: a time, Unix seconds, or Unix milliseconds
  type              play (it started), skip, complete (it ended), like, dislike; or --type
  played_ms         how much was heard; track_ms: how long the track is
  session_id        the player's own session; without it a session ends after 30 minutes without an event
  title, artist, album, group, duration_ms   for the catalogue; group is the same for releases of one recording
  asked, part       false: context only; train, valid or test: your own split

Times: ISO 8601, RFC 3339, what Postgres, MySQL, pandas and Excel write, Unix time in four units. One without a zone needs
--timezone, one such as 1/2/2026 needs --dates.

Skip rule: with played_ms, a play is a skip if under 30 s and under 90 % of the track were heard (the recipe can change this);
without it, the type decides. In a log without a column type each row is a whole play: with played_ms a skip or a complete,
without it a play. A row that is a whole play must be complete or skip, since a play says only that a track started.

Catalogue (--catalogue): a file with track_id and any of title, artist, album, group, duration_ms, duration_s.

Every row is accounted for: kept, a duplicate, broken, or passed over, under a reason. Past --max-broken nothing is written."""
