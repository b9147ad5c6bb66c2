"""The guard that every request passes, before the fast path and before FastAPI."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from fastapi import Response
from starlette.types import Scope

from service.errors import ForbiddenError, ServiceError, UnauthorizedError
from service.http.access import callers, keys
from service.http.access.keys import AccessError, Key
from service.http.access.limits import RateLimit
from service.http.access.paths import USERS, is_admin, is_open, opens_to_listener, user_of
from service.http.access.watched import Watched
from service.http.problems import render
from service.settings import Settings

if TYPE_CHECKING:
    from service.http.access.tokens import Tokens

_SCHEME = b"bearer "
_DOTS = 2
"""In a signed JSON Web Token, which no key looks like by chance."""
_QUIET = frozenset({"GET", "HEAD", "POST"})


class Access:
    """Decides who may call which route, by the settings. If there are no keys, everybody may call everything."""

    def __init__(self, settings: Settings) -> None:
        """Raises AccessError if a file cannot be read or if keys contradict each other."""
        self._locked = settings.is_locked
        self._keys = _keys(settings)
        self._tokens = _tokens(settings)
        burst_s = settings.rate_burst.total_seconds()
        self._of_keys = RateLimit("a key", settings.rate_per_key, burst_s) if settings.rate_per_key else None
        self._of_users = RateLimit("a user", settings.rate_per_user, burst_s) if settings.rate_per_user else None

    async def follow_files(self) -> None:
        """Watch the files with keys and read them again when they change. Runs until cancelled."""
        await asyncio.gather(*(watched.watch() for watched in (self._keys, self._tokens) if watched is not None))

    def __call__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return the reply that refuses a request; None if it is admitted. If keys are required, the scope then names the
        sender.
        """
        callers.let(scope, callers.anyone)
        path: str = scope["path"]  # as the router matches it: `RequestMiddleware` has set it
        if is_open(path):
            return None
        try:
            if self._locked:
                self._check(scope, headers, path)
            else:
                self._limit(scope, path)
        except ServiceError as error:
            return render(error)
        return None

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes], path: str) -> None:
        scope["caller"] = callers.UNKNOWN
        presented = _presented(headers)
        digest = keys.digest(presented)
        key = keys.find(self._keys.value, digest)
        if key is not None:
            scope["caller"] = key.name
            _check_key(scope, path, key)
            if self._of_keys is not None:
                self._of_keys.take((key.name,))
            self._limit(scope, path)
        elif self._tokens is not None and presented.count(b".") == _DOTS:
            user_id = self._tokens.value.user(presented, digest)
            scope["caller"] = callers.LISTENER
            _check_listener(scope, path, user_id)
            if self._of_users is not None:
                self._of_users.take((user_id,))
            callers.let(scope, callers.only(user_id))
        else:
            raise UnauthorizedError("this key is not known", invalid=True)

    def _limit(self, scope: Scope, path: str) -> None:
        """Count the request against the rate limit of the user in its path. If the users are in the body, count when the body
        was read.
        """
        if self._of_users is None:
            return
        if (user_id := user_of(path)) is not None:
            self._of_users.take((user_id,))
        else:
            callers.let(scope, callers.each(self._of_users.take))


def _check_key(scope: Scope, path: str, key: Key) -> None:
    needs_admin = is_admin(path)
    if needs_admin or scope["method"] not in _QUIET:
        structlog.contextvars.bind_contextvars(caller=key.name)  # for audit lines
    if needs_admin and not key.admin:
        raise ForbiddenError("this path needs an admin key")


def _check_listener(scope: Scope, path: str, user_id: str) -> None:
    """Raise ForbiddenError if a listener token does not open this route. User ids in a body are checked after the body was
    read.
    """
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    if not opens_to_listener(method, path):
        raise ForbiddenError("a listener token does not open this")
    if path.startswith(USERS) and user_of(path) != user_id:
        raise ForbiddenError("a listener token opens the paths of its own user alone")


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key or token in the header. Raises UnauthorizedError if there is none."""
    given = headers.get(b"authorization", b"")
    if given[: len(_SCHEME)].lower() != _SCHEME:
        raise UnauthorizedError("this path needs a key; send it as `Authorization: Bearer KEY`")
    return given[len(_SCHEME) :].strip()


def _keys(settings: Settings) -> Watched[Sequence[Key]]:
    """Return the API keys and admin keys, from variables and files."""
    files = [(path, admin) for path, admin in ((settings.api_keys_file, False), (settings.admin_keys_file, True)) if path]
    fixed = [
        key
        for text, admin in ((settings.api_keys, False), (settings.admin_keys, True))
        for key in keys.parse(text.get_secret_value() if text else "", admin=admin)
    ]

    def make(texts: Sequence[str]) -> Sequence[Key]:
        found = list(fixed)
        for (path, admin), text in zip(files, texts, strict=True):
            found += _of_file(path, text, admin=admin)
        return keys.together(found)

    return Watched("API keys", [path for path, _ in files], make)


def _tokens(settings: Settings) -> "Watched[Tokens] | None":
    """Return the verifier of listener tokens; None if the settings have no key for them."""
    secret, path = settings.jwt_key, settings.jwt_public_key_file
    if secret is not None and path is not None:
        raise AccessError("found NEXTTRACK_JWT_KEY and NEXTTRACK_JWT_PUBLIC_KEY_FILE; set one of them")
    if secret is None and path is None:
        return None
    from service.http.access import tokens  # noqa: PLC0415  # PyJWT takes 50 ms to import; most services have no tokens

    def make(texts: Sequence[str]) -> "Tokens":
        if secret is not None:
            return tokens.with_secret(secret.get_secret_value())
        try:
            return tokens.with_public_keys(texts[0])
        except AccessError as error:
            raise AccessError(f"{path}: {error}") from error

    return Watched("token keys", [] if path is None else [path], make)


def _of_file(path: Path, text: str, *, admin: bool) -> Sequence[Key]:
    try:
        found = keys.parse(text, admin=admin)
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error
    if not found:
        raise AccessError(f"{path} has no key; {keys.EXPECTED}")
    return found
