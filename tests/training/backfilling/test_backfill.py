"""A backfill of a real service with a real Valkey."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import pytest
from rich.console import Console

from model.events import Event, EventType, HistoryRule, fold
from tests.service import artifacts
from tests.service.processes import client_of, free_port, process, until
from training.__main__ import main
from training.backfilling.backfill import backfill
from training.backfilling.newest_events import Wanted
from training.data.import_log import import_log
from training.data.log import Log, open_log

ANN = "ann/ö 1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that keeps 300 events of a listener. Each test uses its own listeners."""
    folder, port = tmp_path_factory.mktemp("filled"), free_port()
    settings = {"artifact": artifacts.build(folder / "artifacts"), "state_dir": folder, "history_events": 300}
    with process("-m", "service", port=port, log=folder / "log", **settings):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def world(tmp_path: Path) -> Log:
    """A log of 100 listeners."""
    assert main(["simulate", "--out", str(tmp_path / "log"), "--listeners", "100", "--tracks", "300", "--artists", "40"]) == 0
    return open_log(tmp_path / "log")


def imported(folder: Path, lines: list[str]) -> Log:
    """A log of lines of CSV."""
    (folder / "plays.csv").write_text("\n".join(["user_id,track_id,at,type,played_ms,track_ms", *lines]), "utf-8")
    return import_log("canonical", [str(folder / "plays.csv")], folder / "log", max_broken=0)


def kept(url: str, user_id: str) -> dict[str, Any]:
    """All that the service stores about a listener."""
    with client_of(url) as client:
        found: dict[str, Any] = client.get(f"/v1/users/{quote(user_id, safe='')}/export").json()
    return found


def milliseconds(at: str) -> int:
    """Unix time of an RFC 3339 text."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def test_listeners_have_the_histories_of_the_log(url: str, world: Log) -> None:
    """What the service stores folds to what the trainer folds: tracks, outcomes, times, order and sessions."""
    backfill(world, url)
    for [user_id], rows in world.events().collect().group_by("user_id", maintain_order=True):
        user_events = kept(url, str(user_id))["events"][-256:]  # before them: older opinions
        stored = [
            Event(milliseconds(event["at"]), EventType[event["type"].upper()], event["event_id"], event["track_id"])._replace(
                **{name: event[name] for name in ("played_ms", "track_ms", "session_id")}
            )
            for event in user_events
        ]
        logged = [
            Event(row["at_ms"], EventType[row["type"].upper()], "", row["track_id"])._replace(
                **{name: row[name] for name in ("played_ms", "track_ms", "session_id")}
            )
            for row in rows.tail(256).iter_rows(named=True)
        ]

        assert fold(stored, HistoryRule()).entries == fold(logged, HistoryRule()).entries


def test_again_changes_nothing_and_what_came_meanwhile_stays(url: str, tmp_path: Path) -> None:
    """All events are duplicates the second time. An event of the player lies among those of the log by its time."""
    log = imported(tmp_path, [f"again,t{place},2026-01-01T00:{place:02}:00Z,complete,40000,200000" for place in range(50)])
    first = backfill(log, url)
    live = {"event_id": "live", "user_id": "again", "track_id": "t9", "type": "skip", "at": "2026-01-01T00:10:30Z"}
    httpx.post(f"{url}/v1/events", json=live)
    before = kept(url, "again")["events"]
    second = backfill(log, url)

    assert (first.new, first.known, second.new, second.known) == (50, 0, 0, 50)
    assert kept(url, "again")["events"] == before
    assert [event["event_id"] for event in before].index("live") == 11


def test_outcomes_and_opinions_arrive_as_they_were(url: str, tmp_path: Path) -> None:
    """An old dislike counts though newer events fill the history. Played times decide what was skipped."""
    lines = [f"{ANN},t1,2024-01-01T00:00:00Z,dislike,,", f"{ANN},t2,2024-01-01T00:01:00Z,skip,3000,200000"]
    lines += [
        f"{ANN},t{place % 30 + 3},2025-01-01T00:00:{place:02}Z,complete,{1000 + 600 * place},200000" for place in range(60)
    ]
    backfill(imported(tmp_path, lines), url, wanted=Wanted(events=60))
    stored = kept(url, ANN)
    user = quote(ANN, safe="")
    history = httpx.get(f"{url}/v1/users/{user}/session?history=true").json()["history"]
    proposed = httpx.get(f"{url}/v1/users/{user}/next?count=100").json()["tracks"]

    assert [(opinion["track_id"], opinion["at"]) for opinion in stored["opinions"]] == [("t1", "2024-01-01T00:00:00Z")]
    assert [event["track_id"] for event in stored["events"]][:2] == ["t1", "t3"]
    assert [entry["outcome"] for entry in history][-12:] == ["skipped"] + ["played"] * 11
    assert "t1" not in [track["track_id"] for track in proposed]


def test_session_that_ended_an_hour_ago_is_over(url: str, tmp_path: Path) -> None:
    """The service would take a report of an hour ago for a player with a slow clock, and keep its tracks out."""
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    backfill(imported(tmp_path, [f"recent,t0,{at},skip,2000,"]), url)
    session = httpx.get(f"{url}/v1/users/recent/session?history=true").json()

    assert session["session"] == []
    assert [(entry["track_id"], entry["outcome"]) for entry in session["history"]] == [("t0", "skipped")]


def test_events_of_the_future_are_left_out_and_counted(url: str, tmp_path: Path) -> None:
    """The rest of the log goes to the service."""
    log = imported(tmp_path, ["later,t0,2026-01-01T00:00:00Z,skip,,", "later,t1,2099-01-01T00:00:00Z,skip,,"])
    out = StringIO()
    sent = backfill(log, url, console=Console(file=out, width=200))

    assert sent.new == 1
    assert "left out 1 event " in out.getvalue()
    assert f"one of them is later; type this id at {url} to see what comes next" in out.getvalue()


def test_older_plays_arrive_for_the_copy_head(url: str, tmp_path: Path) -> None:
    """The service keeps 300 events here. The plays before them become its long history."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [f"old,t{place % 40},{(start + timedelta(hours=place)).isoformat()},complete,," for place in range(1_400)]
    sent = backfill(imported(tmp_path, lines), url)
    stored = kept(url, "old")

    assert sent.new == 1_256
    assert (len(stored["events"]), len(stored["long_history"])) == (300, 956)


