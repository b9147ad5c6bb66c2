"""Answers the three busiest routes past the ASGI interface and past FastAPI.

A scope, messages and layers of coroutines for each request, and FastAPI's routing, take more time than the request itself
(`docs/measurements/speed.md` has the figures). So the connection shows each request to this module first. It recognises the
requests that make up the load, checks them by the same rules, and calls the same functions as the routes.

It answers plain, valid requests only. All others (with an unknown parameter, a body without a length, a wrong value) go to
FastAPI unchanged, which makes the error message. Contract tests compare the two ways.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import structlog
from fastapi import Response
from starlette.types import Scope

from service.errors import ServiceError
from service.http import fast_parse, problems
from service.http.access.paths import decoded
from service.http.middleware import Guard, request_id_of
from service.http.routes.events import record
from service.http.routes.proposals import answer_next, propose
from service.http.schemas import MAX_LISTED
from service.observing.logs import RequestLog, name_request
from service.observing.metrics import Metrics
from service.recommender import Query
from service.rules import AskedRules
from service.state import State

BODY_BYTES = 256 * 1024
"""The longest body that is answered here. It is parsed before the guards have seen the request."""
_UNUSUAL = frozenset({b"origin", b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"})
"""Headers of requests that need more than the fast path does."""
_NEXT = re.compile(rb"/v1/users/([^/]+)/next")
_COUNT, _GAP = re.compile(r"[1-9][0-9]?|100"), re.compile(r"[0-9]|[1-9][0-9]|100")
_COUNT_ALONE = re.compile(rb"count=([1-9][0-9]?|100)")
_DAYS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")
_NOVELTY, _EXPLORE = re.compile(r"-?(0(\.[0-9]{1,6})?|1(\.0{1,6})?)"), re.compile(r"0(\.[0-4][0-9]{0,5}|\.50{0,5})?")
_SHORT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")  # at most 256 bytes, however its characters are encoded


Make = Callable[[], Awaitable[bytes]]
"""Makes the body of a reply."""
Write = Callable[[bytes, bytes], None]
"""Sends a reply: the head up to its last header, with that header's line break, and the body."""

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Template:
    """The route of a request, as `metrics.answered` reads it: only its path template."""

    path: str


@dataclass(slots=True)
class Asked:
    """A request that the fast path recognises by its head.

    `scope` has what guards, routes, log and metrics read. `read` reads the body, and returns None if FastAPI must read it.
    """

    scope: Scope
    headers: Mapping[bytes, bytes]
    only_reads: bool
    read: Callable[[bytes], Make | None]
    body: bytearray = field(default_factory=bytearray)  # what arrived of it
    has_begun: bool = False
    client_left: bool = False


class FastPath:
    """Recognises and answers plain requests. It checks, counts and logs them as `RequestMiddleware` does with all others."""

    def __init__(self, metrics: Metrics, log: RequestLog, guards: Sequence[Guard] = ()) -> None:
        """`guards` are called in order. The first one that returns a reply refuses the request."""
        self._metrics, self._log, self._guards = metrics, log, guards

    def recognise(
        self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], state: Mapping[str, Any]
    ) -> Asked | None:
        """Return the request if it is one of the three busy ones and its head is plain. `state` is that of the application."""
        path, _, query_string = url.partition(b"?")
        of_next = _NEXT.fullmatch(path) if method == b"GET" else None
        if of_next is None and (method != b"POST" or path not in _POSTS):
            return None
        named = dict(headers)
        if len(named) < len(headers) or not _UNUSUAL.isdisjoint(named) or b"#" in url:
            return None
        service: State = state["service"]
        scope: Scope = {"type": "http", "raw_path": path, "query_string": query_string, "headers": headers}
        if of_next is not None:
            user_id, query = _user_id(of_next[1]), _query(query_string)
            if user_id is None or query is None or b"content-length" in named:
                return None
            scope.update(method="GET", path=path.decode("latin-1"), route=_OF_NEXT)
            return Asked(scope, named, True, lambda _: lambda: propose(scope, service, user_id, query))
        if query_string or not _has_plain_json(named):
            return None
        template, only_reads, post = _POSTS[path]
        scope.update(method="POST", path=template.path, route=template)
        return Asked(scope, named, only_reads, lambda body: post(scope, service, body))

    async def answer(self, asked: Asked, make: Make, write: Write) -> None:
        """Answer a request by one call of `write`. `make` is what `asked.read` has returned.

        If the client leaves, `asked.client_left` is set, and this task is cancelled. Then nothing is written.
        """
        started, scope, status = time.perf_counter(), asked.scope, 0
        request_id = request_id_of(asked.headers)
        name_request(request_id)
        refusal: Response | None = None
        asked.has_begun = True
        try:
            if asked.client_left:  # between its last byte and now
                return
            for guard in self._guards:
                if (refusal := guard(scope, asked.headers)) is not None:
                    break
            else:
                body = await make()
                status = HTTPStatus.OK.value
                write(_OK % (len(body), request_id), body)
        except ServiceError as error:
            refusal = problems.render(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not asked.client_left or (task is not None and task.uncancel()):
                raise
        except Exception:
            logger.exception("request failed", method=scope["method"], path=scope["path"])
            refusal = problems.mistake()
        finally:
            if refusal is not None:
                status = refusal.status_code
                write(_head(refusal, request_id), bytes(refusal.body))
            elapsed_s = time.perf_counter() - started
            self._metrics.answered(scope, status, elapsed_s)
            self._log(scope, request_id, status, elapsed_s)


_OF_NEXT = _Template("/v1/users/{user_id}/next")
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: application/json\r\nx-request-id: %b\r\n"


def _head(reply: Response, request_id: bytes) -> bytes:
    status = HTTPStatus(reply.status_code)
    lines = [b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode())]
    lines += [b"%b: %b" % header for header in [*reply.raw_headers, (b"x-request-id", request_id)]]
    return b"\r\n".join([*lines, b""])


