"""The figures about skips are right for services whose answers are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.load.skips import BestPossible, Play, Recommender, Service, Step, artists_of, meet, newest_sessions, table
from training.simulator.habits.truth import HabitTruth
from training.simulator.moods.truth import MoodTruth
from training.simulator.simulate import simulate
from training.simulator.truth import read_truth

ARTISTS = {f"a{number}": "ann" for number in range(30)} | {f"b{number}": "bob" for number in range(30)}


def service(tracks: Callable[[list[str]], list[str]]) -> Recommender:
    """A service that proposes `tracks`, given how each play ended so far."""
    ends: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            ends.extend(event["type"] for event in json.loads(request.content)["events"] if event["type"] != "play")
            return httpx.Response(202, json={})
        return httpx.Response(200, json={"degraded": False, "tracks": [{"track_id": track} for track in tracks(ends)]})

    return Service(httpx.Client(base_url="http://here", transport=httpx.MockTransport(answer)), [Play("b7", False)])


def test_a_list_that_never_moves_has_no_new_tracks() -> None:
    """Ann has three of the four tracks, after each skip as before."""
    steps = meet(service(lambda _: ["a1", "a2", "b1", "a3"]), ARTISTS, skips=True)

    assert steps == [Step(of_artist=3, new=0)] * 4


def test_an_artist_who_leaves_after_a_skip_ends_the_journey() -> None:
    """After the first skip all four tracks are Bob's, and three of them are new. After plays Ann stays."""

    def reacting(ends: list[str]) -> list[str]:
        return ["b1", "b2", "b3", "b4"] if "skip" in ends else ["a1", "a2", "b1", "a3"]

    assert meet(service(reacting), ARTISTS, skips=True) == [Step(of_artist=3, new=0), Step(of_artist=0, new=0.75)]
    assert len(meet(service(reacting), ARTISTS, skips=False)) == 4


def test_the_table_keeps_those_who_are_done() -> None:
    """Two listeners begin with three tracks and one. After a skip one has two left, and the other none."""
    left = [Step(of_artist=3, new=0), Step(of_artist=2, new=0.25), Step(of_artist=1, new=0.5)]
    gone = [Step(of_artist=1, new=0), Step(of_artist=0, new=0.75)]

    lines = table({"skipped": [left, gone]}).splitlines()

    assert lines[2:] == [
        "| skipped | 0 | 2 | 2.00 |  |",
        "| skipped | 1 | 2 | 1.00 | 0.500 |",
        "| skipped | 2 | 1 | 0.50 | 0.500 |",
        "| skipped | 3 | 0 | 0.00 |  |",
    ]


def test_a_degraded_reply_stops_the_measurement() -> None:
    """Popular tracks say nothing about the model."""
    degraded = httpx.MockTransport(lambda _: httpx.Response(200, json={"degraded": True, "tracks": []}))
    there = Service(httpx.Client(base_url="http://here", transport=degraded), [Play("b7", False)])

    with pytest.raises(SystemExit, match="popular tracks"):
        meet(there, ARTISTS, skips=True)


@pytest.mark.parametrize("world", ["moods", "habits"])
def test_the_best_possible_ranking_meets_the_logs_own_listeners(tmp_path: Path, world: Literal["moods", "habits"]) -> None:
    """Its first list has no track of the session. Each track that is met leaves the list, so something new comes in."""
    log = simulate(tmp_path / "log", world=world, listeners=30, tracks=200, artists=20, sessions=5)
    truth = read_truth(log.folder)
    assert isinstance(truth, MoodTruth | HabitTruth)
    sessions = newest_sessions(log, 2)
    first = next(iter(sessions))
    best = BestPossible(truth, first, sessions[first])

    assert [len(plays) for plays in sessions.values()] == [20, 20]
    assert set(best.propose()).isdisjoint(play.track for play in sessions[first])
    assert all(step.new >= 1 / 20 for step in meet(best, artists_of(log), skips=True)[1:])
