"""The bodies that make up the load, read by msgspec: a fraction of the time that pydantic takes for the same.

`schemas` says what a body is, for the document, for the framework and for the words of an error. What is read here is sound
by the same rules, or it is None: then pydantic reads it again, and either takes it after all (an escaped key) or says what is
wrong. So these types must never take what those refuse, nor read it otherwise; a contract test holds them beside each other.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from pydantic_core import PydanticCustomError

from model.events import Event, EventType, Outcome
from service.http.schemas import ID_BYTES, MAX_EVENTS, MAX_LISTED, milliseconds
from service.recommender import Query

_Id = Annotated[str, Meta(min_length=1, max_length=ID_BYTES)]  # `_sound` sees to the rest
_Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Event(Struct, forbid_unknown_fields=True, frozen=True):
    event_id: _Id
    user_id: _Id
    track_id: _Id
    type: Literal["play", "skip", "complete", "like", "dislike"]
    at: str | None = None
    played_ms: _Milliseconds | None = None
    track_ms: _Milliseconds | None = None
    request_id: _Id | None = None
    session_id: _Id | None = None
    private: bool = False


class _Events(Struct, forbid_unknown_fields=True, frozen=True):
    events: Annotated[list[_Event], Meta(min_length=1, max_length=MAX_EVENTS)]


class _Entry(Struct, forbid_unknown_fields=True, frozen=True):
    track_id: _Id
    outcome: Literal["played", "skipped", "liked", "disliked"] = "played"


_Listed = Annotated[list[_Id], Meta(max_length=MAX_LISTED)]


class _Next(Struct, forbid_unknown_fields=True, frozen=True):
    user_id: _Id | None = None
    history: Annotated[list[_Entry], Meta(max_length=MAX_LISTED)] | None = None
    count: Annotated[int, Meta(ge=1, le=100)] = 10
    exclude: _Listed = []
    candidates: _Listed | None = None


_event = msgspec.json.Decoder(_Event).decode
_events = msgspec.json.Decoder(_Events).decode
_next = msgspec.json.Decoder(_Next).decode
_TYPES = {type.name.lower(): type for type in EventType}
_OUTCOMES = {outcome.name.lower(): outcome for outcome in Outcome}


class Asked(Struct, frozen=True):
    """A sound `schemas.NextRequest`."""

    user_id: str | None
    plays: Sequence[tuple[str, Outcome]] | None
    query: Query


def read_events(body: bytes, now_ms: int) -> tuple[Sequence[tuple[str, Event]], bool] | None:
    """Events with their users' ids, and whether the body is a list of them; `now_ms` is when one happened that does not say."""
    many = b'"events"' in body
    try:
        posted = _events(body).events if many else [_event(body)]
        told = [(event.user_id, _told(event, now_ms)) for event in posted]
    except (msgspec.MsgspecError, UnicodeDecodeError, PydanticCustomError):
        return None
    ids = [text for user_id, event in told for text in (user_id, event.event_id, event.track_id)]
    ids += [text for _, event in told for text in (event.session_id, event.request_id) if text is not None]
    return (told, many) if _sound(ids) else None


def read_next(body: bytes) -> Asked | None:
    """What a body for `POST /v1/next` asks for."""
    try:
        asked = _next(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    plays = None
    if asked.history is not None:
        plays = [(entry.track_id, _OUTCOMES[entry.outcome]) for entry in asked.history]
    ids = [*asked.exclude, *(asked.candidates or ()), *(track_id for track_id, _ in plays or ())]
    if not _sound(ids if asked.user_id is None else [asked.user_id, *ids]):
        return None
    return Asked(asked.user_id, plays, Query(count=asked.count, exclude=asked.exclude, candidates=asked.candidates))


def _told(posted: _Event, now_ms: int) -> Event:
    at_ms = now_ms if posted.at is None else milliseconds(posted.at)
    return Event(
        at_ms,
        _TYPES[posted.type],
        posted.event_id,
        posted.track_id,
        max(0, now_ms - at_ms),
        posted.played_ms,
        posted.track_ms,
        posted.session_id,
        posted.request_id,
        posted.private,
    )


def _sound(ids: Sequence[str]) -> bool:
    """Whether ids have no control characters and at most `ID_BYTES` bytes, where `_Id` has counted characters."""
    together = "".join(ids)
    return not _CONTROL.search(together) and (together.isascii() or all(len(text.encode()) <= ID_BYTES for text in ids))
