"""Examples for the OpenAPI document: what `/docs` shows and sends, and what a reader of the document sees first.

Each request here is one that the service answers. A test sends all of them and holds all examples against their schemas.
"""

from http import HTTPStatus
from typing import Any, NamedTuple

from service.errors import Fault


class Request(NamedTuple):
    """An example of a request body, with a title."""

    summary: str
    body: dict[str, Any]


_REQUEST_ID = "01a22f082e354da4f9fc3c6da5d7.current.sLt8SA.demo-20261201T003625-91f043"
_MODEL = {"name": "demo", "version": "demo-20261201T003625-91f043"}
_TRACKS = [
    {"track_id": "t1396", "score": 7.486, "title": "No More Midnight Escalator", "artist": "Hotel Honest Lighthouse"},
    {"track_id": "t1446", "score": 7.22, "title": "Honey Bicycle at Dawn", "artist": "Odin Harrowyn"},
]
_PROPOSAL = {
    "user_id": "ann",
    "request_id": _REQUEST_ID,
    "model": _MODEL,
    "source": "model",
    "degraded": False,
    "tracks": _TRACKS,
}
_RADIO = _PROPOSAL | {
    "user_id": None,
    "request_id": "01a22f082e36b8a1abcd1a6916c7.current.GTM.demo-20261201T003625-91f043",
    "tracks": [
        {"track_id": "t0212", "score": 6.913, "title": "Paper Lanterns, Slow River", "artist": "The Quiet Cartographers"}
    ],
}
_PLAY = {"event_id": "5f0c2c1e-0001", "user_id": "ann", "track_id": "t1396", "type": "play", "request_id": _REQUEST_ID}
_SKIP = _PLAY | {"event_id": "5f0c2c1e-0002", "type": "skip", "played_ms": 4_000, "track_ms": 201_000}
_SKIPPED = {"track_id": "t1396", "outcome": "skipped", "at": "2026-12-01T08:15:04Z"}
_LIKED = {"track_id": "t1446", "outcome": "liked", "at": "2026-12-01T08:18:31Z"}

PARAMETERS: dict[str, Any] = {
    "kind": "tracks",
    "value": "t0007",
    "user_id": "ann",
    "count": 5,
    "exclude": ["t0007"],
    "history": True,
    "hours": 24,
}
"""Examples of parameters, by their names."""

REQUESTS: dict[str, dict[str, Request]] = {
    "PostedEvent": {
        "play": Request("A track starts", _PLAY),
        "skip": Request("It is left early", _SKIP),
        "private": Request(
            "A play that counts in this session only",
            {"event_id": "5f0c2c1e-0003", "user_id": "ann", "track_id": "t0007", "type": "play", "private": True},
        ),
    },
    "PostedEvents": {"many": Request("Several events, such as those of a time without a network", {"events": [_PLAY, _SKIP]})},
    "NextRequest": {
        "radio": Request(
            "A track radio: a history of one track, and no listener",
            {"history": [{"track_id": "t0007", "outcome": "liked"}], "count": 20},
        ),
        "history": Request(
            "A history that the player keeps itself; nothing is read from Redis or written to it",
            {
                "history": [{"track_id": "t0007", "outcome": "played"}, {"track_id": "t0011", "outcome": "skipped"}],
                "count": 5,
            },
        ),
        "listener": Request("A listener, as with GET", {"user_id": "ann", "count": 5, "exclude": ["t0001", "t0002"]}),
        "rules": Request(
            "A listener, with no artist twice in a row of three and nothing heard within a week",
            {"user_id": "ann", "count": 10, "artist_gap": 3, "not_heard_days": 7},
        ),
        "candidates": Request(
            "Rank the tracks of a playlist for a listener", {"user_id": "ann", "candidates": ["t0003", "t0042", "t1446"]}
        ),
    },
    "NextBatch": {
        "mixed": Request(
            "A listener and a track radio", {"requests": [{"user_id": "ann", "count": 2}, {"history": [{"track_id": "t0007"}]}]}
        ),
    },
}
"""Bodies of requests, by the names of their schemas."""

