"""Simulates a log of listeners whose best possible ranking is known, for the demo, for tests, and to measure models against.

`training.simulator.world` describes the listeners' world, and `training.simulator.listening` simulates their sessions. This
module adds dates and writes the events that a player would have posted: a play, then a skip or an end with `played_ms`, and
sometimes an opinion. It also writes `truth.npz` beside the log, from which `training.simulator.truth` computes the best
possible ranking.

The default world makes about 200,000 plays in a second or two. All plays are held in memory, half a gigabyte for a million.

Shapes: S sessions, N plays, U listeners, V tracks.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.progress import Progress

from training.data.log import (
    CATALOGUE,
    EVENTS,
    ORDER,
    ROW_GROUP,
    SCHEMA,
    Log,
    LogError,
    describe,
    open_log,
    replacing,
    write_about,
)
from training.simulator.listening import Plays, listen, session_lengths
from training.simulator.names import artist_names, track_titles
from training.simulator.truth import Truth, filter_moods, save_truth
from training.simulator.world import Int64s, draw_tastes, make_world

FIRST_DAY_MS = 1_767_571_200_000  # Monday, 5 January 2026
DAY_MS = 24 * 60 * 60 * 1000
PAUSE_MS = 45 * 60 * 1000  # shortest pause between two sessions; longer than the gap that ends one
LATE_SKIPS = 0.05  # share of kept tracks that are left after 30 s but before their end: skips that count as plays
ALBUM = 8  # tracks of an album; an artist's last album may have fewer. Listeners do not care about albums
LIKES, DISLIKES = 0.02, 0.03  # shares of kept and of skipped plays


def simulate(
    out: Path,
    *,
    listeners: int = 2_000,
    tracks: int = 2_000,
    artists: int = 200,
    moods: int = 12,
    sessions: float = 5.0,
    days: int = 28,
    seed: int = 1,
    force: bool = False,
) -> Log:
    """Write a simulated log, with its `truth.npz`, to the folder `out`. The same seed gives the same log.

    `sessions` is the mean number of sessions of a listener in `days` days. LogError if `out` exists and not `force`, or if
    there are fewer artists than moods or fewer tracks than artists.
    """
    if not moods <= artists <= tracks or listeners < 1:
        raise LogError(
            f"found {listeners} listeners, {artists} artists and {tracks} tracks; "
            f"wanted at least one listener, {moods} artists, and a track for each artist"
        )
    rng = np.random.default_rng(seed)
    world = make_world(moods=moods, artists=artists, tracks=tracks, rng=rng)
    taste, favourite = draw_tastes(listeners, moods, rng)
    counts = 1 + rng.poisson(max(0.0, sessions - 1), listeners)
    owner = np.repeat(np.arange(listeners), counts)
    lengths = session_lengths(len(owner), rng)
    with Progress(transient=True, disable=lengths.sum() < 1_000_000) as progress:
        task = progress.add_task("Listening", total=int(lengths.sum()))
        plays = listen(
            world,
            lengths,
            rng,
            taste=taste[owner],
            favourite=favourite[owner],
            progress=lambda made: progress.advance(task, made),
        )
    belief, artist, last = filter_moods(world, plays, taste[owner], favourite[owner])
    track_ms = np.clip(np.exp(rng.normal(np.log(210_000), 0.25, tracks)), 95_000, 480_000).astype(np.int64)
    frame = _timed(plays, owner, track_ms, days, rng)
    truth = Truth(
        world=world,
        tracks=_ids("t", tracks),
        users=_ids("u", listeners),
        favourite=favourite,
        user=np.repeat(owner, lengths),
        at_ms=frame["at_ms"].to_numpy(),
        belief=belief,
        artist=artist,
        last=last,
    )
    settings = {
        "listeners": listeners,
        "tracks": tracks,
        "artists": artists,
        "moods": moods,
        "sessions": sessions,
        "days": days,
    }
    with replacing(out, force=force) as folder:
        events = _events(frame, truth, rng)
        events.write_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
        _catalogue(truth, track_ms, rng).write_parquet(folder / CATALOGUE)
        save_truth(truth, folder)
        about = {
            "source": "simulate",
            "settings": {**settings, "seed": seed, "habits": asdict(world.habits)},
            "licence": "made up by nexttrack; no rights reserved",
            **describe(events.lazy()),
        }
        write_about(folder, about)
    return open_log(out)


def _ids(prefix: str, count: int) -> npt.NDArray[np.str_]:
    width = len(str(max(0, count - 1)))
    return np.array([f"{prefix}{number:0{width}d}" for number in range(count)])


def _timed(plays: Plays, owner: Int64s, track_ms: Int64s, days: int, rng: np.random.Generator) -> pl.DataFrame:
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


def _events(frame: pl.DataFrame, truth: Truth, rng: np.random.Generator) -> pl.DataFrame:
    """Turn plays into the events that a player would have posted, in the columns of a canonical log."""
    spoken = pl.Series(rng.random(len(frame))) < np.where(frame["skipped"], DISLIKES, LIKES)
    plays = frame.with_columns(
        user_id=pl.Series(truth.users[frame["listener"]]), track_id=pl.Series(truth.tracks[frame["track"]]), spoken=spoken
    )
    none = pl.lit(None, pl.Int64)
    began = plays.with_columns(type=pl.lit("play"), played_ms=none)
    ended = plays.with_columns(at_ms=pl.col("at_ms") + pl.col("played_ms"), type="end")
    opinion = pl.when("skipped").then(pl.lit("dislike")).otherwise(pl.lit("like"))
    said = plays.filter("spoken").with_columns(
        at_ms=pl.col("at_ms") + pl.col("played_ms") // 2, type=opinion, played_ms=none, track_ms=none
    )
    events = pl.concat([began, ended, said]).with_columns(
        session_id=pl.lit(None),
        asked=pl.lit(True),
        part=pl.lit(None),
    )
    return events.select(SCHEMA.names()).cast(SCHEMA).sort(ORDER)


def _catalogue(truth: Truth, track_ms: Int64s, rng: np.random.Generator) -> pl.DataFrame:
    names = np.array(artist_names(int(truth.world.artist.max()) + 1, rng))
    titles = np.array(track_titles(truth.world.by_mood.argmax(axis=0), rng))
    return pl.DataFrame(
        {
            "track_id": truth.tracks,
            "title": titles,
            "artist": names[truth.world.artist],
            "album": titles[_opening_tracks(truth.world.artist)],
            "duration_ms": track_ms,
        }
    )


def _opening_tracks(artist: Int64s) -> Int64s:
    """Return for each track the first track of its album, [V]. An album is `ALBUM` tracks of an artist in a row, and it is
    called after the first one. `artist` is sorted.
    """
    first = artist.searchsorted(artist)
    return first + (np.arange(len(artist)) - first) // ALBUM * ALBUM
