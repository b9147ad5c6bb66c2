"""The tree of errors that the service raises. `service.http.problems` renders them for clients.

    ServiceError
    ├── UnauthorizedError            401  no key or token, or one that is not known
    ├── ForbiddenError               403  the key or token does not open this
    ├── RateLimitedError             429  too many requests of this key or listener; `Retry-After` says when
    ├── InvalidRequestError          422  the request is understood and wrong; `errors` says where
    ├── ModelRefusedError            409  the artifact that should be used is refused; the old one goes on
    ├── BlockRefusedError            409  a block would have no effect, or there is no room for another one
    └── UnavailableError             503  try again after `Retry-After`
        ├── StoreUnavailableError         Redis did not answer, or refused
        ├── ScorerUnavailableError        the model did not answer
        └── OverloadedError               too many requests wait for the model

Each class has its HTTP status.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import ClassVar, TypedDict


class Fault(TypedDict):
    """One error in a request: its path (`["body", "events", 3, "at"]`) and a text that says what is wrong."""

    loc: Sequence[str | int]
    msg: str


class ServiceError(Exception):
    """Any error that the service answers with a problem.

    The text is for the log. A client gets `detail`, which is the same text unless a class overrides it.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def detail(self) -> str:
        """Return the text that the client gets."""
        return str(self)


class UnauthorizedError(ServiceError):
    """The request has no key or token, or one that is not known."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, detail: str, *, invalid: bool = False) -> None:
        """`invalid` says that a key or token was sent and not accepted (RFC 6750, section 3.1)."""
        super().__init__(detail)
        self.headers = {"WWW-Authenticate": 'Bearer realm="nexttrack"' + (', error="invalid_token"' if invalid else "")}


class ForbiddenError(ServiceError):
    """The key or token is known, but does not give access to this route or listener."""

    status = HTTPStatus.FORBIDDEN


class RateLimitedError(ServiceError):
    """A key or a listener has sent too many requests."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(math.ceil(wait_s))}


class InvalidRequestError(ServiceError):
    """The request could be read, but its values are not valid."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, faults: Sequence[Fault]) -> None:
        counted = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{counted} in the request; errors says where")
        self.faults = faults


class ModelRefusedError(ServiceError):
    """The new artifact is refused. The current model stays in use."""

    status = HTTPStatus.CONFLICT


class BlockRefusedError(ServiceError):
    """A block would have no effect, or the list has no room for another one."""

    status = HTTPStatus.CONFLICT


class UnavailableError(ServiceError):
    """The service cannot answer now. The client should try again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = MappingProxyType({"Retry-After": "1"})


class StoreUnavailableError(UnavailableError):
    """Redis did not answer in time, could not be reached, or refused.

    `cause` may name addresses, paths and commands, so only the log gets it.
    """

    def __init__(self, detail: str, *, cause: object = None) -> None:
        super().__init__(detail if cause is None else f"{detail}: {cause}")
        self._detail = detail

    @property
    def detail(self) -> str:
        """Return the text that the client gets, which does not include `cause`."""
        return self._detail


class ScorerUnavailableError(UnavailableError):
    """The model did not answer."""


class OverloadedError(UnavailableError):
    """Too many requests are in the model's queue, or this request has waited in it for too long."""
