"""`/` and `/dashboard`: the demo player and the dashboard, static files of the package `service.web`.

The pages call the public API only and load nothing from other hosts, which the content security policy enforces.
"""

from importlib.resources import files

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

ASSETS = "/web"
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
"""Inline styles are allowed because the pages set colours from script; scripts come from files only."""


class _Files(StaticFiles):
    """Static files that a browser revalidates at each visit, so that it never mixes files of two releases."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Serve the pages and their files from `app`."""
    app.mount(ASSETS, _Files(packages=[("service", "web")]))
    pages = files("service.web")

    @app.get("/", include_in_schema=False)
    async def player() -> Response:
        return _page(pages.joinpath("index.html").read_bytes())

    @app.get("/dashboard", include_in_schema=False)
    async def dashboard() -> Response:
        return _page(pages.joinpath("dashboard.html").read_bytes())


def _page(body: bytes) -> Response:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response(body, media_type="text/html; charset=utf-8", headers=headers)
