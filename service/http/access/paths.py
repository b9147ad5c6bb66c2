"""The table of paths: which are open to everybody, which need an admin key, and which a listener token opens.

A path that no table names needs a key, so a new route is closed until somebody decides otherwise.
"""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

OPEN = frozenset({"/", "/dashboard", "/docs", "/openapi.json", "/healthz", "/readyz"})
"""Paths without data: pages, the description of the API that `/docs` shows, and the probes of load balancers."""
OPEN_BELOW = ("/web/", "/docs/assets/")
"""Static files."""
ADMIN = ("/v1/status", "/v1/model/reload", "/v1/blocks")
"""Paths that need an admin key, with all paths below them."""
OF_LISTENERS: Mapping[str, frozenset[str]] = {
    "next": frozenset({"GET"}),
    "session": frozenset({"GET"}),
    "blocks": frozenset({"GET"}),
    "blocks/": frozenset({"PUT", "DELETE"}),
}
"""What a listener token opens below `/v1/users/{user_id}/`, with methods. A name that ends with `/` stands for all below it."""
WITH_USERS = frozenset({("POST", "/v1/events"), ("POST", "/v1/next")})
"""What a listener token opens too. The users stand in the body, so the routes ask `callers.admit` for them."""

USERS = "/v1/users/"
_RAW_USERS = USERS.encode()
_ADMIN_BELOW = tuple(f"{path}/" for path in ADMIN)


def routed(scope: Scope) -> str:
    """Returns the path that the router matches.

    The path is percent-decoded, except below `/v1/users/`. There it is as the client sent it, so that `a%2Fb` is one id, not
    two segments. The guard and the router must see the same path. Otherwise `/v1/%73tatus` would pass the guard.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw and raw.startswith(_RAW_USERS):
        return raw.decode("latin-1")
    path: str = scope["path"]
    return path


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def is_admin(path: str) -> bool:
    """Return whether a path needs an admin key."""
    return path in ADMIN or path.startswith(_ADMIN_BELOW)


def opens_to_listener(method: str, path: str) -> bool:
    """Return whether a listener token gives access to a route. Below `/v1/users/`, the caller must also compare the user
    ids.
    """
    if not path.startswith(USERS):
        return (method, path) in WITH_USERS
    below = path[len(USERS) :].partition("/")[2]
    return method in OF_LISTENERS.get(below.partition("/")[0] + "/" if "/" in below else below, ())


def user_of(path: str) -> str | None:
    """Return the user id in a path; None if the path has no id, or if the id is not valid UTF-8."""
    if not path.startswith(USERS):
        return None
    try:
        segment = path[len(USERS) :].partition("/")[0]
        return decoded(segment) if "%" in segment else segment
    except UnicodeDecodeError:
        return None


def decoded(segment: str) -> str:
    """Decode a percent-encoded id from a path. Raises UnicodeDecodeError if it is not valid UTF-8."""
    return unquote_to_bytes(segment).decode()
