"""All open connections of a process: how many there may be, their deadlines, and the memory that their requests take.

Deadlines count in ticks of one second. A timer for each request would cost more than a look at all connections once a second.
"""

import asyncio
import heapq
import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from service.errors import OverloadedError
from service.http.admission import Admission
from service.observing.logs import Trouble

_RESUME_S = 0.1
"""How often connections are looked for that are to be read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits on a client's memory, requests and time. Durations are in ticks."""

    connections: int
    spare: int = 32  # connections above that, which may ask for /healthz
    head_bytes: int = 64 * 1024
    body_bytes: int = 1024 * 1024
    message_bytes: int = 16 * 1024 * 1024  # one request as it arrives, with the framing of chunks
    bodies_bytes: int = 64 * 1024 * 1024  # of all unanswered requests together
    linger_bytes: int = 2 * 1024 * 1024  # read and discarded after a refusal
    ahead: int = 16  # requests that wait on a connection behind the one in progress
    arrive: int = 10  # for a head, and then for a body
    idle: int = 75  # longer than load balancers keep a connection, so that they end it, not the service
    unread: int = 30  # a reply that the client does not read
    linger: int = 2  # after a refusal: a client that still sends would lose the reply otherwise
    tick_s: float = 1.0
    retry_after_s: float = 5.0
    """What a refused client is told. Its connection is not read for so long, else refusals would cost as much as answers do.
    `docs/measurements/overload.md` has the figures.
    """


class Held(Protocol):
    """A connection as `Connections` sees it. Deadlines are in ticks, and infinite if there is none."""

    deadline: float
    unread_deadline: float
    idle_since: float  # infinite while a request is answered or its body arrives

    def expire(self) -> None:
        """End the request, the reply or the connection whose deadline has passed."""

    def resume(self) -> None:
        """Start to read from the connection again."""

    def drop(self) -> None:
        """Close the connection at once."""


class Connections:
    """The open connections of a process."""

    def __init__(
        self, limits: Limits, admission: Admission, refused: Callable[[int, int], object] = lambda _, __: None
    ) -> None:
        """`refused` is called with the status and the number of the requests that were refused before they reached the
        application.
        """
        self.limits, self.admission, self.refused = limits, admission, refused
        self.tick = 0
        self.bodies_bytes = 0
        self._open: set[Held] = set()
        self._turned_away: deque[tuple[float, Held]] = deque()  # with the time at which they are read again
        self._uncounted = 0  # of these, that the metrics do not know yet
        self._timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._full = Trouble("all connections are in use: idle ones are closed")
        self._overload = Trouble("more requests arrive than are answered in time: they get 503")

    def start(self) -> None:
        """Start the timer that checks deadlines."""
        self._timer = asyncio.get_running_loop().call_later(self.limits.tick_s, self._look)

    def stop(self) -> None:
        """Stop the timers that check deadlines and resume connections."""
        for timer in (self._timer, self._resuming):
            if timer is not None:
                timer.cancel()

    def add(self, connection: Held) -> bool:
        """Count a new connection. If there are too many, the ones that are idle the longest are closed. Returns False if none
        is idle: then the new one may only ask for /healthz and similar paths.
        """
        self._open.add(connection)
        if len(self._open) <= self.limits.connections:
            return True
        self._full(ConnectionError(f"{len(self._open)} are open, at most {self.limits.connections} are meant to be"))
        idle = [held for held in self._open if held.idle_since < math.inf and held is not connection]
        oldest = heapq.nsmallest(max(1, self.limits.connections // 20), idle, key=lambda held: held.idle_since)
        for held in oldest:
            self.remove(held)
            held.drop()
        if len(self._open) > self.limits.connections + self.limits.spare:
            connection.drop()
        return bool(oldest)

    def remove(self, connection: Held) -> None:
        """Stop counting a connection."""
        self._open.discard(connection)

    def turn_away(self, connection: Held) -> None:
        """Count a request that was refused because of overload, and read its connection again after `retry_after_s`."""
        self._uncounted += 1
        loop = asyncio.get_running_loop()
        self._turned_away.append((loop.time() + self.limits.retry_after_s, connection))
        if self._resuming is None:
            self._resuming = loop.call_later(_RESUME_S, self._resume)

    def _resume(self) -> None:
        if self._uncounted:
            self.refused(HTTPStatus.SERVICE_UNAVAILABLE, self._uncounted)
            self._overload(OverloadedError(f"at most {self.admission.limit} may be in flight"), times=self._uncounted)
            self._uncounted = 0
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._turned_away and self._turned_away[0][0] <= now:
            self._turned_away.popleft()[1].resume()
        self._resuming = loop.call_later(_RESUME_S, self._resume) if self._turned_away else None

    def _look(self) -> None:
        self.start()
        self.tick += 1
        for held in [held for held in self._open if held.deadline <= self.tick or held.unread_deadline <= self.tick]:
            held.expire()


def allowed(most: int) -> int:
    """Return the number of connections to allow: `most`, or half of the files that the process may open if that is less. Raises
    the limit on files first.
    """
    if sys.platform == "win32":
        return most
    import resource  # noqa: PLC0415  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * most if hard == resource.RLIM_INFINITY else min(2 * most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return most if soft == resource.RLIM_INFINITY else min(most, soft // 2)
