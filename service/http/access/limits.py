"""Rate limits: token buckets in this process's memory, so that a limit costs no round trip.

Each worker process counts for itself. A client with one connection reaches one worker, so dividing a limit among workers would
refuse it too early. With N workers, somebody who spreads requests over all of them may send N times as many.
"""

import time
from collections.abc import Callable, Collection

from service.errors import RateLimitedError

MOST_BUCKETS = 65_536
"""Names whose requests are counted. The longest unused one goes for a new one, and then starts with a full bucket again."""


class RateLimit:
    """Lets each name send `rate` requests a second, and up to `burst_s` seconds' worth of them at once.

    A bucket is one number: the time at which it is full again (the generic cell rate algorithm).
    """

    def __init__(self, whose: str, rate: float, burst_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`whose` says in errors what is limited. `clock` is in seconds."""
        self._error = f"{whose} may send {rate:g} requests a second; repeat after the seconds in Retry-After"
        self._interval_s = 1 / rate
        self._depth_s = max(burst_s, self._interval_s)  # one request is always possible
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, names: Collection[str]) -> None:
        """Take one request from the bucket of each name. RateLimitedError if one is empty; then nothing is taken."""
        now = self._clock()
        full_at = {name: max(self._full_at.get(name, now), now) + self._interval_s for name in names}
        wait_s = max(full_at.values(), default=now) - now - self._depth_s
        if wait_s > _ROUNDING_S:
            raise RateLimitedError(self._error, wait_s)
        for name, at in full_at.items():
            self._full_at.pop(name, None)
            self._full_at[name] = at
        while len(self._full_at) > MOST_BUCKETS:
            del self._full_at[next(iter(self._full_at))]


_ROUNDING_S = 1e-6
"""A wait shorter than this is an error of rounding."""
