"""Answers the three busiest routes without FastAPI's routing and dependency injection.

FastAPI spends more time to match a path and to solve a route's dependencies than the rest of the request takes. With this
module the service answers 1.7 times as many requests (`docs/measurements/speed.md`). It recognises the requests that make up
the load, checks them by the same rules, and calls the same functions as the routes.

It answers plain, valid requests only. All others (with an unknown parameter, a body without a length, a wrong value) go to
FastAPI unchanged, which makes the error message. Contract tests compare the two ways.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ServiceError
from service.http import fast_parse
from service.http.access.paths import decoded
from service.http.problems import render
from service.http.routes.events import record
from service.http.routes.proposals import answer_next, propose
from service.http.schemas import MAX_LISTED
from service.recommender import Query
from service.rules import AskedRules
from service.state import State

_NEXT = re.compile(rb"/v1/users/([^/]+)/next")
_COUNT, _GAP = re.compile(r"[1-9][0-9]?|100"), re.compile(r"[0-9]|[1-9][0-9]|100")
_COUNT_ALONE = re.compile(rb"count=([1-9][0-9]?|100)")
_DAYS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")
_NOVELTY, _EXPLORE = re.compile(r"-?(0(\.[0-9]{1,6})?|1(\.0{1,6})?)"), re.compile(r"0(\.[0-4][0-9]{0,5}|\.50{0,5})?")
_SHORT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")  # at most 256 bytes, however its characters are encoded


@dataclass(frozen=True, slots=True)
class _Template:
    """The route of a request, as `metrics.answered` reads it: only its path template."""

    path: str


_OF_NEXT = _Template("/v1/users/{user_id}/next")


class FastPath:
    """Answers valid requests for proposals and valid posts of events. Passes all other requests on to FastAPI. It stands inside
    `RequestMiddleware`.
    """

    def __init__(self, framework: ASGIApp) -> None:
        self._framework = framework
        self._posts: dict[bytes, tuple[_Template, Callable[[Scope, State, bytes], Awaitable[bytes] | None]]] = {
            b"/v1/events": (_Template("/v1/events"), _post_events),
            b"/v1/next": (_Template("/v1/next"), _post_next),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._framework(scope, receive, send)
        path = scope.get("raw_path")
        if scope["method"] == "GET" and path and (match := _NEXT.fullmatch(path)):
            user_id, query = _user_id(match[1]), _query(scope["query_string"])
            if user_id is not None and query is not None:
                scope["route"] = _OF_NEXT
                return await _answer(propose(scope, _state(scope), user_id, query), scope, receive, send)
        elif scope["method"] == "POST" and path in self._posts and not scope["query_string"] and _has_plain_json(scope):
            template, post = self._posts[path]
            messages = await _read(receive)
            made = post(scope, _state(scope), b"".join(message.get("body", b"") for message in messages))
            if made is None:
                return await self._framework(scope, _again(messages, receive), send)
            scope["route"] = template
            return await _answer(made, scope, receive, send)
        return await self._framework(scope, receive, send)


def _post_events(scope: Scope, service: State, body: bytes) -> Awaitable[bytes] | None:
    now_ms = service.clock()
    read = fast_parse.read_events(body, now_ms)
    return None if read is None else record(scope, read[0], service, now_ms, many=read[1])


def _post_next(scope: Scope, service: State, body: bytes) -> Awaitable[bytes] | None:
    asked = fast_parse.read_next(body)
    return None if asked is None else answer_next(scope, service, asked.user_id, asked.plays, asked.query)


async def _answer(made: Awaitable[bytes], scope: Scope, receive: Receive, send: Send) -> None:
    try:
        body = await made
    except ServiceError as error:
        return await render(error)(scope, receive, send)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return None


def _state(scope: Scope) -> State:
    state: State = scope["state"]["service"]
    return state


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


def _has_plain_json(scope: Scope) -> bool:
    """Return whether the request declares a JSON body and its length. `RequestMiddleware` has checked the length."""
    sized = typed = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            sized = True
        elif name == b"content-type":
            typed = value == b"application/json"
    return sized and typed


async def _read(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` callable that first repeats `messages`, which were read already, and then receives further ones."""
    left = iter(messages)

    async def replay() -> Message:
        return next(left, None) or await receive()

    return replay
