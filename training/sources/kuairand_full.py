"""KuaiRand-1K and KuaiRand-27K (Gao et al., CIKM 2022): all videos that listeners met, as CSV or Parquet.

The files `log_standard_*` and `log_random_*`, with user_id, video_id, time_ms, is_like, is_hate, long_view, tab and is_rand
among their columns. The files of features are ignored and listed. KuaiRand-Pure in this project's Parquet form has a reader of
its own.

Skips: not `long_view`, as with KuaiRand-Pure; the time watched is not imported. A like or hate is an event of its own. Cases of
the evaluation are events with `tab` 1: the feed in which videos start by themselves. Licence: CC BY-SA 4.0.
"""

from collections.abc import Iterator

from training.data.log import LogError
from training.sources.kuairand import EVENTS, shown
from training.sources.reading import Part, Request, part, require, tables
from training.sources.tables.files import Ignored


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read log files, or a folder of them."""
    read_any = False
    for table in tables(request, (".csv", ".parquet")):
        if isinstance(table, Ignored):
            yield table
        elif (table.file.member or table.file.path.name).rpartition("/")[2].startswith("log_"):
            require(table, EVENTS)
            read_any = True
            yield part(table, shown(table))
        else:
            yield Ignored(name=table.file.name, why="is no log_standard_* or log_random_*")
    if not read_any:
        raise LogError(f"{', '.join(request.places.values())}: wanted files called log_standard_* or log_random_*; found none")
