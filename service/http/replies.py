"""Replies as bytes: encoded once, by msgspec, and not validated again, as we made them ourselves.

That they are what the OpenAPI document says is the contract tests' business.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Response

from model.artifact import Artifact
from model.events import Entry
from model.vocabulary import FIRST, UNKNOWN
from service.recommender import Recommendation

encode = msgspec.json.Encoder().encode
"""A reply's body as JSON."""


def reply(body: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A JSON reply."""
    return packed(encode(body), status)


def packed(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A reply of what `encode` has made."""
    return Response(body, status.value, media_type="application/json")


def proposal(artifact: Artifact, recommendation: Recommendation, user_id: str | None, request_id: str) -> dict[str, Any]:
    """A `schemas.Proposal`."""
    return {
        "user_id": user_id,
        "request_id": request_id,
        "model": {"name": artifact.manifest.name, "version": artifact.manifest.version},
        "source": recommendation.source,
        "degraded": recommendation.source == "popular",
        "tracks": _tracks(artifact, recommendation.tracks),
    }


def session(user_id: str, entries: Sequence[Entry], skipped: Sequence[str], expires_at_ms: int | None) -> dict[str, Any]:
    """A `schemas.Session`."""
    return {
        "user_id": user_id,
        "session": [
            {"track_id": entry.track_id, "outcome": entry.outcome.name.lower(), "at": _moment(entry.at_ms)} for entry in entries
        ],
        "skipped": skipped,
        "expires_at": None if expires_at_ms is None else _moment(expires_at_ms),
    }


def new_request_id(now_ms: int, arm: str, version: str) -> str:
    """A unique id that sorts by time and names the arm and the version that answered: `TIME_AND_RANDOM.ARM.VERSION`."""
    return f"{now_ms:012x}{random.getrandbits(64):016x}.{arm}.{version}"


def _tracks(artifact: Artifact, scored: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    tracks: list[dict[str, Any]] = [{"track_id": track_id, "score": score} for track_id, score in scored]
    if artifact.catalogue:
        for track in tracks:
            if (row := artifact.vocabulary.row(track["track_id"])) != UNKNOWN:
                track["title"] = artifact.catalogue.titles[row - FIRST]
                track["artist"] = artifact.catalogue.artists[row - FIRST]
    return tracks


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
