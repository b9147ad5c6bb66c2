"""POST /v1/events: which events are accepted, which are refused, and that a refusal stores nothing."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from httpx import Client, Response

from model.artifact import Artifact
from tests.service.applications import NOW_MS, Clock, running
from tests.service.fakes import BrokenSessions

AT = "2027-01-15T08:00:00Z"


@pytest.fixture
def client(artifact: Artifact) -> Iterator[Client]:
    """Yield a client of an application with an empty store."""
    with running(artifact) as client:
        yield client


def event(number: int = 1, **changes: object) -> dict[str, Any]:
    """Make a good event with some fields changed."""
    return {"event_id": f"e{number}", "user_id": "u", "track_id": f"t{number}", "type": "play", "at": AT} | changes


def post(client: Client, body: object) -> Response:
    """Post a body in ASCII, because httpx would not send a lone surrogate."""
    return client.post("/v1/events", content=json.dumps(body), headers={"content-type": "application/json"})


def session(client: Client, user: str = "u") -> list[dict[str, str]]:
    """Return the user's current session."""
    found: list[dict[str, str]] = client.get(f"/v1/users/{user}/session").json()["session"]
    return found


def test_one_event_and_many_are_taken_alike(client: Client) -> None:
    """A single event needs no list around it."""
    one = client.post("/v1/events", json=event(1))
    many = client.post("/v1/events", json={"events": [event(1), event(2), event(3, user_id="other")]})

    assert (one.status_code, one.json()) == (200, {"accepted": 1, "duplicates": 0})
    assert (many.status_code, many.json()) == (200, {"accepted": 2, "duplicates": 1})
    assert [entry["track_id"] for entry in session(client)] == ["t1", "t2"]


def test_integer_ids_are_taken_as_their_decimal_text(client: Client) -> None:
    """In every field, an integer means the same listener, track or event as its text."""
    first = client.post("/v1/events", json=event(event_id=1, user_id=12, track_id=-7))
    again = client.post("/v1/events", json={"events": [event(event_id="1", user_id="12", track_id="-7")]})

    assert (first.json()["accepted"], again.json()["duplicates"]) == (1, 1)
    assert [entry["track_id"] for entry in session(client, "12")] == ["-7"]


def test_event_without_a_time_happened_now(client: Client) -> None:
    """`at` may be left out."""
    body = event()
    del body["at"]
    client.post("/v1/events", json=body)

    assert session(client) == [{"track_id": "t1", "outcome": "played", "at": AT}]


@pytest.mark.parametrize(
    "at", ["2027-01-15T07:59:59.5Z", "2027-01-15T09:00:00+01:00", "2027-01-15t08:04:59z", "2027-01-15 08:00:00-00:00"]
)
def test_times_of_rfc_3339_are_taken(client: Client, at: str) -> None:
    """They may have any offset and fraction, and be up to five minutes ahead of our clock."""
    reply = client.post("/v1/events", json=event(at=at))

    assert reply.status_code == 200


FAULTY = [
    ({"at": "2027-01-15T08:05:01Z"}, ["at"]),
    ({"at": "2027-01-15T08:00:00"}, ["at"]),
    ({"at": "2027-02-30T08:00:00Z"}, ["at"]),
    ({"at": "1969-12-31T23:59:59Z"}, ["at"]),
    ({"at": 1_800_000_000}, ["at"]),
    ({"at": "yesterday"}, ["at"]),
    ({"event_id": ""}, ["event_id"]),
    ({"event_id": "x" * 10_000}, ["event_id"]),
    ({"event_id": "é" * 129}, ["event_id"]),
    ({"user_id": "a\nb"}, ["user_id"]),
    ({"user_id": "a\u0085b"}, ["user_id"]),
    ({"user_id": "\ud800"}, ["user_id"]),
    ({"track_id": None}, ["track_id"]),
    ({"track_id": 7.0}, ["track_id"]),
    ({"track_id": True}, ["track_id"]),
    ({"type": "hum"}, ["type"]),
    ({"played_ms": -1}, ["played_ms"]),
    ({"played_ms": "5"}, ["played_ms"]),
    ({"played_ms": 1e300}, ["played_ms"]),
    ({"session_id": "\x00"}, ["session_id"]),
    ({"private": "yes"}, ["private"]),
    ({"private": 1}, ["private"]),
    ({"colour": "red"}, ["colour"]),
]


