"""One reader a log format. Each module says what the format is, what counts as a skip, and under which licence the data is.

A new format is a module with a `read` and a `SOURCE`, and a line below; `training.data.import_log` checks, sorts and writes.
"""

from training.sources import canonical, kuairand, mssd, nowplaying, spotify_export
from training.sources.reading import Source

SOURCES: dict[str, Source] = {
    "canonical": canonical.SOURCE,
    "kuairand": kuairand.SOURCE,
    "nowplaying": nowplaying.SOURCE,
    "mssd": mssd.SOURCE,
    "spotify_export": spotify_export.SOURCE,
}
