"""Shows, exports and deletes the data of a listener."""

import logging
from http import HTTPStatus

import structlog
from fastapi import APIRouter, Response

from service.http.replies import entries, export, reply, session
from service.http.schemas import Export, PathId, Problem, Session
from service.state import Service

router = APIRouter(
    tags=["users"], responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Problem, "description": "Redis is out of reach"}}
)
audit = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))  # whatever the level is


@router.get("/v1/users/{user_id}/session", response_model=Session)
async def get_session(service: Service, user_id: PathId, *, history: bool = False) -> Response:
    """The current session as the model sees it, and with `history` all that it reads; of an unknown user, an empty one."""
    now_ms = service.clock()
    recommender = service.models.of(user_id).recommender
    remembered = await service.store.read(user_id, now_ms, recommender.reader)
    body = session(user_id, remembered, now_ms)
    if history:
        body["history"] = entries(recommender.read_entries(remembered, now_ms))
    return reply(body)


@router.get("/v1/users/{user_id}/export", response_model=Export)
async def export_user(service: Service, user_id: PathId) -> Response:
    """Everything that is stored about a listener, as one document."""
    return reply(export(user_id, await service.store.export(user_id), service.clock()))


@router.delete("/v1/users/{user_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_user(service: Service, user_id: PathId) -> None:
    """Forget a listener: everything that is stored under the id is gone when the reply arrives."""
    service.masks.forget(user_id)
    keys = await service.store.forget(user_id)
    audit.info("audit: user forgotten", user_id=user_id, keys=keys)
