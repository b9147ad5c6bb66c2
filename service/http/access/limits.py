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
    """Limits each name to `rate` requests a second, with bursts of up to `burst_s` seconds' worth of requests.

    A bucket is one number: the time at which it is full again (the generic cell rate algorithm).
    """

    def __init__(self, whose: str, rate: float, burst_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`whose` says in error messages whose requests are limited. `clock` returns seconds."""
        self._error = f"{whose} may send {rate:g} requests a second; repeat after the seconds in Retry-After"
        self._interval_s = 1 / rate
        self._depth_s = max(burst_s, self._interval_s)  # one request is always possible
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, names: Collection[str]) -> None:
        """Count a request for each name. If one name is over its limit, raises RateLimitedError and counts nothing."""
        now, buckets = self._clock(), self._full_at
        full_at = [max(buckets.get(name, now), now) + self._interval_s for name in names]
        latest = now + self._depth_s + _ROUNDING_S
        for at in full_at:
            if at > latest:
                raise RateLimitedError(self._error, max(full_at) - now - self._depth_s)
        for name, at in zip(names, full_at, strict=True):
            buckets.pop(name, None)  # so that the dictionary is in the order of use
            buckets[name] = at
        while len(buckets) > MOST_BUCKETS:
            del buckets[next(iter(buckets))]


_ROUNDING_S = 1e-6
"""A wait that is shorter is an error of rounding."""
