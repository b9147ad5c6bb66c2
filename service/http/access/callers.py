"""Who sent a request, and for which listeners it may be."""

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
    """Raises ForbiddenError or RateLimitedError if the request may not be for these users.

    Both ways to a route call it with the users in the body. The guard has asked for the user in the path already. A scope
    that has not passed the guard raises KeyError.
    """
    scope[_ADMIT](users)


def admitted() -> Scope:
    """Returns a scope for a part of a request whose users have been admitted together."""
    scope: Scope = {}
    let(scope, anyone)
    return scope


def let(scope: Scope, check: Callable[[Users], None]) -> None:
    """Put the check into a request's scope."""
    scope[_ADMIT] = check


def anyone(_: Users) -> None:
    """The check that admits all users."""


def only(user_id: str) -> Callable[[Users], None]:
    """Returns the check of a listener's token."""
    return partial(_only, user_id)


def each(take: Callable[[Collection[str]], None]) -> Callable[[Users], None]:
    """Returns the check that counts a request for each user in its body, once however often a user stands there."""
    return partial(_each, take)


def _each(take: Callable[[Collection[str]], None], users: Users) -> None:
    take([user_id for user_id in users if user_id is not None])


def _only(user_id: str, users: Users) -> None:
    if users != {user_id}:
        raise ForbiddenError("a listener token is for one user; each user_id in the body must be that user")
