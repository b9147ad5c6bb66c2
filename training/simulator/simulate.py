"""Simulates a log of listeners whose best possible ranking is known, for the demo, for tests, and to measure models against.

There are two worlds. `training.simulator.moods` has many listeners with short histories, whose moods must be guessed.
`training.simulator.habits` has few listeners with long histories, who repeat tracks and sequences of tracks. Both write
`truth.npz` beside the log, from which `training.simulator.truth` computes the best possible ranking.

The world of moods makes about 200,000 plays in a second or two by default, that of habits as many in some five seconds. All
plays are held in memory, half a gigabyte for a million.

Shapes: S sessions, N plays, U listeners, V tracks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from training.data.log import CATALOGUE, EVENTS, ROW_GROUP, Log, LogError, describe, open_log, replacing, write_about
from training.simulator import events
from training.simulator.habits import listening as habits_listening
from training.simulator.habits import world as habits
from training.simulator.habits.truth import HabitTruth
from training.simulator.moods import listening as moods_listening
from training.simulator.moods import world as moods
from training.simulator.moods.truth import MoodTruth, filter_moods
from training.simulator.moods.world import Int64s
from training.simulator.plays import Plays, session_lengths
from training.simulator.truth import Truth, save_truth

MOODS = 12
ALBUM = 8
"""Largest number of tracks of an album in the world of moods. Listeners do not care about albums there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The size of a simulated log. `sessions` is the mean number of sessions of a listener in `days` days."""

    listeners: int
    tracks: int
    artists: int
    sessions: float
    days: int


SIZES = {
    "moods": Size(listeners=2_000, tracks=2_000, artists=200, sessions=5.0, days=28),
    "habits": Size(listeners=80, tracks=20_000, artists=2_000, sessions=130.0, days=365),
}
"""The default size of each world."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Simulated:
    """Plays of a world, and what has to be written about it."""

    plays: Plays
    world: moods.World | habits.World
    album: int  # largest number of tracks of an album
    rules: dict[str, Any]  # for log.json
    dislikes: float  # share of skipped plays
    truth: Callable[[npt.NDArray[np.str_], npt.NDArray[np.str_], Int64s], Truth]  # of users, tracks and times of plays


def simulate(
    out: Path,
    *,
    world: Literal["moods", "habits"] = "moods",
    listeners: int | None = None,
    tracks: int | None = None,
    artists: int | None = None,
    sessions: float | None = None,
    days: int | None = None,
    seed: int = 1,
    force: bool = False,
) -> Log:
    """Write a simulated log, with its `truth.npz`, to the folder `out`. The same seed gives the same log.

    Sizes that are None are those of `SIZES`. LogError if `out` exists and not `force`, or if there are fewer artists than moods
    or fewer tracks than artists.
    """
    usual = SIZES[world]
    size = Size(
        listeners=usual.listeners if listeners is None else listeners,
        tracks=usual.tracks if tracks is None else tracks,
        artists=usual.artists if artists is None else artists,
        sessions=usual.sessions if sessions is None else sessions,
        days=usual.days if days is None else days,
    )
    if not MOODS <= size.artists <= size.tracks or size.listeners < 1:
        raise LogError(
            f"found {size.listeners} listeners, {size.artists} artists and {size.tracks} tracks; "
            f"wanted at least one listener, {MOODS} artists, and a track for each artist"
        )
    rng = np.random.default_rng(seed)
    simulated, owner = _with_moods(size, rng) if world == "moods" else _with_habits(size, rng)
    track_ms = np.clip(np.exp(rng.normal(np.log(210_000), 0.25, size.tracks)), 95_000, 480_000).astype(np.int64)
    frame = events.timed(simulated.plays, owner, track_ms, size.days, rng)
    user_ids, track_ids = _ids("u", size.listeners), _ids("t", size.tracks)
    with replacing(out, force=force) as folder:
        posted = events.events(frame, user_ids, track_ids, rng, dislikes=simulated.dislikes)
        posted.write_parquet(folder / EVENTS, row_group_size=ROW_GROUP)
        titles = events.catalogue(track_ids, simulated.world, track_ms, rng, album=simulated.album)
        titles.write_parquet(folder / CATALOGUE)
        save_truth(simulated.truth(user_ids, track_ids, frame["at_ms"].to_numpy()), folder)
        about = {
            "source": "simulate",
            "settings": {"world": world, **asdict(size), "moods": MOODS, "seed": seed, "habits": simulated.rules},
            "licence": "made up by nexttrack; no rights reserved",
            **describe(posted.lazy()),
        }
        write_about(folder, about)
    return open_log(out)


