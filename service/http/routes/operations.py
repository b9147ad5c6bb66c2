"""Health, readiness, metrics and the model in use, for those who operate the service."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import StoreUnavailableError
from service.http.replies import reply
from service.http.schemas import Health, ModelDescription, Problem, Readiness
from service.scoring.registry import ServedModel
from service.state import Service

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=Health)
async def health() -> Response:
    """Answers while the process lives."""
    return reply({"status": "ok"})


@router.get("/readyz", response_model=Readiness, responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness}})
async def readiness(service: Service) -> Response:
    """Says whether requests are answered in full. 503 with the reasons if not: Redis or the model does not do its work."""
    reasons = [] if (fault := service.models.current.scorer.fault()) is None else [fault]
    try:
        await service.store.ping()
    except StoreUnavailableError as error:
        reasons.append(error.detail)
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return reply({"ready": not reasons, "reasons": reasons}, status)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Service) -> Response:
    """Returns all metrics in Prometheus' text format."""
    return Response(service.metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


@router.get("/v1/model", response_model=ModelDescription)
async def model(service: Service) -> Response:
    """Describes the artifact in use: its name and version, what it was made from, its measured quality."""
    return _described(service.models.current)


@router.post("/v1/model/reload", response_model=ModelDescription, responses={HTTPStatus.CONFLICT: {"model": Problem}})
async def reload_model(service: Service) -> Response:
    """Verifies the artifact that `current` names now and uses it. 409 with the reason if it is refused: the old one goes on."""
    return _described(await service.models.reload())


def _described(model: ServedModel) -> Response:
    fields = {"name", "version", "tracks", "created_at", "origin", "quality", "history"}
    return reply(model.artifact.manifest.model_dump(mode="json", include=fields))
