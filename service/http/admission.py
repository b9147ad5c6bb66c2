"""Admission control: how many requests may be in flight before the service refuses the next one.

A service that admits everything answers nobody in time once more arrives than it can answer. A fixed limit cannot suit both a
catalogue of a thousand tracks and one of ten million. So the limit follows the measured pace: as many requests as the service
answers within `target_s`. By Little's law a request then waits about that long. The pace is measured while the service is
saturated, because an idle service answers as few requests as arrive.
"""

import math
import time
from collections.abc import Callable

START, MOST = 256, 8_192
"""Requests in flight that are admitted before the pace is known, and the most ever."""
WINDOW_S, WINDOW_REPLIES = 0.1, 64
"""A measurement lasts so long and takes so many replies; batches make shorter ones uneven."""
SHARE = 0.25
"""The share of a measurement in the limit."""


class Admission:
    """Counts requests in flight, measures how fast they are answered, and says whether one more may enter."""

    def __init__(self, target_s: float, batch: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the time in which requests should be answered, and the size of a batch. At least two batches are always admitted:
        one that is scored and one that waits.
        """
        self._target_s, self._batch, self._clock = target_s, batch, clock
        self.in_flight, self.limit = 0, max(START, 2 * batch)
        self._since, self._replies, self._fewest, self._refused = clock(), 0, 0, False

    def admits(self) -> bool:
        """Return whether one more request may start. A refusal is remembered, because it shows that the limit was reached."""
        if self.in_flight < self.limit:
            return True
        self._refused = True
        return False

    def enter(self) -> None:
        """Count a request that starts."""
        self.in_flight += 1

    def weigh(self, requests: int) -> bool:
        """Count a request in flight as `requests` requests from now on, because a batch costs as much as the requests in it.

        Returns False, and still counts it as one request, if too many are in flight already.
        """
        if self.in_flight > self.limit:
            self._refused = True
            return False
        self.in_flight += requests - 1
        return True

    def leave(self, requests: int = 1) -> None:
        """Count the end of a request, or of a batch of `requests` requests. Measures the pace when a measuring window is
        complete.
        """
        self.in_flight -= requests
        self._replies += requests
        self._fewest = min(self._fewest, self.in_flight)
        if self._replies >= WINDOW_REPLIES and (now := self._clock()) - self._since >= WINDOW_S:
            self._measure(now)

    def _measure(self, now: float) -> None:
        fitting: float = self.limit
        if self._fewest >= self._batch:  # a batch was waiting all the time
            fitting = self._replies / (now - self._since) * self._target_s
        elif self._refused:  # the service ran dry, although there were more requests
            fitting = 2 * self.limit
        smoothed = math.ceil(self.limit + SHARE * (fitting - self.limit))
        self.limit = min(max(smoothed, 2 * self._batch), MOST)
        self._since, self._replies, self._fewest, self._refused = now, 0, self.in_flight, False
