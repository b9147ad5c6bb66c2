"""What is remembered of a listener, and forgetting it."""

import logging
from http import HTTPStatus

import structlog
from fastapi import APIRouter, Response

from service.http.replies import reply, session
from service.http.schemas import PathId, Problem, Session
from service.state import Service

router = APIRouter(
    tags=["users"], responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Problem, "description": "Redis is out of reach"}}
)
audit = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))  # whatever the level is


@router.get("/v1/users/{user_id}/session", response_model=Session)
async def get_session(service: Service, user_id: PathId) -> Response:
    """The current session as the model sees it; of an unknown user, an empty one."""
    now_ms = service.clock()
    remembered = await service.store.read(user_id, now_ms, service.models.of(user_id).recommender.reader)
    expires_at_ms = None if remembered.expires_in_ms is None else now_ms + remembered.expires_in_ms
    history = remembered.history
    return reply(session(user_id, history.session(now_ms), history.skipped(now_ms), expires_at_ms))


@router.delete("/v1/users/{user_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_user(service: Service, user_id: PathId) -> None:
    """Forget a person: everything kept under the id is gone when the reply arrives."""
    service.masks.forget(user_id)
    keys = await service.store.forget(user_id)
    audit.info("audit: user forgotten", user_id=user_id, keys=keys)
