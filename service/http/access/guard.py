"""The guard that every request passes, before the fast path and before FastAPI."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from fastapi import Response
from starlette.types import Scope

from service.errors import ForbiddenError, ServiceError, UnauthorizedError
from service.http.access import callers, keys
from service.http.access.keys import AccessError, Key
from service.http.access.paths import is_admin, is_open, routed
from service.http.access.watched import Watched
from service.http.problems import render
from service.settings import Settings

_SCHEME = b"bearer "
_QUIET = frozenset({"GET", "HEAD", "POST"})


class Access:
    """Who may call what, as the settings say. Without keys everybody may call everything."""

    def __init__(self, settings: Settings) -> None:
        """Raises AccessError where a file cannot be read or keys contradict each other."""
        self._locked = settings.is_locked
        self._keys = _keys(settings)

    async def follow_files(self) -> None:
        """Read files with keys again when they change, for ever."""
        await self._keys.watch()

    def __call__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Returns the reply that refuses a request, or None. Then its scope says who sent it."""
        callers.let(scope, callers.anyone)
        path = routed(scope)
        if not self._locked or is_open(path):
            return None
        try:
            self._check(scope, headers, path)
        except ServiceError as error:
            return render(error)
        return None

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes], path: str) -> None:
        scope["caller"] = callers.UNKNOWN
        presented = keys.digest(_presented(headers))
        key = keys.find(self._keys.value, presented)
        if key is None:
            raise UnauthorizedError("this key is not known")
        scope["caller"] = key.name
        if scope["method"] not in _QUIET or is_admin(path):
            structlog.contextvars.bind_contextvars(caller=key.name)  # for audit lines
        if is_admin(path) and not key.admin:
            raise ForbiddenError("this path needs an admin key")


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    """The secret or token in the header. Raises UnauthorizedError if there is none."""
    given = headers.get(b"authorization", b"")
    if given[: len(_SCHEME)].lower() != _SCHEME:
        raise UnauthorizedError("this path needs a key; send it as `Authorization: Bearer KEY`")
    return given[len(_SCHEME) :].strip()


def _keys(settings: Settings) -> Watched[Sequence[Key]]:
    """The keys of both kinds, from variables and files."""
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


def _of_file(path: Path, text: str, *, admin: bool) -> Sequence[Key]:
    try:
        found = keys.parse(text, admin=admin)
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error
    if not found:
        raise AccessError(f"{path} has no key; {keys.EXPECTED}")
    return found
