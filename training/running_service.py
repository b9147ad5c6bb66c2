"""Talks to a running service: presents a key, and waits as long as a busy service asks."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from model.key_files import key_entries
from training.counts import counted
from training.errors import TrainingError

KEY = "NEXTTRACK_KEY"
"""The environment variable that holds an API key."""
TRIES = 10
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class ServiceError(TrainingError):
    """A service that is out of reach, refuses a request or stays busy. The text says which, and what to do."""


def key_of(file: Path | None) -> str | None:
    """Return the secret of the API key in a file, or else in the environment; None if there is none.

    ServiceError if the file does not have one entry.
    """
    if file is None:
        return os.environ.get(KEY) or None
    entries = key_entries(file.read_text("utf-8"))
    if len(entries) != 1:
        raise ServiceError(f"found {counted(len(entries), 'key')} in {file}; wanted the secret of one, without its name")
    return entries[0]


def connect(url: str, key: str | None = None, at_once: int = 1) -> httpx.AsyncClient:
    """Return a client of the service at `url` with up to `at_once` connections. ServiceError if `url` is no address."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceError(f"found {url!r} ({error}); wanted an address such as http://127.0.0.1:8000") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise ServiceError(f"found {url!r}; wanted an address such as http://127.0.0.1:8000")
    return httpx.AsyncClient(base_url=found, headers=headers, limits=limits, timeout=30)


async def send(client: httpx.AsyncClient, method: str, path: str, *, restarts: bool = False, **content: Any) -> dict[str, Any]:
    """Send a request, wait as long as the service asks, and return the reply. ServiceError if no good reply arrives.

    With `restarts`, a service that does not answer at all is tried again too, for about 20 s.
    """
    for pause_s in _pauses():
        try:
            reply = await client.request(method, path, **content)
        except httpx.TransportError as error:
            if not restarts or pause_s is None:
                why = str(error) or type(error).__name__
                raise ServiceError(
                    f"no answer from {client.base_url} to {method} {path}: {why}; is the service running?"
                ) from error
            await asyncio.sleep(pause_s)
            continue
        if reply.status_code not in _BUSY or pause_s is None:
            break
        await asyncio.sleep(_asked_s(reply, pause_s))
    if reply.status_code in _REFUSED:
        raise ServiceError(
            f"{method} {path} was answered with {reply.status_code}: the service wants a key that may do this. "
            f"Give its secret, without its name, in ${KEY} or in a file by --key-file"
        )
    if not reply.is_success:
        raise ServiceError(f"{method} {path} was answered with {reply.status_code}: {reply.text[:500]}")
    return _content(reply, f"{method} {path}")


def _content(reply: httpx.Response, request: str) -> dict[str, Any]:
    try:
        found = reply.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServiceError(
            f"{request} was answered with {reply.status_code} and {reply.text[:100]!r}; expected a JSON object. "
            "Is this the address of the service, and not of a web server before it?"
        )
    return found


def _pauses() -> Iterator[float | None]:
    """Yield how long to wait after each try, in seconds, if the service does not say so; None after the last."""
    for tried in range(TRIES - 1):
        yield min(0.1 * 2**tried, 5.0)
    yield None


def _asked_s(reply: httpx.Response, pause_s: float) -> float:
    """Return how long the service asks to wait, in seconds."""
    try:
        return max(0.0, float(reply.headers["retry-after"]))
    except (KeyError, ValueError):  # none, or a date, which a proxy may send
        return max(1.0, pause_s)
