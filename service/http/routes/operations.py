"""For those who run the service: is it alive, is it ready, how is it doing, which model is it."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.errors import StoreUnavailableError
from service.http.replies import reply
from service.http.schemas import Health, ModelDescription, Readiness
from service.state import Service

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=Health)
async def health() -> Response:
    """The process lives."""
    return reply({"status": "ok"})


@router.get("/readyz", response_model=Readiness, responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness}})
async def readiness(service: Service) -> Response:
    """Whether requests are answered in full: 503 with the reasons where not. The model was checked before the port opened."""
    try:
        await service.store.ping()
    except StoreUnavailableError as error:
        return reply({"ready": False, "reasons": [str(error)]}, HTTPStatus.SERVICE_UNAVAILABLE)
    return reply({"ready": True, "reasons": []})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Service) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(service.metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})


@router.get("/v1/model", response_model=ModelDescription)
async def model(service: Service) -> Response:
    """The artifact in use: what it is, from what it was made, how well it measured."""
    manifest = service.artifact.manifest
    fields = {"name", "version", "tracks", "created_at", "origin", "quality", "history"}
    return reply(manifest.model_dump(mode="json", include=fields))
