"""Requests to a running service: keys, busy services, services that restart."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from training.running_service import KEY, TRIES, ServiceError, connect, key_of, send


def sent(handler: Callable[[httpx.Request], httpx.Response], *, restarts: bool = False) -> dict[str, Any]:
    """What `send` returns where a service answers by `handler`."""

    async def run() -> dict[str, Any]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://service") as client:
            return await send(client, "GET", "/v1/model", restarts=restarts)

    return asyncio.run(run())


def in_turn(*replies: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    """A service that gives these replies, one for each request, and no further ones."""
    left = list(replies)

    def handler(_: httpx.Request) -> httpx.Response:
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return handler


@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_when_it_says_so(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the seconds; a date, which a proxy may send, is a second."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:  # the clock of this test
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    dated = httpx.Response(status, headers={"Retry-After": "Tue, 01 Dec 2026 00:00:00 GMT"})
    service = in_turn(httpx.Response(status, headers={"Retry-After": "7"}), dated, httpx.Response(200, json={"version": "v"}))

    assert sent(service) == {"version": "v"}
    assert waited == [7, 1]


def test_service_that_stays_busy_is_given_up() -> None:
    """With what was asked and what was answered, after so many tries."""
    busy = [httpx.Response(503, text="later", headers={"Retry-After": "0"}) for _ in range(TRIES)]

    with pytest.raises(ServiceError, match="GET /v1/model was answered with 503: later"):
        sent(in_turn(*busy))


def test_service_that_does_not_answer_is_said_at_once() -> None:
    """Most often it was not started, or listens elsewhere. An error without a text is named by its kind."""
    for error, why in ((httpx.ConnectError("refused"), "refused"), (httpx.ReadTimeout(""), "ReadTimeout")):
        words = rf"no answer from http://.+ to GET /v1/model: {why}; is the service running\?"

        with pytest.raises(ServiceError, match=words):
            sent(in_turn(error))


def test_service_that_restarts_is_waited_for() -> None:
    """Where a long step asks for it."""
    service = in_turn(httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.Response(200, json={}))

    assert sent(service, restarts=True) == {}


@pytest.mark.parametrize("reply", [httpx.Response(200, text="<h1>Welcome</h1>"), httpx.Response(200, json=["Welcome"])])
def test_reply_of_another_server_is_shown(reply: httpx.Response) -> None:
    """A web server at a mistyped address answers with a page of its own."""
    with pytest.raises(ServiceError, match=r"GET /v1/model was answered with 200 and .*Welcome.*expected a JSON object"):
        sent(in_turn(reply))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_says_where_a_key_belongs(status: int) -> None:
    """And a key itself is in no message."""
    with pytest.raises(ServiceError, match=rf"{status}.*\${KEY}.*--key-file"):
        sent(in_turn(httpx.Response(status)))


def test_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first. It may have comments, as the service's own files of keys. The key is presented as a bearer token."""
    (tmp_path / "key").write_text("# of the backfill, until 2027\n\nsec#ret:1\n")
    monkeypatch.setenv(KEY, "other")

    assert key_of(tmp_path / "key") == "sec#ret:1"
    assert key_of(None) == "other"
    assert connect("http://service", "secret").headers["authorization"] == "Bearer secret"
    assert "authorization" not in connect("http://service").headers


@pytest.mark.parametrize(("text", "found"), [("\n# none yet\n", "0 keys"), ("one\ntwo", "2 keys"), ("one,two", "2 keys")])
def test_a_file_without_a_single_key_is_refused(tmp_path: Path, text: str, found: str) -> None:
    """A client presents one. The message does not repeat them."""
    (tmp_path / "keys").write_text(text)

    with pytest.raises(ServiceError, match=f"^found {found} in {tmp_path}/keys; wanted the secret of one, without its name$"):
        key_of(tmp_path / "keys")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://[::1"])
def test_address_that_is_none_is_refused(url: str) -> None:
    """With an example of one."""
    with pytest.raises(ServiceError, match="wanted an address such as"):
        connect(url)
