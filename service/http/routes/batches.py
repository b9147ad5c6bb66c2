"""POST /v1/next/batch: what many listeners should hear next, in one request.

Every request of the batch is answered like a `POST /v1/next` of its own, and all run at the same time. The model
scores all of them in one run if the memory suffices (`service.scoring.gathering`).
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from service.errors import OverloadedError
from service.http.access.callers import admit, admitted
from service.http.connection import COSTS
from service.http.replies import packed
from service.http.routes.proposals import answer_body
from service.http.routes.refusals import TOO_LARGE, unavailable
from service.http.schemas import NextBatch, ProposalBatch
from service.scoring.gathering import Gathering
from service.state import Service

router = APIRouter(tags=["proposals"])


@router.post(
    "/v1/next/batch",
    response_model=ProposalBatch,
    responses=TOO_LARGE | unavailable("too many requests wait; none of these is answered"),
)
async def find_next_tracks_for_many(request: Request, service: Service, body: NextBatch) -> Response:
    """Ask what up to 100 listeners should hear next, with one request.

    Each of `requests` is a body of `POST /v1/next`. The replies are in the same order, each with a `request_id` of its own. All
    requests are scored together. If one of them is wrong, none is answered. If one listener cannot be read, the reply for this
    listener alone is degraded.
    """
    admit(request.scope, {asked.user_id for asked in body.requests})
    weigh(request.scope, len(body.requests))
    service.metrics.batched.observe(len(body.requests))
    scopes = [admitted() for _ in body.requests]
    replies = await _at_once([answer_body(scope, service, asked) for scope, asked in zip(scopes, body.requests, strict=True)])
    # Read by service.observing.logs once the reply is out.
    request.scope["requests"] = len(replies)
    if explored := {name: drawn for scope in scopes for name, drawn in scope.get("explored", {}).items()}:
        request.scope["explored"] = explored
    request.scope["degraded"] = sum(scope["source"] == "popular" for scope in scopes)
    return packed(b'{"replies":[' + b",".join(replies) + b"]}")


def weigh(scope: Scope, requests: int) -> None:
    """Count this request as `requests` requests in admission control. Raises OverloadedError if too many are in flight."""
    costs = scope.get(COSTS)  # None behind another server than ours, as in tests
    if costs is not None and not costs(requests):
        raise OverloadedError("more requests arrive than are answered in time; try again")


async def _at_once(requests: Sequence[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    """Answer all requests at the same time, and return the encoded replies in order. If one fails, the others are cancelled."""
    gathering = Gathering(len(requests))
    tasks = [asyncio.create_task(gathering.take_part(request)) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
