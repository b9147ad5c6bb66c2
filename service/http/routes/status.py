"""GET /v1/status: one reply with the figures that an operator looks at first."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from service.errors import StoreUnavailableError
from service.http.replies import moment, reply
from service.http.schemas import Status
from service.observing.status import outcomes_by_hour, outcomes_by_model, traffic
from service.scoring.registry import ServedModel
from service.state import Service, State

MOST_HOURS = 24 * 14

router = APIRouter(tags=["operations"])


@router.get("/v1/status", response_model=Status)
async def get_status(service: Service, hours: Annotated[int, Query(ge=1, le=MOST_HOURS)] = 24) -> Response:
    """Read the state of the service.

    The reply has traffic and latency since the start, the outcomes of proposals in the last `hours`, the state of Redis, the
    models in use, and recent trouble.
    """
    now_ms = service.clock()
    return reply(
        {
            "at": moment(now_ms),
            **traffic(service.metrics.families()),
            "last_hour": service.recent.points(),
            "outcome_hours": hours,
            **await _of_redis(service, now_ms, hours),
            "models": [_model(model, now_ms) for model in service.models.in_use],
            "trouble": [line._asdict() for line in service.trouble.newest_first()],
        }
    )


async def _of_redis(service: State, now_ms: int, hours: int) -> dict[str, Any]:
    """Return whether Redis answers, how fast, and the outcomes that it has counted."""
    started = time.perf_counter()
    try:
        await service.store.ping()
        ping_ms = round((time.perf_counter() - started) * 1000, 3)
        counts = await service.outcomes.read(now_ms, hours) if service.outcomes else []
    except StoreUnavailableError as error:
        return {"redis": {"ready": False, "ping_ms": None, "reason": error.detail}, "outcomes": [], "outcomes_by_hour": []}
    return {
        "redis": {"ready": True, "ping_ms": ping_ms, "reason": None},
        "outcomes": outcomes_by_model((count.outcome, count.times) for count in counts),
        "outcomes_by_hour": outcomes_by_hour(counts),
    }


def _model(model: ServedModel, now_ms: int) -> dict[str, Any]:
    manifest = model.artifact.manifest
    age = moment(now_ms) - manifest.created_at
    return {
        "arm": model.arm,
        "name": manifest.name,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "age_s": round(age.total_seconds()),
    }
