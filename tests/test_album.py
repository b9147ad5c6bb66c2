"""The demo's recipe on listeners with habits, from simulation to service: old albums continue, and lists react to skips."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest

from tests.service.processes import client_of
from tests.test_end_to_end import served
from training.__main__ import main
from training.data.log import open_log

pytestmark = pytest.mark.timeout(600)  # torch's exporter takes 10 s of processor time for a copy head
RECIPE = """\
extends = "demo"
name = "small"
[network]
width = 16
layers = 1
feed_forward = 32
[fit]
batch = 64
[copy_head]
length = 200
steps = 200
"""
ALBUMS, TRACKS, OTHERS = 10, 10, 30
"""Number of albums, of tracks of each, and of other plays after an album."""
LIST = 12
"""Length of the player's list."""
TRACK_MS = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the log of forty listeners, and with a model that was trained on it."""
    made = tmp_path_factory.mktemp("album")
    (made / "small.toml").write_text(RECIPE)
    log, recipe = str(made / "log"), ["--recipe", str(made / "small.toml"), "--run", str(made / "run")]
    size = ["--listeners", "40", "--sessions", "25", "--days", "90", "--tracks", "300", "--artists", "30"]
    assert main(["simulate", "--world", "habits", "--out", log, *size]) == 0
    assert main(["run", log, *recipe, "--cases", "100", "--out", str(made / "artifacts")]) == 0
    return made


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[httpx.Client]:
    """Yield a client of a service that runs this model with its own Valkey."""
    with served(folder) as url, client_of(url) as client:
        yield client


def test_an_album_heard_a_week_ago_continues(api: httpx.Client, folder: Path) -> None:
    """After its first two tracks the third one is the first proposal. It is not for listeners who did not hear the album."""
    first_is_third: dict[str, list[bool]] = {"heard": [], "not heard": []}
    for number, (album, others) in enumerate(albums_and_others(folder / "log")):
        for kind, found in first_is_third.items():
            user, now = f"{kind} {number}", datetime.now(UTC)
            if kind == "heard":
                play(api, user, album, now - timedelta(days=7))
            play(api, user, others, now - timedelta(days=3))
            play(api, user, album[:2], now - timedelta(minutes=10))
            found.append(next_tracks(api, user)[0] == album[2])

    assert first_is_third["heard"] == [True] * ALBUMS
    assert sum(first_is_third["not heard"]) < ALBUMS / 2


def test_lists_react_within_three_skips(api: httpx.Client, folder: Path) -> None:
    """More is new in the player's list than the tracks in the places of the skipped ones."""
    fresh = []
    for number, (_, others) in enumerate(albums_and_others(folder / "log")):
        user = f"skips {number}"
        play(api, user, others, datetime.now(UTC) - timedelta(hours=2))
        before = next_tracks(api, user)
        listed = before
        for _ in range(3):
            post(api, user, [(listed[0], "play", datetime.now(UTC)), (listed[0], "skip", datetime.now(UTC))])
            listed = next_tracks(api, user)
        fresh.append(len(set(listed) - set(before)) - 3)

    assert all(new > 0 for new in fresh), fresh


def albums_and_others(log: Path) -> list[tuple[list[str], list[str]]]:
    """Return whole albums, each with random tracks of other albums."""
    catalogue, rng = open_log(log).catalogue(), np.random.default_rng(1)
    assert catalogue is not None
    tracks = catalogue["track_id"].to_list()
    albums = catalogue.group_by("album", maintain_order=True).agg("track_id")["track_id"]
    whole = albums.filter(albums.list.len() == TRACKS).to_list()[:ALBUMS]
    return [(album, rng.choice([one for one in tracks if one not in album], OTHERS, replace=False).tolist()) for album in whole]


def next_tracks(api: httpx.Client, user: str) -> list[str]:
    """Ask what to play next. The model must answer."""
    reply = api.get(f"/v1/users/{user}/next", params={"count": LIST}).raise_for_status().json()
    assert (reply["source"], reply["degraded"]) == ("model", False)
    return [track["track_id"] for track in reply["tracks"]]


def play(api: httpx.Client, user: str, tracks: Sequence[str], began: datetime) -> None:
    """Post that a listener heard tracks to their ends, one after another."""
    starts = [began + timedelta(milliseconds=place * TRACK_MS) for place in range(len(tracks) + 1)]
    plays = zip(tracks, starts[:-1], starts[1:], strict=True)
    post(api, user, [event for track, at, ended in plays for event in ((track, "play", at), (track, "complete", ended))])


def post(api: httpx.Client, user: str, events: Sequence[tuple[str, str, datetime]]) -> None:
    """Post events, each a track, a type and a time."""
    whole = [
        {"event_id": str(uuid4()), "user_id": user, "track_id": track, "type": type, "at": at.isoformat()}
        for track, type, at in events
    ]
    assert api.post("/v1/events", json={"events": whole}).raise_for_status().json()["accepted"] == len(whole)
