"""Chooses what a service would have kept of each listener, had it been there: the newest events, and older opinions.

It goes through the log in slices, since a log may be larger than memory. All events of a listener stand together in the log,
in time order, and whole listeners leave here together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from model.events import KEPT_EVENTS, KEPT_OPINIONS, KEPT_PLAYS

COLUMNS = ("user_id", "track_id", "at_ms", "type", "played_ms", "track_ms", "session_id")
_SLICE = 200_000  # events read at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How many events to keep of each listener, and of how many tracks the newest like or dislike."""

    events: int = KEPT_EVENTS + KEPT_PLAYS
    opinions: int = KEPT_OPINIONS


def newest_events(
    events: pl.LazyFrame, wanted: Wanted, *, sound: pl.Expr | None = None, after: str | None = None
) -> Iterator[pl.DataFrame]:
    """Yield the events to post of each listener, in tables of whole listeners. Events that are not `sound` are left out. With
    `after`, yield only the listeners after this one.

    The tables have the columns `COLUMNS` and the order of the log. Equal events are kept once.
    """
    events = events.select(COLUMNS)
    done = pl.lit(0) if after is None else (pl.col("user_id") <= after).sum()
    first, total = events.select(done.alias("first"), pl.len()).collect().row(0)
    rest = pl.DataFrame(schema=events.collect_schema())
    for start in range(first, total, _SLICE):
        # Slicing first reads only these rows of the file. A slice of filtered events would read all rows before them too.
        some = events.slice(start, _SLICE).collect()
        rows = pl.concat([rest, some if sound is None else some.filter(sound)])
        going_on = pl.col("user_id") == some["user_id"][-1]  # the next slice may have more of this listener
        yield _chosen(rows.filter(~going_on), wanted)
        rest = _chosen(rows.filter(going_on), wanted)
    yield rest


def _chosen(rows: pl.DataFrame, wanted: Wanted) -> pl.DataFrame:
    """Return the chosen events of each listener. A listener's later events never bring back an event that is dropped here."""
    rows = rows.filter(pl.struct(COLUMNS).is_first_distinct())
    opinion = pl.col("type").cast(pl.String).is_in(["like", "dislike"])
    marked = rows.with_columns(
        from_end=pl.int_range(pl.len(), 0, -1).over("user_id"),
        opinion=opinion & pl.struct("user_id", "track_id", opinion.alias("opinion")).is_last_distinct(),
    )
    opinions_from_end = pl.col("opinion").cast(pl.Int64).cum_sum(reverse=True).over("user_id")
    newest = (pl.col("from_end") <= wanted.events) | (pl.col("opinion") & (opinions_from_end <= wanted.opinions))
    return marked.filter(newest).select(COLUMNS)
