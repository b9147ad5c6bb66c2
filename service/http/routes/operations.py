"""Routes for operators: health, readiness, metrics and the model in use."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.blocks import without_effect
from service.errors import StoreUnavailableError
from service.http.replies import reply
from service.http.schemas import Health, ModelDescription, Problem, Readiness
from service.scoring.registry import ServedModel
from service.state import Service

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=Health)
async def check_health() -> Response:
    """Check that the process lives."""
    return reply({"status": "ok"})


@router.get("/readyz", response_model=Readiness, responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness}})
async def check_readiness(service: Service) -> Response:
    """Check that requests are answered in full.

    The reply is 503 with the reasons if Redis or the model does not work.
    """
    current = service.models.current
    faults = [current.scorer.fault(), service.take_downs.fault(), without_effect(current.artifact, service.take_downs.blocks)]
    reasons = [fault for fault in faults if fault is not None]
    try:
        await service.store.ping()
    except StoreUnavailableError as error:
        reasons.append(error.detail)
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return reply({"ready": not reasons, "reasons": reasons}, status)


@router.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(service: Service) -> Response:
    """Read all metrics in Prometheus' text format."""
    return Response(service.metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


@router.get("/v1/model", response_model=ModelDescription)
async def get_model(service: Service) -> Response:
    """Describe the model in use.

    The reply has its name and version, what it was trained from, and its measured quality.
    """
    return _described(service.models.current)


@router.post("/v1/model/reload", response_model=ModelDescription, responses={HTTPStatus.CONFLICT: {"model": Problem}})
async def reload_model(service: Service) -> Response:
    """Verify the artifact that `artifacts/current` names now, and use it.

    If it is refused, the reply is 409 with the reason, and the current model stays in use.
    """
    return _described(await service.models.reload())


def _described(model: ServedModel) -> Response:
    fields = {"name", "version", "tracks", "created_at", "origin", "quality", "history"}
    return reply(model.artifact.manifest.model_dump(mode="json", include=fields))
