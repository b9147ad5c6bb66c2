"""Routes that propose what to play next: for a listener, or for a history in the request."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryParameter
from starlette.types import Scope

from model.events import Outcome
from service.http.access.callers import admit
from service.http.replies import encode, packed, proposal
from service.http.routes.refusals import TOO_LARGE, unavailable
from service.http.schemas import (
    ALBUM_GAP,
    ARTIST_GAP,
    EXPLAIN,
    EXPLORE,
    NOT_HEARD_DAYS,
    NOVELTY,
    REPLAY,
    Count,
    Days,
    Excluded,
    Explore,
    Gap,
    NextRequest,
    Novelty,
    PathId,
    Proposal,
)
from service.recommender import Query, Recommendation
from service.request_ids import POPULAR, new_request_id, new_unique
from service.rules import AskedRules, asked_rules
from service.scoring.registry import ServedModel
from service.state import Service, State

router = APIRouter(tags=["proposals"], responses=unavailable("too many requests wait"))


@router.get("/v1/users/{user_id}/next", response_model=Proposal)
async def get_next_tracks(
    request: Request,
    service: Service,
    user_id: PathId,
    *,
    count: Annotated[Count, QueryParameter()] = 10,
    exclude: Annotated[Excluded, QueryParameter()] = [],  # noqa: B006  # FastAPI copies defaults; nothing here changes it
    artist_gap: Annotated[Gap | None, QueryParameter(description=ARTIST_GAP)] = None,
    album_gap: Annotated[Gap | None, QueryParameter(description=ALBUM_GAP)] = None,
    not_heard_days: Annotated[Days | None, QueryParameter(description=NOT_HEARD_DAYS)] = None,
    replay: Annotated[bool | None, QueryParameter(description=REPLAY)] = None,
    novelty: Annotated[Novelty | None, QueryParameter(description=NOVELTY)] = None,
    explore: Annotated[Explore | None, QueryParameter(description=EXPLORE)] = None,
    explain: Annotated[bool | None, QueryParameter(description=EXPLAIN)] = None,
) -> Response:
    """Ask what a listener should hear next, best first.

    The reply never has a track that was skipped in this session, a disliked track, or a track in `exclude`. An unknown listener
    gets a reply too.
    """
    rules = AskedRules(
        artist_gap=artist_gap,
        album_gap=album_gap,
        not_heard_days=not_heard_days,
        replay=replay,
        novelty=novelty,
        explore=explore,
        explain=explain,
    )
    return packed(await propose(request.scope, service, user_id, Query(count=count, exclude=exclude, rules=rules)))


@router.post("/v1/next", response_model=Proposal, responses=TOO_LARGE)
async def find_next_tracks(request: Request, service: Service, body: NextRequest) -> Response:
    """Ask what to play next with a body: for a listener, or for a history that comes with the request.

    A history of one track makes a track radio. With a `history` nothing is read from Redis and nothing is written to it. With
    `candidates` only these tracks are ranked.
    """
    return packed(await answer_body(request.scope, service, body))


async def answer_body(scope: Scope, service: State, body: NextRequest) -> bytes:
    """Answer the parsed body of a `POST /v1/next` and return the encoded reply. Adds notes to `scope` for the log and the
    metrics.
    """
    plays = None
    if body.history is not None:
        plays = [(entry.track_id, Outcome[entry.outcome.upper()]) for entry in body.history]
    query = Query(count=body.count, exclude=body.exclude, candidates=body.candidates, rules=asked_rules(body))
    return await answer_next(scope, service, body.user_id, plays, query)


async def propose(scope: Scope, service: State, user_id: str, query: Query) -> bytes:
    """Answer a request for a listener and return the encoded reply."""
    query.seed = new_unique(service.clock())
    with service.models.of(user_id) as model:
        recommendation = await model.recommender.for_listener(user_id, query, service.clock())
        if service.models.shadow is not None:
            service.shadow.compare(service.models.shadow, user_id, query, recommendation, service.clock())
        return _reply(scope, model, recommendation, query.seed, user_id)


async def answer_next(
    scope: Scope, service: State, user_id: str | None, plays: Sequence[tuple[str, Outcome]] | None, query: Query
) -> bytes:
    """Answer a `POST /v1/next` and return the encoded reply: for the listener `user_id`, or for the history `plays` in the
    request.
    """
    admit(scope, {user_id})
    if plays is None and user_id is not None:
        return await propose(scope, service, user_id, query)
    query.seed = new_unique(service.clock())
    with service.models.of(user_id) as model:
        recommendation = await model.recommender.for_history(plays or (), query)
        return _reply(scope, model, recommendation, query.seed, user_id)


def _reply(scope: Scope, model: ServedModel, recommendation: Recommendation, unique: str, user_id: str | None) -> bytes:
    arm = model.arm if recommendation.source == "model" else POPULAR
    request_id = new_request_id(unique, arm, model.version, recommendation.track_ids)
    # Read by service.observing.logs and service.observing.metrics once the reply is out.
    scope["proposal"], scope["source"], scope["onnx_s"] = request_id, recommendation.source, recommendation.ran_s
    if recommendation.explored:
        scope["explored"] = {request_id: recommendation.explored}
    model.metrics.proposals_of(recommendation.source).inc()
    scope["model"] = model.metrics
    return encode(proposal(model.artifact, recommendation, user_id, request_id))
