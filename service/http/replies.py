"""Encodes replies by msgspec. They are not validated at run time, because the service made them itself.

Contract tests check that they are as the OpenAPI document says.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Response

from model.artifact import Artifact
from model.events import Entry
from model.long_history import past_entries
from model.vocabulary import FIRST, UNKNOWN
from service.blocks import Blocks
from service.recommender import Recommendation
from service.store.sessions import Remembered
from service.store.stored import Stored

encode = msgspec.json.Encoder().encode
"""A reply's body as JSON."""


def reply(body: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Make a JSON reply from `body`."""
    return packed(encode(body), status)


def packed(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Make a JSON reply from bytes that `encode` has returned."""
    return Response(body, status.value, media_type="application/json")


def proposal(artifact: Artifact, recommendation: Recommendation, user_id: str | None, request_id: str) -> dict[str, Any]:
    """Make the content of a `schemas.Proposal`."""
    return {
        "user_id": user_id,
        "request_id": request_id,
        "model": {"name": artifact.manifest.name, "version": artifact.manifest.version},
        "source": recommendation.source,
        "degraded": recommendation.source == "popular",
        "tracks": _tracks(artifact, recommendation),
    }


def session(user_id: str, remembered: Remembered, now_ms: int) -> dict[str, Any]:
    """Make the content of a `schemas.ListenerSession`, without its history."""
    expires_in_ms = remembered.expires_in_ms
    return {
        "user_id": user_id,
        "session": entries(remembered.history.session(now_ms)),
        "skipped": remembered.history.skipped(now_ms),
        "expires_at": None if expires_in_ms is None else moment(now_ms + expires_in_ms),
    }


def entries(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """Make a list of `schemas.SessionEntry`."""
    return [{"track_id": entry.track_id, "outcome": entry.outcome.name.lower(), "at": moment(entry.at_ms)} for entry in history]


def block_list(blocks: Blocks) -> dict[str, Any]:
    """Make the content of a `schemas.BlockList`."""
    return {"tracks": sorted(blocks.tracks), "artists": sorted(blocks.artists), "albums": sorted(blocks.albums)}


def export(user_id: str, stored: Stored, now_ms: int) -> dict[str, Any]:
    """Make the content of a `schemas.Export`."""
    return {
        "user_id": user_id,
        "exported_at": moment(now_ms),
        "events": [
            {
                "event_id": event.event_id,
                "track_id": event.track_id,
                "type": event.type.name.lower(),
                "at": moment(event.at_ms),
                "received_at": moment(event.at_ms + event.delay_ms),
                "played_ms": event.played_ms,
                "track_ms": event.track_ms,
                "session_id": event.session_id,
                "request_id": event.request_id,
                "private": event.private,
            }
            for event in stored.events
        ],
        "long_history": entries(past_entries(stored.past)),
        "opinions": [
            {"track_id": track_id, "type": type.name.lower(), "at": moment(at_ms)}
            for track_id, (type, at_ms) in stored.opinions.items()
        ],
        "blocks": [
            {"kind": block.kind, "value": block.value, "at": moment(at_ms)} for block, at_ms in sorted(stored.blocks.items())
        ],
        "unreadable": [{"kind": kind, "field": name, "value": value} for kind, name, value in stored.unreadable],
        "expires_at": {kind: moment(now_ms + ttl_ms) for kind, ttl_ms in stored.expires_in_ms.items()},
    }


def _tracks(artifact: Artifact, recommendation: Recommendation) -> list[dict[str, Any]]:
    tracks: list[dict[str, Any]] = [{"track_id": track_id, "score": score} for track_id, score in recommendation.tracks]
    if artifact.catalogue:
        for track in tracks:
            if (row := artifact.vocabulary.row(track["track_id"])) != UNKNOWN:
                track["title"] = artifact.catalogue.titles[row - FIRST]
                track["artist"] = artifact.catalogue.artists[row - FIRST]
    for track in tracks if recommendation.explored or recommendation.explanations else ():
        if track["track_id"] in recommendation.explored:
            track["explored"] = True
        if (explanation := recommendation.explanations.get(track["track_id"])) is not None:
            track["because"] = [{"track_id": track_id, "share": share} for track_id, share in explanation.because]
            track["reason"] = explanation.reason
    return tracks


def moment(at_ms: int) -> datetime:
    """Convert Unix milliseconds to the time that a reply shows."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
