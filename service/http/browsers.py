"""Lets web pages of other origins call the service (CORS). Off unless `cors_origins` names some.

It stands before everything else: a browser sends a preflight request without a key, and it hides an error from the page
unless the error has these headers too.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

PREFLIGHT_S = 3600
"""How long a browser may remember the answer to a preflight request."""


def allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Returns `app` for pages of these origins. Credentials are a header here, not cookies, so none are allowed for."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
        expose_headers=("Retry-After", "WWW-Authenticate", "X-Request-ID"),
        max_age=PREFLIGHT_S,
    )
