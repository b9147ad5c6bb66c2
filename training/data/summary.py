"""Describes a log in a few lines and a small histogram, and warns if something seems wrong.

The events are read in slices, in their order on disk, so memory does not grow with the log. The number of plays is the number
of events that begin one (`play`) or of events that end one (`skip`, `complete`), whichever is larger. Skips follow the defaults
of the skip rule; a recipe may have another rule.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from model.events import HistoryRule
from training.counts import counted
from training.data.log import ROW_GROUP, Log

_RULE = HistoryRule()
_SLICE = 10 * ROW_GROUP
_BARS, _WIDTH = 12, 40
_DAY_MS = 86_400_000
_FEW = 20


@dataclass(kw_only=True, slots=True)
class Summary:
    """The figures of a log."""

    events: int = 0
    listeners: int = 0
    tracks: int = 0
    first_ms: int = 0
    last_ms: int = 0
    starts: int = 0  # events of type play
    ends: int = 0  # of type skip or complete
    skips: int = 0  # ends that are skips by the skip rule
    sessions: int = 0
    repeats: int = 0  # plays of a track that the listener had played before
    played_starts: int = 0  # of type play, with played_ms
    joined_starts: int = 0  # the same, before a skip of the same track in the same session
    midnights: int = 0
    future: int = 0
    days: Counter[int] = field(default_factory=Counter)  # plays by day since 1970

    @property
    def plays(self) -> int:
        """Return the number of plays in the log."""
        return max(self.starts, self.ends)

    def facts(self) -> dict[str, object]:
        """Return the figures that `log.json` keeps."""
        return {
            "plays": self.plays,
            "sessions": self.sessions,
            "skip_share": round(self.skips / self.plays, 4) if self.plays else None,
            "repeat_share": round(self.repeats / self.plays, 4) if self.plays else None,
        }


def summarise(log: Log, now: datetime | None = None) -> Summary:
    """Summarise a log. Events after `now` count as in the future."""
    found = Summary(events=log.about["events"], listeners=log.about["users"], tracks=log.about["tracks"])
    now_ms = int((now or datetime.now(UTC)).timestamp() * 1000)
    for part in _listeners(log):
        _add(part, found, now_ms)
    return found


def lines(summary: Summary) -> list[str]:
    """Return the summary as lines of text."""
    plays = summary.plays
    text = [
        f"{counted(summary.events, 'event')} of {counted(summary.listeners, 'listener')}"
        f" and {counted(summary.tracks, 'track')},"
        f" from {_date(summary.first_ms)} to {_date(summary.last_ms)}",
    ]
    if plays:
        text.append(
            f"{counted(plays, 'play')} in {counted(summary.sessions, 'session')}; {summary.skips / plays:.1%} were skipped,"
            f" {summary.repeats / plays:.1%} were of a track that the listener had played before"
        )
        text += _histogram(summary)
    return text


def warnings(summary: Summary) -> list[str]:
    """Return a sentence for each thing that seems wrong with a log, and what to check."""
    plays, found = summary.plays, []
    if plays and not summary.skips:
        found.append("no skips at all: is a column missing? The model learns most from skips (type skip, or a short played_ms)")
    if plays and summary.skips > 0.9 * plays:
        found.append(f"{summary.skips / plays:.0%} of all plays are skips: is played_ms in seconds? It is read as milliseconds")
    if summary.played_starts:
        found.append(
            f"{summary.played_starts:,} rows of type play carry played_ms, and {summary.joined_starts:,} of them are followed"
            " by a skip of the same track. A play says only that a track started: its played_ms is not used, and a later skip"
            " joins it into one skipped entry. If a row is a whole play, its type must be complete or skip"
        )
    if summary.midnights > 0.5 * summary.events and summary.events > 1:
        found.append(
            "most events are dated at midnight: does the log have days without times? Then the order within a day is lost"
        )
    if summary.future:
        found.append(
            f"{counted(summary.future, 'event')} dated in the future: is the time zone or the unit of the times right?"
        )
    if summary.listeners < _FEW:
        found.append(
            f"only {counted(summary.listeners, 'listener')}: what listeners have in common cannot be learned."
            " Is user_id the right column?"
        )
    if plays and summary.tracks > 0.9 * plays:
        found.append("nearly every play is of another track: is track_id the id of a play?")
    return found


def _listeners(log: Log) -> Iterator[pl.DataFrame]:
    """Yield the events in slices. A listener's events stay together unless they exceed a slice."""
    columns = ("user_id", "track_id", "at_ms", "type", "played_ms", "track_ms", "session_id")
    rest: pl.DataFrame | None = None
    total = int(log.about["events"])
    for first in range(0, total, _SLICE):
        part = log.events().select(columns).slice(first, _SLICE).collect()
        whole = part if rest is None else pl.concat([rest, part])
        if first + _SLICE < total and len(whole) < 2 * _SLICE:
            last = whole["user_id"][-1]
            yield whole.filter(pl.col("user_id") != last)
            rest = whole.filter(pl.col("user_id") == last)
        else:
            yield whole
            rest = None