_STATUS = {
    "at": "2026-12-01T08:20:00Z",
    "requests": [{"route": "/v1/users/{user_id}/next", "method": "GET", "status": "200", "count": 48_211}],
    "latency": [{"route": "/v1/users/{user_id}/next", "count": 48_211, "p50_ms": 2.1, "p90_ms": 4.4, "p99_ms": 9.7}],
    "last_hour": [
        {
            "at": "2026-12-01T08:19:45Z",
            "seconds": 15.0,
            "requests": 1_204,
            "errors": 0,
            "proposals": 402,
            "degraded": 0,
            "p50_ms": 2.1,
            "p90_ms": 4.2,
            "p99_ms": 9.1,
        }
    ],
    "degraded": {"replies": 3, "share": 0.00006, "reasons": {"redis": 3}},
    "outcome_hours": 24,
    "outcomes_by_hour": [
        {
            "hour": "2026-12-01T08:00:00Z",
            "version": _MODEL["version"],
            "arm": "current",
            "completed": 310,
            "skipped": 74,
            "liked": 9,
            "disliked": 1,
        }
    ],
    "outcomes": [
        {
            "version": _MODEL["version"],
            "arm": "current",
            "completed": 8_120,
            "skipped": 1_930,
            "liked": 240,
            "disliked": 31,
            "ranks": [{"rank": "1", "completed": 3_001, "skipped": 604, "liked": 98, "disliked": 9}],
        }
    ],
    "redis": {"ready": True, "ping_ms": 0.4, "reason": None},
    "models": [{"arm": "current", **_MODEL, "created_at": "2026-12-01T00:36:25Z", "age_s": 27_815}],
    "trouble": [{"at": "2026-12-01T07:58:12Z", "level": "warning", "what": "sessions are out of reach", "times": 3}],
}
REPLIES: dict[str, Any] = {
    "Recorded": {"accepted": 2, "duplicates": 0},
    "Proposal": _PROPOSAL,
    "ProposalBatch": {"replies": [_PROPOSAL, _RADIO]},
    "ListenerSession": {
        "user_id": "ann",
        "session": [_SKIPPED, _LIKED],
        "skipped": ["t1396"],
        "expires_at": "2026-12-31T08:18:31Z",
        "history": [{"track_id": "t0042", "outcome": "played", "at": "2026-11-30T21:47:10Z"}, _SKIPPED, _LIKED],
    },
    "NewBlock": {"kind": "tracks", "value": "t0007", "tracks": 1},
    "BlockList": {"tracks": ["t0007"], "artists": ["Odin Harrowyn"], "albums": []},
    "ListenerBlocks": {"user_id": "ann", "tracks": ["t0007"], "artists": ["Odin Harrowyn"], "albums": []},
    "Export": {
        "user_id": "ann",
        "exported_at": "2026-12-01T08:20:00Z",
        "events": [
            {
                "event_id": "5f0c2c1e-0002",
                "track_id": "t1396",
                "type": "skip",
                "at": "2026-12-01T08:15:04Z",
                "received_at": "2026-12-01T08:15:04.210Z",
                "played_ms": 4_000,
                "track_ms": 201_000,
                "session_id": None,
                "request_id": _REQUEST_ID,
                "private": False,
            }
        ],
        "long_history": [{"track_id": "t0291", "outcome": "played", "at": "2026-10-03T19:40:12Z"}],
        "opinions": [{"track_id": "t1446", "type": "like", "at": "2026-12-01T08:18:31Z"}],
        "blocks": [{"kind": "artists", "value": "Odin Harrowyn", "at": "2026-12-01T08:19:02Z"}],
        "unreadable": [],
        "expires_at": {
            "events": "2026-12-31T08:18:31Z",
            "opinions": "2027-12-01T08:18:31Z",
            "blocks": "2027-12-01T08:19:02Z",
        },
    },
    "ModelDescription": {
        **_MODEL,
        "tracks": 2_000,
        "created_at": "2026-12-01T00:36:25Z",
        "origin": {"log": "simulated", "events": 411_093, "listeners": 2_000},
        "quality": {"HR@20": 0.6015, "NDCG@10": 0.2696},
        "history": {"length": 50, "gap_ms": 1_800_000, "named_gap_ms": 86_400_000},
    },
    "Status": _STATUS,
    "Health": {"status": "ok"},
    "Readiness": {"ready": True, "reasons": []},
    "Readiness 503": {"ready": False, "reasons": ["Redis is out of reach"]},
    "text/plain": 'nexttrack_proposals_total{arm="current",source="model",version="demo-20261201T003625-91f043"} 48208.0\n',
}
"""Replies, by the names of their schemas; where a schema has several, with the status behind the name."""

PROBLEMS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "this path needs a key; send it as `Authorization: Bearer KEY`",
    HTTPStatus.FORBIDDEN: "this path needs an admin key",
    HTTPStatus.CONFLICT: "current: found manifest schema 3; this version reads 4",
    HTTPStatus.UNAUTHORIZED: "this path needs a key; send it as `Authorization: Bearer KEY`",
    HTTPStatus.FORBIDDEN: "a listener token opens the paths of its own user alone",
    HTTPStatus.TOO_MANY_REQUESTS: "a user may send 2 requests a second; repeat after the seconds in Retry-After",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is over 1048576 bytes; send less at once",
    HTTPStatus.SERVICE_UNAVAILABLE: "Redis did not answer in time",
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "something went wrong here, not in the request; the log has it under this reply's X-Request-ID"
    ),
}
"""The `detail` of a problem, by status. A 422 has a fault of `FAULTS`."""

FAULTS: dict[str, Fault] = {
    "PostedEvent": {
        "loc": ["body", "events", 1, "type"],
        "msg": "Input should be 'play', 'skip', 'complete', 'like' or 'dislike'",
    },
    "NextRequest": {"loc": ["body", "count"], "msg": "Input should be less than or equal to 100"},
    "NextBatch": {"loc": ["body", "requests", 3, "count"], "msg": "Input should be less than or equal to 100"},
}
ANY_FAULT: Fault = {"loc": ["query", "limit"], "msg": "unknown parameter; expected count or exclude"}
"""The fault of a request without a body."""