def test_killed_backfill_goes_on_where_it_was(url: str, tmp_path: Path) -> None:
    """Killed once it has sent something, it does not send that again, and in the end everything is there."""
    rows = [f"k{user:04},t{place % 40},2026-02-01T00:00:{place:02}Z,complete,,\n" for user in range(700) for place in range(40)]
    log = imported(tmp_path, ["".join(rows).rstrip()])
    command = [sys.executable, "-m", "training", "backfill", str(log.folder), "--url", url]
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until(lambda: bool(list(log.folder.glob("backfill-*.json"))) or started.poll() is not None)
    started.send_signal(signal.SIGKILL)

    assert started.wait() == -signal.SIGKILL
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    again = backfill(log, url)

    assert "goes on after" in ended.stderr
    assert "sent 28,000 events of 700 listeners" in ended.stderr
    assert (again.new, again.known) == (0, 28_000)
    assert not list(log.folder.glob("backfill-*"))


class _Recorder(BaseHTTPRequestHandler):
    """A service that stores nothing and records the times of the posted events, and its connections."""

    protocol_version = "HTTP/1.1"
    connections: ClassVar[list[object]] = []
    times: ClassVar[list[str]] = []

    def setup(self) -> None:
        super().setup()
        self.connections.append(self.client_address)

    def do_GET(self) -> None:
        self._reply({"version": "v1"})

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["content-length"])))["events"]
        self.times.extend(event["at"] for event in events)
        self._reply({"accepted": len(events), "duplicates": 0})

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _reply(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_events_of_a_listener_arrive_in_the_order_of_time(tmp_path: Path) -> None:
    """A service drops an event that is older than what has left the newest ones. So no second request may overtake the first:
    there is one connection for all.
    """
    lines = [f"long,t{place % 30},2026-01-01T{place // 60:02}:{place % 60:02}:00Z,complete,," for place in range(1_256)]
    with ThreadingHTTPServer(("127.0.0.1", 0), _Recorder) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            sent = backfill(imported(tmp_path, lines), f"http://127.0.0.1:{server.server_port}", wanted=Wanted(events=1_256))
        finally:
            server.shutdown()
            serving.join()

    assert sent.new == len(_Recorder.times) == 1_256
    assert _Recorder.times == sorted(_Recorder.times)
    assert len(_Recorder.connections) == 1


def test_address_without_a_service_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a hint, and no traceback."""
    log = imported(tmp_path, ["u,t0,2026-01-01T00:00:00Z,skip,,"])
    code = main(["backfill", str(log.folder), "--url", f"http://127.0.0.1:{free_port()}"])

    assert code == 1
    assert "is the service running?" in " ".join(capsys.readouterr().err.split())
    assert not list(log.folder.glob("backfill-*"))
