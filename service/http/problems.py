"""Renders every error for clients, as `application/problem+json` (RFC 9457).

`service.errors` has our own errors. The framework's own refusals (404, 405, 413 by our limit) are Starlette's HTTPException. A
body that FastAPI cannot read is a 422, whatever is wrong with it. A 500 says nothing about its cause; the log does, under the
same request id.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.errors import Fault, InvalidRequestError, ServiceError

PROBLEM = "application/problem+json"


def encode(status: HTTPStatus, detail: str, faults: Sequence[Fault] | None = None) -> bytes:
    """Encode an error as JSON, in the format of RFC 9457. All replies with an error use it."""
    body: dict[str, object] = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    if faults is not None:
        body["errors"] = faults
    return msgspec.json.encode(body)


def problem(
    status: HTTPStatus, detail: str, *, faults: Sequence[Fault] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Make the reply for an error."""
    return Response(encode(status, detail, faults), status.value, headers, media_type=PROBLEM)


def render(error: ServiceError) -> Response:
    """Make the reply for a service error, without what only the log may have."""
    faults = error.faults if isinstance(error, InvalidRequestError) else None
    return problem(error.status, error.detail, faults=faults, headers=error.headers)


def mistake() -> Response:
    """Make the reply for an unexpected exception: a 500 without details."""
    detail = "something went wrong here, not in the request; the log has it under this reply's X-Request-ID"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def install(app: FastAPI) -> None:
    """Make `app` reply to all exceptions, its own and the framework's, with problems."""

    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> Response:
        return render(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if request.method == "POST" and not _says_json(sent := request.headers.get("content-type", "")):
            fault = Fault(loc=["header", "content-type"], msg=f"found {sent or 'none'}; the body is application/json")
            return render(InvalidRequestError([fault]))
        return render(InvalidRequestError([Fault(loc=_as_sent(fault["loc"]), msg=_words(fault)) for fault in error.errors()]))

    @app.exception_handler(HTTPException)
    async def framework_error(_: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, RecursionError | UnicodeDecodeError):  # raised while FastAPI reads a body
            deep = isinstance(error.__cause__, RecursionError)
            return render(InvalidRequestError([Fault(loc=["body"], msg="nested too deeply" if deep else "not valid UTF-8")]))
        status = HTTPStatus(error.status_code)
        detail = error.detail if error.detail != status.phrase else status.description
        return problem(status, detail, headers=error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, __: Exception) -> Response:
        return mistake()


def _says_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


_WORDS = {
    "extra_forbidden": "there is no such field",
    "json_invalid": "this is no JSON: {error}",
    "model_attributes_type": "expected an object",
    "too_long": "found {actual_length} items; expected at most {max_length}",
    "too_short": "found {actual_length} items; expected at least {min_length}",
}
"""Words for kinds of faults that pydantic names in terms of its own types."""


def _words(fault: Mapping[str, Any]) -> str:
    """Say what is wrong, in terms of JSON."""
    words = _WORDS.get(fault["type"])
    return str(fault["msg"]) if words is None else words.format_map(fault.get("ctx", {}))


def _as_sent(loc: Sequence[str | int]) -> Sequence[str | int]:
    """Return a validator's path without the names of union members (`<batch>`), which the client never sent."""
    return [step for step in loc if not (isinstance(step, str) and step.startswith("<"))]
