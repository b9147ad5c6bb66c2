"""POST /v1/events: a player reports events."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from model.events import AHEAD_MS, LATE_MS, Event, EventType
from service.errors import Fault, InvalidRequestError
from service.http.access.callers import admit
from service.http.replies import encode, packed
from service.http.routes.refusals import TOO_LARGE, unavailable
from service.http.schemas import OneOrMany, PostedEvent, PostedEvents, Recorded
from service.state import Service, State

router = APIRouter(tags=["events"])

_NAMES = {type: type.name.lower() for type in EventType}


@router.post(
    "/v1/events",
    response_model=Recorded,
    responses=TOO_LARGE | unavailable("nothing is counted twice: send it again"),
)
async def report_events(request: Request, body: OneOrMany, service: Service) -> Response:
    """Report what happened on a player: one event, or up to 1,000 at once.

    The same event again changes nothing. If one event is wrong, none is stored. The events are in Redis when the reply arrives.
    """
    now_ms = service.clock()
    posted = body.events if isinstance(body, PostedEvents) else [body]
    told = [(event.user_id, _event(event, now_ms)) for event in posted]
    return packed(await record(request.scope, told, service, now_ms, many=isinstance(body, PostedEvents)))


async def record(scope: Scope, told: Sequence[tuple[str, Event]], service: State, now_ms: int, *, many: bool) -> bytes:
    """Store events, each with its user's id, and return the encoded reply. `many` says that the body was a list."""
    admit(scope, {user_id for user_id, _ in told})
    faults = [
        Fault(loc=("body", "events", place, "at") if many else ("body", "at"), msg="more than 5 minutes in the future")
        for place, (_, event) in enumerate(told)
        if event.at_ms > now_ms + AHEAD_MS
    ]
    if faults:
        raise InvalidRequestError(faults)
    of_users: defaultdict[str, list[Event]] = defaultdict(list)
    for user_id, event in told:
        of_users[user_id].append(event)
    # Before the write: they stay out of a reply without Redis even if the write fails.
    service.masks.post(_masking(of_users, now_ms))
    recorded = await service.store.record(of_users)
    counts: defaultdict[tuple[EventType, bool], int] = defaultdict(int)
    for user_id, events in of_users.items():
        for event, new in zip(events, recorded[user_id], strict=True):
            counts[event.type, new] += 1
    for (type, new), times in counts.items():
        service.metrics.events_of(_NAMES[type], "accepted" if new else "duplicate").inc(times)
    accepted = sum(times for (_, new), times in counts.items() if new)
    return encode({"accepted": accepted, "duplicates": len(told) - accepted})


def _masking(events: Mapping[str, Sequence[Event]], now_ms: int) -> Mapping[str, Sequence[Event]]:
    """Return the likes and dislikes, and the other events of the last `LATE_MS`: only these can mask a track now. Otherwise an
    import of old events would displace the masks of current listeners.
    """
    since_ms = now_ms - LATE_MS
    return {
        user_id: [event for event in of_user if event.at_ms >= since_ms or event.type >= EventType.LIKE]
        for user_id, of_user in events.items()
    }


def _event(posted: PostedEvent, now_ms: int) -> Event:
    at_ms = now_ms if posted.at is None else posted.at
    return Event(
        at_ms=at_ms,
        type=EventType[posted.type.upper()],
        event_id=posted.event_id,
        track_id=posted.track_id,
        delay_ms=0 if posted.imported else max(0, now_ms - at_ms),
        played_ms=posted.played_ms,
        track_ms=posted.track_ms,
        session_id=posted.session_id,
        request_id=posted.request_id,
        private=posted.private,
    )