@pytest.mark.parametrize(("changes", "loc"), FAULTY)
def test_one_bad_event_refuses_the_batch(client: Client, changes: dict[str, object], loc: list[str]) -> None:
    """The reply is 422, the error points at the fault in the body as it was sent, and nothing of the batch is stored."""
    alone = post(client, event(2, **changes))
    batch = post(client, {"events": [event(1), event(2, **changes)]})

    assert (alone.status_code, batch.status_code) == (422, 422)
    assert [fault["loc"] for fault in alone.json()["errors"]] == [["body", *loc]]
    assert [fault["loc"] for fault in batch.json()["errors"]] == [["body", "events", 1, *loc]]
    assert session(client) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'"x"', b"null", b"\xff\xfe", b'{"events": 1}', b'{"events": []}'])
def test_body_that_is_no_event_is_refused(client: Client, body: bytes) -> None:
    """Whatever the body is, the reply is a problem and never a 500."""
    reply = client.post("/v1/events", content=body, headers={"content-type": "application/json"})

    assert reply.status_code in (400, 422)
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8", None])
def test_body_that_does_not_say_it_is_json_is_told_so(client: Client, kind: str | None) -> None:
    """By default, curl sends such a body without the header. The error names the header, not the event."""
    headers = {} if kind is None else {"content-type": kind}
    reply = client.post("/v1/events", content=json.dumps(event()), headers=headers)

    assert reply.status_code == 422
    assert reply.json()["errors"] == [
        {"loc": ["header", "content-type"], "msg": f"found {kind or 'none'}; the body is application/json"}
    ]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"])
def test_any_kind_of_json_is_read(client: Client, kind: str) -> None:
    """Then the body is checked, and its own faults are reported."""
    good = client.post("/v1/events", content=json.dumps(event()), headers={"content-type": kind})
    bad = client.post("/v1/events", content=json.dumps(event(type="hum")), headers={"content-type": kind})

    assert good.json() == {"accepted": 1, "duplicates": 0}
    assert [fault["loc"] for fault in bad.json()["errors"]] == [["body", "type"]]


def test_nesting_without_end_is_refused(client: Client) -> None:
    """A body that would exhaust a parser's stack gets a 4xx like any other bad request."""
    reply = client.post("/v1/events", content=b"[" * 100_000, headers={"content-type": "application/json"})

    assert reply.status_code in (400, 422)


def test_a_thousand_events_are_taken_and_one_more_is_not(client: Client) -> None:
    """The limit of a batch is where the contract says."""
    full = client.post("/v1/events", json={"events": [event(number) for number in range(1_000)]})
    over = client.post("/v1/events", json={"events": [event(number) for number in range(1_001)]})

    assert full.json() == {"accepted": 1_000, "duplicates": 0}
    assert over.status_code == 422
    assert over.json()["errors"][0]["loc"] == ["body", "events"]


def tracks(client: Client) -> list[str]:
    """Return all tracks that may be proposed to the user."""
    found = client.get("/v1/users/u/next", params={"count": 100}).json()
    assert found["source"] == "model"
    return [track["track_id"] for track in found["tracks"]]


def minutes_ago(minutes: float) -> str:
    """Return the time this long before the clock of these applications."""
    return datetime.fromtimestamp(NOW_MS / 1000 - 60 * minutes, UTC).isoformat()


@pytest.mark.parametrize("session_id", [None, "s"])
def test_skip_of_a_player_whose_clock_is_slow_masks(client: Client, session_id: str | None) -> None:
    """It is 31 minutes old on receipt, with or without a session name. The track is not proposed again."""
    skipped = tracks(client)[0]
    client.post("/v1/events", json=event(track_id=skipped, type="skip", at=minutes_ago(31), session_id=session_id))

    assert skipped not in tracks(client)
    assert session(client) == [{"track_id": skipped, "outcome": "skipped", "at": "2027-01-15T07:29:00Z"}]


def test_late_report_revives_nothing(client: Client) -> None:
    """More than a day old on receipt, it is part of the history but of no current session."""
    skipped = tracks(client)[0]
    client.post("/v1/events", json=event(track_id=skipped, type="skip", at=minutes_ago(24 * 60 + 1), session_id="s"))

    assert skipped in tracks(client)
    assert session(client) == []


