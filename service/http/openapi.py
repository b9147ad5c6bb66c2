"""The OpenAPI document, made from the routes and finished by hand where the framework's own would be poor or not true.

- Errors are problems (RFC 9457). Every operation may answer with one, so it is the `default` reply.
- Operations are named by their functions, which become the functions of generated clients. The first sentence of a function's
  docstring is the summary of its operation, the rest the description.
- Every request, reply and parameter has an example (`service.http.examples`).
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from service.errors import InvalidRequestError
from service.http.access import document as access
from service.http.examples import ANY_FAULT, FAULTS, PARAMETERS, PROBLEMS, REPLIES, REQUESTS
from service.http.problems import PROBLEM
from service.http.problems import encode as encode_problem
from service.http.replies import encode, packed
from service.http.schemas import Problem

_REF = {"$ref": "#/components/schemas/Problem"}
_PROBLEM = {PROBLEM: {"schema": _REF}}
_REQUEST_ID = {
    "description": "the id of this request in the log; the client's own X-Request-ID if it sent a sane one",
    "schema": {"type": "string"},
    "example": "5f0c2c1ed1e24f5a",
}
_RETRY_AFTER = {"description": "seconds to wait before trying again", "schema": {"type": "integer"}, "example": 1}
_TAGS = {
    "events": "What happens on the players.",
    "proposals": "What to play next.",
    "listeners": "What is stored about a listener.",
    "operations": "For those who operate the service.",
}
_DESCRIPTIONS = {"Successful Response": "Success.", "Validation Error": "A field or parameter is wrong or unknown."}
_SENTENCE = re.compile(r"(?<=[\w`)])\.(?:\s+|$)")


def install(app: FastAPI) -> None:
    """Make `app` serve this OpenAPI document. It is made and encoded once, at the first request for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = _finished(made)
        return app.openapi_schema

    @cache
    def encoded() -> bytes:
        return encode(document())

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to do this

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return packed(encoded())


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), Problem=problem)
    access.describe(document, _PROBLEM)
    used = dict.fromkeys(tag for path in document["paths"].values() for one in path.values() for tag in one.get("tags", ()))
    document["tags"] = [{"name": tag, "description": _TAGS[tag]} if tag in _TAGS else {"name": tag} for tag in used]
    for path in document["paths"].values():
        for operation in path.values():
            _name(operation)
            _describe_requests(operation)
            _describe_replies(operation)
    return document


def _name(operation: dict[str, Any]) -> None:
    """Set the operation's summary and description from the docstring of its function."""
    summary, *rest = _SENTENCE.split(operation.pop("description", operation["summary"]), maxsplit=1)
    operation["summary"] = " ".join(summary.split())
    if rest and rest[0].strip():
        operation["description"] = rest[0].strip()


def _describe_requests(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in PARAMETERS:
            parameter["example"] = PARAMETERS[parameter["name"]]
    for content in _contents(operation.get("requestBody", {})):
        content["examples"] = {
            name: {"summary": request.summary, "value": request.body}
            for schema in _schemas(content["schema"])
            for name, request in REQUESTS.get(schema, {}).items()
        }


def _describe_replies(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses["default"] = {"description": "Any other error.", "content": _PROBLEM}
    for status, response in responses.items():
        response["description"] = _DESCRIPTIONS.get(response["description"], response["description"])
        headers: dict[str, Any] = {"X-Request-ID": _REQUEST_ID}
        content = response.get("content", {})
        if status == "422" or any(one.get("schema") == _REF for one in content.values()):
            number = HTTPStatus(int(status)) if status != "default" else HTTPStatus.INTERNAL_SERVER_ERROR
            response["content"] = {PROBLEM: {"schema": _REF, "example": _problem(number, operation)}}
            if number in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                headers["Retry-After"] = _RETRY_AFTER
        else:
            _give_example(content, status)
        response["headers"] = headers


def _give_example(content: dict[str, Any], status: str) -> None:
    for media_type, one in content.items():
        for schema in [*_schemas(one.get("schema", {})), media_type]:
            example = REPLIES.get(f"{schema} {status}", REPLIES.get(schema))
            if example is not None:
                one.setdefault("example", example)


def _problem(status: HTTPStatus, operation: dict[str, Any]) -> Any:
    """Return an example of a problem with this status, as a reply to this operation."""
    if status != HTTPStatus.UNPROCESSABLE_ENTITY:
        return json.loads(encode_problem(status, PROBLEMS.get(status, status.description)))
    bodies = [schema for content in _contents(operation.get("requestBody", {})) for schema in _schemas(content["schema"])]
    fault = next((FAULTS[schema] for schema in bodies if schema in FAULTS), ANY_FAULT)
    return json.loads(encode_problem(status, InvalidRequestError([fault]).detail, [fault]))


def _contents(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from part.get("content", {}).values()


def _schemas(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the schemas that a schema refers to, directly or as alternatives."""
    for one in [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]:
        if "$ref" in one:
            yield one["$ref"].rpartition("/")[2]
