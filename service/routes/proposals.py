"""What to play next: for a listener, or for a history that comes with the request."""

from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request, Response
from starlette.types import Scope

from model.events import Outcome
from service.recommender import Recommendation, Wish
from service.replies import new_request_id, proposal, reply
from service.schemas import Count, Excluded, NextRequest, PathId, Problem, Proposal
from service.state import Service, State

router = APIRouter(
    tags=["next"], responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Problem, "description": "too many requests wait"}}
)


@router.get("/v1/users/{user_id}/next", response_model=Proposal)
async def get_next(
    request: Request,
    service: Service,
    user_id: PathId,
    count: Annotated[Count, Query()] = 10,
    exclude: Annotated[Excluded, Query()] = [],  # noqa: B006  # FastAPI copies defaults; nothing here changes it
) -> Response:
    """What to play next. Never what this session skipped, a disliked track, or what `exclude` names."""
    return await propose(request.scope, service, user_id, Wish(count=count, exclude=exclude))


@router.post("/v1/next", response_model=Proposal, responses={HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"model": Problem}})
async def post_next(request: Request, service: Service, body: NextRequest) -> Response:
    """The same with a body: for a history given here, or choosing from given candidates alone."""
    return await answer_next(request.scope, service, body)


async def propose(scope: Scope, service: State, user_id: str, wish: Wish) -> Response:
    """The reply to a listener's player."""
    recommendation = await service.recommender.for_listener(user_id, wish, service.clock())
    return _reply(scope, service, recommendation, user_id)


async def answer_next(scope: Scope, service: State, body: NextRequest) -> Response:
    """The reply to a `NextRequest`: for a listener, or for the history that it brings."""
    wish = Wish(count=body.count, exclude=body.exclude, candidates=body.candidates)
    if body.history is None and body.user_id is not None:
        return await propose(scope, service, body.user_id, wish)
    plays = [(entry.track_id, Outcome[entry.outcome.upper()]) for entry in body.history or ()]
    recommendation = await service.recommender.for_history(plays, wish)
    return _reply(scope, service, recommendation, body.user_id)


def _reply(scope: Scope, service: State, recommendation: Recommendation, user_id: str | None) -> Response:
    request_id = new_request_id(service.clock())
    structlog.contextvars.bind_contextvars(proposal=request_id, source=recommendation.source)
    scope["onnx_s"] = recommendation.ran_s  # read by service.metrics
    return reply(proposal(service.artifact, recommendation, user_id, request_id))