@pytest.mark.parametrize("session_id", [None, "s"])
def test_event_from_a_log_counts_at_its_own_time(client: Client, session_id: str | None) -> None:
    """An hour old and imported: a session without a name is over, a named one goes on, as if it had arrived in time."""
    skipped = tracks(client)[0]
    told = event(track_id=skipped, type="skip", at=minutes_ago(60), session_id=session_id, imported=True)
    client.post("/v1/events", json=told)
    [stored] = client.get("/v1/users/u/export").json()["events"]

    assert (skipped in tracks(client)) == (session_id is None)
    assert stored["received_at"] == stored["at"]


@pytest.mark.parametrize(("type", "masked"), [("skip", False), ("dislike", True)])
def test_old_reports_are_no_masks_of_a_reply_without_redis(artifact: Artifact, type: str, *, masked: bool) -> None:
    """A skip of two days ago masks nothing, whether Redis answers or not; a dislike does."""
    with running(artifact, store=BrokenSessions()) as client:
        popular = client.get("/v1/users/u/next").json()["tracks"][0]["track_id"]
        told = event(track_id=popular, type=type, at=minutes_ago(48 * 60))
        assert client.post("/v1/events", json=told).status_code == 503
        proposed = [track["track_id"] for track in client.get("/v1/users/u/next").json()["tracks"]]

    assert (popular not in proposed) == masked


def test_named_session_lasts_a_day_without_an_event(artifact: Artifact) -> None:
    """One millisecond later it has ended."""
    clock = Clock()
    with running(artifact, clock=clock) as client:
        skipped = tracks(client)[0]
        client.post("/v1/events", json=event(track_id=skipped, type="skip", session_id="s"))
        clock.now_ms += 24 * 60 * 60 * 1000
        at_the_end = tracks(client)
        clock.now_ms += 1
        afterwards = tracks(client)

    assert skipped not in at_the_end
    assert skipped in afterwards


@pytest.mark.parametrize("step_minutes", [-120, -40, -1, 29])
def test_skip_without_a_time_masks_after_our_clock_was_set(artifact: Artifact, step_minutes: int) -> None:
    """The clock was set back or forward. Both the earlier skip and the new one still mask."""
    clock = Clock()
    with running(artifact, clock=clock) as client:
        first, second = tracks(client)[:2]
        client.post("/v1/events", json=event(1, track_id=first, type="skip", at=None))
        clock.now_ms += step_minutes * 60_000
        client.post("/v1/events", json=event(2, track_id=second, type="skip", at=None))

        assert {first, second}.isdisjoint(tracks(client))


def test_private_events_count_in_the_session_alone(artifact: Artifact) -> None:
    """A skip and a dislike mask while the session goes on. Afterwards they are forgotten."""
    clock = Clock()
    with running(artifact, clock=clock) as client:
        skipped, disliked = tracks(client)[:2]
        client.post("/v1/events", json=event(1, track_id=skipped, type="skip", private=True))
        client.post("/v1/events", json=event(2, track_id=disliked, type="dislike", private=True))
        during = tracks(client)
        clock.now_ms += artifact.manifest.history.gap_ms + 1
        afterwards = tracks(client)

    assert {skipped, disliked}.isdisjoint(during)
    assert {skipped, disliked} <= set(afterwards)


def test_store_out_of_reach_says_when_to_try_again(artifact: Artifact) -> None:
    """The reply is 503 with Retry-After. Sending the same batch again counts nothing twice."""
    with running(artifact, store=BrokenSessions()) as client:
        reply = client.post("/v1/events", json=event())

    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0


def test_events_are_counted_by_type_and_result(client: Client) -> None:
    """Operators see the share of skips, and of retries."""
    client.post("/v1/events", json={"events": [event(1), event(2, type="skip"), event(1)]})
    exposed = client.get("/metrics").text

    assert 'nexttrack_events_total{result="accepted",type="play"} 1.0' in exposed
    assert 'nexttrack_events_total{result="duplicate",type="play"} 1.0' in exposed
    assert 'nexttrack_events_total{result="accepted",type="skip"} 1.0' in exposed
