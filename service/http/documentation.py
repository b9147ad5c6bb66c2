"""`/docs`: the OpenAPI document as a page to try, without a network.

FastAPI's own page loads its scripts from other hosts. Behind a firewall it stays blank, and those hosts learn who looks at it.
Here the scripts come from the package fastapi-offline, which has a release for each release of Swagger UI.
"""

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

_ASSETS = "/docs/assets"


def install(app: FastAPI) -> None:
    """Add the page `/docs` to `app`, with its scripts and styles."""
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/docs", include_in_schema=False)
    async def page() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # by itself it sends the document to a host that draws a badge
        )
