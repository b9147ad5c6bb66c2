"""Reads the most frequent bodies by msgspec, in a fraction of the time that pydantic takes.

`schemas` defines the bodies, for the OpenAPI document, for FastAPI and for error messages. A body that is valid by the same
rules is read here. For any other body the functions return None, and pydantic reads it again: it accepts it after all (an
escaped key) or says what is wrong. So these types must never accept a body that `schemas` refuses, nor read it differently. A
test compares the two.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from pydantic_core import PydanticCustomError

from model.events import Event, EventType, Outcome
from service.http.schemas import ID_BYTES, MAX_EVENTS, MAX_LISTED, milliseconds
from service.recommender import Query
from service.rules import asked_rules

if TYPE_CHECKING:
    _Id = str
else:  # `_with_text_ids` replaces the integers, and `_sound` checks the rest
    _Id = Annotated[str, Meta(min_length=1, max_length=ID_BYTES)] | int
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
    imported: bool = False


class _Events(Struct, forbid_unknown_fields=True, frozen=True):
    events: Annotated[list[_Event], Meta(min_length=1, max_length=MAX_EVENTS)]


class _Entry(Struct, forbid_unknown_fields=True, frozen=True):
    track_id: _Id
    outcome: Literal["played", "skipped", "liked", "disliked"] = "played"


_Gap = Annotated[int, Meta(ge=0, le=100)]
_Listed = Annotated[list[_Id], Meta(max_length=MAX_LISTED)]


class _Next(Struct, forbid_unknown_fields=True, frozen=True):
    user_id: _Id | None = None
    history: Annotated[list[_Entry], Meta(max_length=MAX_LISTED)] | None = None
    count: Annotated[int, Meta(ge=1, le=100)] = 10
    exclude: _Listed = []
    candidates: _Listed | None = None
    artist_gap: _Gap | None = None
    album_gap: _Gap | None = None
    not_heard_days: Annotated[float, Meta(ge=0, le=36_500)] | None = None
    replay: bool | None = None
    novelty: Annotated[float, Meta(ge=-1, le=1)] | None = None
    explore: Annotated[float, Meta(ge=0, le=0.5)] | None = None
    explain: bool | None = None


_event = msgspec.json.Decoder(_Event).decode
_events = msgspec.json.Decoder(_Events).decode
_next = msgspec.json.Decoder(_Next).decode
_TYPES = {type.name.lower(): type for type in EventType}
_OUTCOMES = {outcome.name.lower(): outcome for outcome in Outcome}


class Asked(Struct, frozen=True):
    """The content of a valid `schemas.NextRequest`."""

    user_id: str | None
    plays: Sequence[tuple[str, Outcome]] | None
    query: Query


def read_events(body: bytes, now_ms: int) -> tuple[Sequence[tuple[str, Event]], bool] | None:
    """Parse posted events. Returns each event with its user's id, and whether the body is a list; None if pydantic must read
    the body. An event without a time gets `now_ms`.
    """
    many = b'"events"' in body
    try:
        posted = _events(body).events if many else [_event(body)]
        if not _all_text(ids := _ids_of(posted)):
            posted = list(map(_with_text_ids, posted))
            ids = _ids_of(posted)
        told = [(event.user_id, _told(event, now_ms)) for event in posted]
    except (msgspec.MsgspecError, UnicodeDecodeError, PydanticCustomError):
        return None
    return (told, many) if _sound(ids) else None


def read_next(body: bytes) -> Asked | None:
    """Parse a body of `POST /v1/next`. Returns None if pydantic must read the body."""
    try:
        asked = _next(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not _all_text(ids := _ids_of_next(asked)):
        asked = _next_with_text_ids(asked)
        ids = _ids_of_next(asked)
    if not _sound(ids):
        return None
    plays = None
    if asked.history is not None:
        plays = [(entry.track_id, _OUTCOMES[entry.outcome]) for entry in asked.history]
    query = Query(count=asked.count, exclude=asked.exclude, candidates=asked.candidates, rules=asked_rules(asked))
    return Asked(asked.user_id, plays, query)


def _told(posted: _Event, now_ms: int) -> Event:
    at_ms = now_ms if posted.at is None else milliseconds(posted.at)
    return Event(
        at_ms,
        _TYPES[posted.type],
        posted.event_id,
        posted.track_id,
        0 if posted.imported else max(0, now_ms - at_ms),
        posted.played_ms,
        posted.track_ms,
        posted.session_id,
        posted.request_id,
        posted.private,
    )


_ID_FIELDS = [name for name in _Event.__struct_fields__ if name.endswith("_id")]
_ids_of_event = attrgetter(*_ID_FIELDS)


def _ids_of(events: Sequence[_Event]) -> list[str]:
    return [text for event in events for text in _ids_of_event(event) if text is not None]


def _ids_of_next(asked: _Next) -> list[str]:
    ids = [*asked.exclude, *(asked.candidates or ()), *(entry.track_id for entry in asked.history or ())]
    return ids if asked.user_id is None else [asked.user_id, *ids]


def _with_text_ids(event: _Event) -> _Event:
    """Replace integer ids by their decimal text."""
    ids = zip(_ID_FIELDS, _ids_of_event(event), strict=True)
    return msgspec.structs.replace(event, **{name: str(value) for name, value in ids if value is not None})


def _next_with_text_ids(asked: _Next) -> _Next:
    return msgspec.structs.replace(
        asked,
        user_id=None if asked.user_id is None else str(asked.user_id),
        history=asked.history and [_Entry(str(entry.track_id), entry.outcome) for entry in asked.history],
        exclude=list(map(str, asked.exclude)),
        candidates=asked.candidates and list(map(str, asked.candidates)),
    )


def _all_text(ids: Sequence[str]) -> bool:
    """Return whether all ids are strings."""
    return int not in set(map(type, ids))


def _sound(ids: Sequence[str]) -> bool:
    """Return whether all ids are valid: no control characters, and at most `ID_BYTES` bytes. The type `_Id` limits the
    characters of strings only, not the digits of integers.
    """
    together = "".join(ids)
    if _CONTROL.search(together):
        return False
    if together.isascii():
        return len(together) <= ID_BYTES or max(map(len, ids)) <= ID_BYTES
    return all(len(text.encode()) <= ID_BYTES for text in ids)
