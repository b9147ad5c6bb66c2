"""The part of the OpenAPI document about keys, from the same table that the guard reads."""

from http import HTTPStatus
from typing import Any

from service.http.access.paths import is_admin, is_open, opens_to_listener

_SCHEMES = {
    "key": "A key of `NEXTTRACK_API_KEYS`, for applications and backends. A service without keys asks for none.",
    "adminKey": "A key of `NEXTTRACK_ADMIN_KEYS`, for operators. It opens every path.",
    "listenerToken": "A JSON Web Token of one listener, for a player on the listener's device. It opens that user's paths.",
}
_REFUSALS = {
    HTTPStatus.UNAUTHORIZED: "no key or token, or one that is not known",
    HTTPStatus.FORBIDDEN: "the key or token does not open this",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests of this key or listener: repeat after `Retry-After` seconds",
}


def describe(document: dict[str, Any], problem: dict[str, Any]) -> None:
    """Add to the OpenAPI document the security schemes, the scheme that each operation needs, and its refusals, whose content
    is `problem`.
    """
    schemes = {name: {"type": "http", "scheme": "bearer", "description": text} for name, text in _SCHEMES.items()}
    schemes["listenerToken"]["bearerFormat"] = "JWT"
    document["components"]["securitySchemes"] = schemes
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["security"] = [{name: []} for name in _needs(method.upper(), path)]
            if operation["security"]:
                for status, text in _REFUSALS.items():
                    operation["responses"][str(status.value)] = {"description": text, "content": problem}


def _needs(method: str, path: str) -> list[str]:
    """Return the security schemes of a route. A request needs one of them."""
    if is_open(path):
        return []
    if is_admin(path):
        return ["adminKey"]
    return ["key", "adminKey", *(["listenerToken"] if opens_to_listener(method, path) else [])]
