"""Shows, exports and deletes the data of a listener."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from service.http.replies import entries, export, reply, session
from service.http.routes.refusals import unavailable
from service.http.schemas import Export, ListenerSession, PathId
from service.observing.audit import audit
from service.state import Service
from service.store.forgotten import digest_of

router = APIRouter(tags=["listeners"], responses=unavailable())


@router.get("/v1/users/{user_id}/session", response_model=ListenerSession)
async def get_session(service: Service, user_id: PathId, *, history: bool = False) -> Response:
    """Look at a listener's current session as the model sees it.

    The entries are the plays since the last pause of 30 minutes, oldest first, each with its outcome: a play that was skipped
    is one entry. `skipped` has the tracks that are not proposed until their session ends. `history=true` adds all plays that
    the model reads, including those of earlier sessions. An unknown listener has an empty session.
    """
    now_ms = service.clock()
    recommender = service.models.of(user_id).recommender
    remembered = await service.store.read(user_id, now_ms, recommender.reader)
    body = session(user_id, remembered, now_ms)
    if history:
        body["history"] = entries(recommender.read_entries(remembered, now_ms))
    return reply(body)


@router.get("/v1/users/{user_id}/export", response_model=Export)
async def export_listener(service: Service, user_id: PathId) -> Response:
    """Export everything that is stored about a listener, as one document."""
    return reply(export(user_id, await service.store.export(user_id), service.clock()))


@router.delete("/v1/users/{user_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_listener(service: Service, user_id: PathId) -> None:
    """Delete everything that is stored about a listener.

    The data is gone when the reply arrives, and the audit log has a line about it.
    """
    keys = await service.store.forget(user_id)
    service.masks.forget(digest_of(user_id))  # other processes do so too, see `service.store.forgotten`
    audit.info("audit: user forgotten", user_id=user_id, keys=keys)
