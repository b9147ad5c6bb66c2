"""Lets web pages of other origins call the service (CORS). It is off unless `cors_origins` names some.

This layer is the outermost one. A browser sends a preflight request without a key, and hides an error from the page unless the
error has these headers too.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

PREFLIGHT_S = 3600
"""Seconds for which a browser may cache the answer to a preflight request."""


def allow_origins(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return `app` with CORS headers for pages of these origins. Cookies are not allowed, because keys are sent in a header."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
        expose_headers=("Retry-After", "WWW-Authenticate", "X-Request-ID"),
        max_age=PREFLIGHT_S,
    )
