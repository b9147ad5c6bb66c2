"""The OpenAPI document, made true where the framework's own would not be: errors here are problems (RFC 9457)."""

from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from service.http.access import document as access
from service.http.problems import PROBLEM
from service.http.replies import encode, packed
from service.http.schemas import Problem

_REF = {"$ref": "#/components/schemas/Problem"}
_PROBLEM = {PROBLEM: {"schema": _REF}}


def install(app: FastAPI) -> None:
    """Make `app` describe itself so. The document is made and encoded once, at the first request for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = _with_problems(made)
        return app.openapi_schema

    @cache
    def encoded() -> bytes:
        return encode(document())

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to do this

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return packed(encoded())


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), Problem=problem)
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json", {})
                if status == "422" or content.get("schema") == _REF:
                    response["content"] = _PROBLEM
    access.describe(document, _PROBLEM)
    return document