def _add(part: pl.DataFrame, found: Summary, now_ms: int) -> None:
    """Add the events of some listeners to the figures `found`."""
    if part.is_empty():
        return
    start = pl.col("type") == "play"
    end = pl.col("type").is_in(["skip", "complete"])
    rule = _RULE.skip
    played, track = pl.col("played_ms"), pl.col("track_ms")
    skipped = (
        pl.when(played.is_null() | ((played < rule.limit_ms) & track.is_null()))
        .then(pl.col("type") == "skip")
        .otherwise((played < rule.limit_ms) & (played < rule.end_share * track))
    )
    new_listener = (pl.col("user_id") != pl.col("user_id").shift()).fill_null(value=True)
    named = pl.col("session_id").is_not_null()
    gap = ((pl.col("at_ms") - pl.col("at_ms").shift()) > _RULE.gap_ms).fill_null(value=False)
    renamed = ~pl.col("session_id").eq_missing(pl.col("session_id").shift())
    opens = new_listener | renamed | (~named & gap)
    of_track = ["user_id", "track_id"]
    sums = part.select(
        starts=start.sum(),
        ends=end.sum(),
        skips=(end & skipped).sum(),
        sessions=opens.sum(),
        played_starts=(start & played.is_not_null()).sum(),
        midnights=(pl.col("at_ms") % _DAY_MS == 0).sum(),
        future=(pl.col("at_ms") > now_ms).sum(),
    ).row(0, named=True)
    for name, value in sums.items():
        setattr(found, name, getattr(found, name) + value)
    if sums["played_starts"]:
        found.joined_starts += _joined(part)
    plays = part.filter(start if sums["starts"] >= sums["ends"] else end)
    found.repeats += len(plays) - plays.select(of_track).n_unique()
    found.days.update(dict(plays.group_by(pl.col("at_ms") // _DAY_MS).len().iter_rows()))
    first, last = part.select(pl.col("at_ms").min(), pl.col("at_ms").max().alias("last")).row(0)
    found.first_ms = min(found.first_ms or first, first)
    found.last_ms = max(found.last_ms, last)


def _joined(part: pl.DataFrame) -> int:
    """Count the plays with played_ms that are followed, within a session's gap, by a skip of the same track."""
    ordered = part.sort("user_id", "track_id", "at_ms", maintain_order=True)
    same = (pl.col("user_id") == pl.col("user_id").shift(-1)) & (pl.col("track_id") == pl.col("track_id").shift(-1))
    soon = pl.col("at_ms").shift(-1) - pl.col("at_ms") <= _RULE.gap_ms
    start = (pl.col("type") == "play") & pl.col("played_ms").is_not_null()
    return ordered.filter(start & same & soon & (pl.col("type").shift(-1) == "skip")).height


def _histogram(summary: Summary) -> list[str]:
    """Draw plays over time as at most a dozen bars."""
    first, last = min(summary.days), max(summary.days)
    size = -(-(last - first + 1) // _BARS)
    bars = Counter[int]()
    for day, plays in summary.days.items():
        bars[(day - first) // size] += plays
    most = max(bars.values())
    text = []
    for number in range((last - first) // size + 1):
        bar = "█" * max(round(_WIDTH * bars[number] / most), bars[number] > 0)
        text.append(f"  {_date((first + number * size) * _DAY_MS)} {bar:<{_WIDTH}} {bars[number]:,}")
    return text


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
