"""Refusals that several routes share, for the OpenAPI document."""

from http import HTTPStatus
from typing import Any

from service.http.schemas import Problem

Refusals = dict[int | str, dict[str, Any]]

TOO_LARGE: Refusals = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"model": Problem}}


def unavailable(description: str = "Redis is out of reach") -> Refusals:
    """Return the refusal of a request that cannot be answered at the moment."""
    return {HTTPStatus.SERVICE_UNAVAILABLE: {"model": Problem, "description": description}}