def _post_events(scope: Scope, service: State, body: bytes) -> Make | None:
    now_ms = service.clock()
    read = fast_parse.read_events(body, now_ms)
    if read is None:
        return None
    told, many = read
    return lambda: record(scope, told, service, now_ms, many=many)


def _post_next(scope: Scope, service: State, body: bytes) -> Make | None:
    asked = fast_parse.read_next(body)
    if asked is None:
        return None
    return lambda: answer_next(scope, service, asked.user_id, asked.plays, asked.query)


_POSTS = {
    b"/v1/events": (_Template("/v1/events"), False, _post_events),
    b"/v1/next": (_Template("/v1/next"), True, _post_next),
}
"""Of each path: its route, whether it only reads, and what reads its body."""


def _user_id(raw: bytes) -> str | None:
    """Decode the user id in a path. Returns None for an id that is not valid, is long, or is not UTF-8: FastAPI then handles
    the request.
    """
    try:
        text = raw.decode("ascii")
        user_id = decoded(text) if "%" in text else text
    except UnicodeDecodeError:
        return None
    return user_id if _SHORT_ID.fullmatch(user_id) else None


def _query(query_string: bytes) -> Query | None:
    """Parse a query string. Returns None if it has anything but valid `count`, `exclude` and rules, or repeats another one than
    `exclude`.
    """
    if match := _COUNT_ALONE.fullmatch(query_string):  # as most players ask
        return Query(count=int(match[1]))
    count, exclude, rules = 0, list[str](), AskedRules()
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name == "count" and not count and _COUNT.fullmatch(value):
            count = int(value)
        elif name == "exclude" and _SHORT_ID.fullmatch(value) and len(exclude) < MAX_LISTED:
            exclude.append(value)
        elif name in _RULES and name not in rules and (read := _RULES[name](value)) is not None:
            rules[name] = read  # type: ignore[literal-required]  # `_RULES` has the keys of `AskedRules`
        else:
            return None
    return Query(count=count or 10, exclude=exclude, rules=rules)


def _gap(text: str) -> int | None:
    return int(text) if _GAP.fullmatch(text) else None


def _days(text: str) -> float | None:
    return float(text) if _DAYS.fullmatch(text) else None


def _novelty(text: str) -> float | None:
    return float(text) if _NOVELTY.fullmatch(text) else None


def _explore(text: str) -> float | None:
    return float(text) if _EXPLORE.fullmatch(text) else None


_BOOLEANS = {"true": True, "false": False}
_RULES: Mapping[str, Callable[[str], Any]] = {
    "artist_gap": _gap,
    "album_gap": _gap,
    "not_heard_days": _days,
    "replay": _BOOLEANS.get,
    "explain": _BOOLEANS.get,
    "novelty": _novelty,
    "explore": _explore,
}
"""How the plain form of each rule is read."""


def _has_plain_json(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request declares a JSON body and a length that is answered here."""
    length = headers.get(b"content-length", b"")
    return headers.get(b"content-type") == b"application/json" and length.isdigit() and int(length) <= BODY_BYTES
