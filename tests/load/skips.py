"""Shows what skips do to a running service's lists: `python -m tests.load.skips LOG --url http://127.0.0.1:8000`.

Listeners of a log become new listeners of the service, with their newest plays as the current session. Each asks for `COUNT`
tracks, and then meets `ROUNDS` tracks of the artist with the most tracks in that list, always the best ranked one. One listener
skips them all, and a second one with the same session plays them all. Prints how many tracks of the artist are left in the list
after each, and which share of the list is new. On a simulated log, the best possible ranking meets the same listeners.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

import httpx
import numpy as np

from model.events import HistoryRule, Outcome
from training.data.log import Log, open_log
from training.data.sequences import build
from training.simulator.habits import truth as habits
from training.simulator.habits.truth import HabitTruth
from training.simulator.moods import truth as moods
from training.simulator.moods.truth import MoodTruth
from training.simulator.truth import read_truth

COUNT, ROUNDS, PLAYS = 20, 3, 20
HEARD_MS, TRACK_MS = 4_000, 200_000


class Play(NamedTuple):
    """A track that was played, and whether it was skipped."""

    track: str
    skipped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A list: how many of its tracks are by the artist, and the share of it that the list before did not have."""

    of_artist: int
    new: float


class Recommender(Protocol):
    """Proposes tracks to one listener: a service, or the best possible ranking."""

    def propose(self) -> Sequence[str]:
        """Return the best `COUNT` tracks that were not heard in the session."""

    def report(self, play: Play) -> None:
        """Tell what the listener did next."""


class Service:
    """A running service that meets a new listener."""

    def __init__(self, api: httpx.Client, session: Sequence[Play]) -> None:
        self._api, self._user = api, f"skips-{uuid4()}"
        began = datetime.now(UTC) - timedelta(minutes=4 * len(session) + 1)
        self._post(event for place, play in enumerate(session) for event in _events(play, began + timedelta(minutes=4 * place)))

    def propose(self) -> Sequence[str]:
        reply = self._api.get(f"/v1/users/{self._user}/next", params={"count": COUNT}).raise_for_status().json()
        if reply["degraded"]:
            raise SystemExit("the service answers with popular tracks at present, which say nothing about the model")
        return [str(track["track_id"]) for track in reply["tracks"]]

    def report(self, play: Play) -> None:
        self._post(_events(play, datetime.now(UTC)))

    def _post(self, events: Iterable[Mapping[str, object]]) -> None:
        whole = [{"event_id": str(uuid4()), "user_id": self._user, **event} for event in events]
        self._api.post("/v1/events", json={"events": whole}).raise_for_status()


class BestPossible:
    """The ranking that knows a simulated listener's taste and the world."""

    def __init__(self, truth: MoodTruth | HabitTruth, user: str, session: Sequence[Play]) -> None:
        self._listener = moods.Imagined(truth, user) if isinstance(truth, MoodTruth) else habits.Imagined(truth, user)
        self._heard = set[str]()
        for play in session:
            self.report(play)

    def propose(self) -> Sequence[str]:
        return [track for track in self._listener.ranked() if track not in self._heard][:COUNT]

    def report(self, play: Play) -> None:
        self._heard.add(play.track)
        self._listener.play(play.track, skipped=play.skipped)


def meet(recommender: Recommender, artists: Mapping[str, str], *, skips: bool) -> list[Step]:
    """Skip or play tracks of the artist that is offered most. Returns a step for the first list, and one after each of the
    tracks. It is shorter if the artist leaves the list.
    """
    offered = recommender.propose()
    artist = Counter(artists[track] for track in offered).most_common(1)[0][0]
    mine = [track for track in offered if artists[track] == artist]
    steps = [Step(of_artist=len(mine), new=0.0)]
    for _ in range(ROUNDS):
        if not mine:
            break
        recommender.report(Play(mine[0], skips))
        before, offered = offered, recommender.propose()
        mine = [track for track in offered if artists[track] == artist]
        steps.append(Step(of_artist=len(mine), new=len(set(offered) - set(before)) / len(offered)))
    return steps


def table(arms: Mapping[str, Sequence[Sequence[Step]]]) -> str:
    """Return a Markdown table: a line for each arm and each number of tracks met, with the means over listeners. A listener
    whose list has no track of the artist any more stays in the mean with 0 tracks.
    """
    lines = ["| | tracks met | listeners | of the artist in the list | new in the list |", "|---|---|---|---|---|"]
    for name, lists in arms.items():
        for met in range(ROUNDS + 1):
            there = [steps[met] for steps in lists if len(steps) > met]
            left = sum(step.of_artist for step in there) / len(lists)
            new = f"{np.mean([step.new for step in there]):.3f}" if there and met else ""
            lines.append(f"| {name} | {met} | {len(there)} | {left:.2f} | {new} |")
    return "\n".join(lines)


def newest_sessions(log: Log, count: int) -> dict[str, list[Play]]:
    """Return the newest `PLAYS` plays of the last `count` listeners with so many, by listener, oldest first."""
    sequences = build(log, HistoryRule())
    long_enough = np.flatnonzero(np.diff(sequences.offsets) >= PLAYS)[-count:]
    return {
        sequences.users[one]: [
            Play(sequences.tracks[sequences.track[entry]], not Outcome(sequences.outcome[entry]).wanted)
            for entry in range(sequences.offsets[one + 1] - PLAYS, sequences.offsets[one + 1])
        ]
        for one in long_enough.tolist()
    }


def artists_of(log: Log) -> dict[str, str]:
    """Return the artist of each track of the catalogue."""
    catalogue = log.catalogue()
    if catalogue is None:
        raise SystemExit(f"{log.folder} has no catalogue, so nobody knows artists")
    return dict(catalogue.select("track_id", "artist").rows())


def _events(play: Play, at: datetime) -> list[Mapping[str, object]]:
    """Return what a player posts about a play that began at `at`."""
    heard_ms, end = (HEARD_MS, "skip") if play.skipped else (TRACK_MS, "complete")
    ended = at + timedelta(milliseconds=heard_ms)
    return [
        {"track_id": play.track, "type": "play", "at": at.isoformat()},
        {"track_id": play.track, "type": end, "at": ended.isoformat(), "played_ms": heard_ms, "track_ms": TRACK_MS},
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.skips", description=str(__doc__).partition("\n")[0])
    made.add_argument("log", type=Path, help="the log that the service's model was trained on")
    made.add_argument("--url", default="http://127.0.0.1:8000")
    made.add_argument("--listeners", type=int, default=100)
    return made


def main() -> None:
    """Print the table."""
    given = parser().parse_args()
    log = open_log(given.log)
    artists, sessions, truth = artists_of(log), newest_sessions(log, given.listeners), read_truth(log.folder)
    found: dict[str, list[list[Step]]] = {}
    with httpx.Client(base_url=given.url, timeout=60) as api:
        for name, skips in (("skipped", True), ("played", False)):
            found[name] = [meet(Service(api, session), artists, skips=skips) for session in sessions.values()]
            if isinstance(truth, MoodTruth | HabitTruth):
                best = (BestPossible(truth, user, session) for user, session in sessions.items())
                found[f"{name}, best possible"] = [meet(one, artists, skips=skips) for one in best]
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
