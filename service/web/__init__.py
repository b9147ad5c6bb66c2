"""The demo player: static files without a build step. `service.http.pages` serves them."""