def _with_moods(size: Size, rng: np.random.Generator) -> tuple[_Simulated, Int64s]:
    """Simulate the world of moods. Also returns the listener of each session."""
    world = moods.make_world(moods=MOODS, artists=size.artists, tracks=size.tracks, rng=rng)
    taste, favourite = moods.draw_tastes(size.listeners, MOODS, rng)
    owner = _owners(size, rng)
    # half of the sessions have more than 11 plays, one in twenty more than 68
    lengths = session_lengths(len(owner), rng, median=11, spread=np.log(68 / 11) / 1.645)
    with _bar(int(lengths.sum()), at_least=1_000_000) as advance:
        plays = moods_listening.listen(world, lengths, rng, taste=taste[owner], favourite=favourite[owner], progress=advance)
    belief, artist, last = filter_moods(world, plays, taste[owner], favourite[owner])

    def truth(users: npt.NDArray[np.str_], tracks: npt.NDArray[np.str_], at_ms: Int64s) -> Truth:
        return MoodTruth(
            world=world,
            tracks=tracks,
            users=users,
            favourite=favourite,
            user=np.repeat(owner, lengths),
            at_ms=at_ms,
            belief=belief,
            artist=artist,
            last=last,
        )

    return _Simulated(plays=plays, world=world, album=ALBUM, rules=asdict(world.habits), dislikes=0.03, truth=truth), owner


def _with_habits(size: Size, rng: np.random.Generator) -> tuple[_Simulated, Int64s]:
    """Simulate the world of habits. Also returns the listener of each session."""
    world = habits.make_world(artists=size.artists, tracks=size.tracks, rng=rng)
    listeners = habits.draw_listeners(world, size.listeners, rng)
    owner = _owners(size, rng)
    # half of the sessions have more than 10 plays, one in ten more than 46
    lengths = session_lengths(len(owner), rng, median=10, spread=np.log(46 / 10) / 1.2816)
    with _bar(int(lengths.sum()), at_least=100_000) as advance:
        plays = habits_listening.listen(world, listeners, owner, lengths, rng, progress=advance)

    def truth(users: npt.NDArray[np.str_], tracks: npt.NDArray[np.str_], at_ms: Int64s) -> Truth:
        return HabitTruth(
            world=world,
            listeners=listeners,
            tracks=tracks,
            users=users,
            user=np.repeat(owner, lengths),
            at_ms=at_ms,
            session=np.repeat(np.arange(len(owner)), lengths),
            track=plays.track,
            skipped=plays.skipped,
        )

    # Nobody dislikes a track here: it would leave the lists for good, and the listener might still come back to it.
    return _Simulated(plays=plays, world=world, album=habits.ALBUM, rules=asdict(world.rules), dislikes=0.0, truth=truth), owner


@contextmanager
def _bar(plays: int, *, at_least: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar during the `with` block, for `at_least` so many plays. Yields a function that advances it."""
    with Progress(transient=True, disable=plays < at_least) as progress:
        task = progress.add_task("Listening", total=plays)
        yield lambda made: progress.advance(task, made)


def _owners(size: Size, rng: np.random.Generator) -> Int64s:
    """Draw how many sessions each listener has. Returns the listener of each session [S], ascending."""
    counts = 1 + rng.poisson(max(0.0, size.sessions - 1), size.listeners)
    return np.repeat(np.arange(size.listeners), counts)


def _ids(prefix: str, count: int) -> npt.NDArray[np.str_]:
    width = len(str(max(0, count - 1)))
    return np.array([f"{prefix}{number:0{width}d}" for number in range(count)])
