"""Dates simulated plays, and writes the events that a player would have posted: a play, then a skip or an end with
`played_ms`, and sometimes an opinion.

Shapes: S sessions, N plays, U listeners, V tracks.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from training.data.log import ORDER, SCHEMA
from training.simulator.habits.world import World as HabitWorld
from training.simulator.moods.world import Int64s, opening_tracks
from training.simulator.moods.world import World as MoodWorld
from training.simulator.names import artist_names, track_titles
from training.simulator.plays import Plays

FIRST_DAY_MS = 1_767_571_200_000  # Monday, 5 January 2026
DAY_MS = 24 * 60 * 60 * 1000
PAUSE_MS = 45 * 60 * 1000  # shortest pause between two sessions; longer than the gap that ends one
LATE_SKIPS = 0.05  # share of kept tracks that are left after 30 s but before their end: skips that count as plays
LIKES = 0.02  # share of kept plays


def timed(plays: Plays, owner: Int64s, track_ms: Int64s, days: int, rng: np.random.Generator) -> pl.DataFrame:
    """Compute when each play started and how much of it was heard. Plays stay in order, listener by listener."""
    whole_ms = track_ms[plays.track]
    late = rng.random(len(whole_ms)) < LATE_SKIPS
    late_ms = 30_000 + (rng.random(len(whole_ms)) * (0.95 * whole_ms - 30_000)).astype(np.int64)
    early_ms = rng.integers(1_000, 30_000, len(whole_ms))
    played_ms = np.where(plays.skipped, early_ms, np.where(late, late_ms, whole_ms))
    taken_ms = played_ms + rng.integers(500, 3_000, len(whole_ms))
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(taken_ms)])
    starts = _session_starts(owner, np.diff(upto[plays.offsets]), days, rng)
    session = np.repeat(np.arange(len(owner)), np.diff(plays.offsets))
    return pl.DataFrame(
        {
            "listener": owner[session],
            "track": plays.track,
            "skipped": plays.skipped,
            "end": np.where(plays.skipped | late, "skip", "complete"),
            "at_ms": starts[session] + upto[:-1] - upto[plays.offsets[session]],
            "played_ms": played_ms,
            "track_ms": whole_ms,
        }
    )


def events(
    frame: pl.DataFrame, users: npt.NDArray[np.str_], tracks: npt.NDArray[np.str_], rng: np.random.Generator, *, dislikes: float
) -> pl.DataFrame:
    """Turn plays into the events that a player would have posted, in the columns of a canonical log.

    `users` [U] and `tracks` [V] are ids. `dislikes` is the share of skipped plays that the listener dislikes.
    """
    spoken = pl.Series(rng.random(len(frame))) < np.where(frame["skipped"], dislikes, LIKES)
    plays = frame.with_columns(
        user_id=pl.Series(users[frame["listener"]]), track_id=pl.Series(tracks[frame["track"]]), spoken=spoken
    )
    none = pl.lit(None, pl.Int64)
    began = plays.with_columns(type=pl.lit("play"), played_ms=none)
    ended = plays.with_columns(at_ms=pl.col("at_ms") + pl.col("played_ms"), type="end")
    opinion = pl.when("skipped").then(pl.lit("dislike")).otherwise(pl.lit("like"))
    said = plays.filter("spoken").with_columns(
        at_ms=pl.col("at_ms") + pl.col("played_ms") // 2, type=opinion, played_ms=none, track_ms=none
    )
    posted = pl.concat([began, ended, said]).with_columns(
        session_id=pl.lit(None),
        asked=pl.lit(True),
        part=pl.lit(None),
    )
    return posted.select(SCHEMA.names()).cast(SCHEMA).sort(ORDER)


def catalogue(
    tracks: npt.NDArray[np.str_], world: MoodWorld | HabitWorld, track_ms: Int64s, rng: np.random.Generator, *, album: int
) -> pl.DataFrame:
    """Invent titles and artists for the tracks, in the words of the mood that each track is most frequent in.

    An album is called after its first track, and has at most `album` tracks.
    """
    names = np.array(artist_names(int(world.artist.max()) + 1, rng))
    titles = np.array(track_titles(world.by_mood.argmax(axis=0), rng))
    return pl.DataFrame(
        {
            "track_id": tracks,
            "title": titles,
            "artist": names[world.artist],
            "album": titles[opening_tracks(world.artist, album)],
            "duration_ms": track_ms,
        }
    )


def _session_starts(owner: Int64s, taken_ms: Int64s, days: int, rng: np.random.Generator) -> Int64s:
    """Draw the start of each session: between 7:00 and 23:00, mostly late, after the end of the listener's last session."""
    hours = 7 + 16 * rng.beta(2.5, 1.5, len(owner))
    wished = FIRST_DAY_MS + rng.integers(0, days, len(owner)) * DAY_MS + (hours * 60 * 60 * 1000).astype(np.int64)
    wished = wished[np.lexsort((wished, owner))]
    before = pl.col("taken").cum_sum().over("owner") - pl.col("taken")  # earlier sessions of the same listener
    return (
        pl.DataFrame({"owner": owner, "wished": wished, "taken": taken_ms + PAUSE_MS})
        .select(before + (pl.col("wished") - before).cum_max().over("owner"))
        .to_series()
        .to_numpy()
    )
