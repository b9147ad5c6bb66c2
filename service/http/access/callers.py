"""Checks for which listeners a request may act. The guard stores the check in the request's scope."""

from collections.abc import Callable, Collection, Set
from functools import partial

from starlette.types import Scope

from service.errors import ForbiddenError

LISTENER, UNKNOWN = "(listener token)", "(unknown)"
"""What stands in logs and metrics in place of a key's name, which never has parentheses."""

Users = Set[str | None]
"""The users that a body names. None stands for a request without one."""

_ADMIT = "nexttrack.admit"


def admit(scope: Scope, users: Users) -> None:
    """Raise ForbiddenError or RateLimitedError if the request may not act for `users`.

    The routes and the fast path call it with the users in the body. The guard has checked the user in the path already. Raises
    KeyError if the guard has not seen this scope.
    """
    scope[_ADMIT](users)


def admitted() -> Scope:
    """Return a scope for one part of a batch, whose users were all admitted before."""
    scope: Scope = {}
    let(scope, anyone)
    return scope


def let(scope: Scope, check: Callable[[Users], None]) -> None:
    """Store in the request's scope the check that `admit` calls."""
    scope[_ADMIT] = check


def anyone(_: Users) -> None:
    """A check that admits all users."""


def only(user_id: str) -> Callable[[Users], None]:
    """Return a check for a listener token: all users must be `user_id`."""
    return partial(_only, user_id)


def each(take: Callable[[Collection[str]], None]) -> Callable[[Users], None]:
    """Return a check that counts the request once against the rate limit of each user in its body."""
    return partial(_each, take)


def _each(take: Callable[[Collection[str]], None], users: Users) -> None:
    take([user_id for user_id in users if user_id is not None])


def _only(user_id: str, users: Users) -> None:
    if users != {user_id}:
        raise ForbiddenError("a listener token is for one user; each user_id in the body must be that user")
