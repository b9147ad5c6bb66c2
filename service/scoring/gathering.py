"""Lets the requests of one `POST /v1/next/batch` reach the scorer together, so that the model runs once for all of them.

Each request of a batch runs in a task of its own: it reads its listener and encodes the history. Then it waits until all others
have done so too, or have ended. So a batch waits for its slowest listener, as its one reply does anyway.

A context variable holds the request's place, so that the layers between the route and the scorer need not know of batches.
"""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Gathering:
    """Synchronises the requests of one batch: each waits here before its first call of the scorer, until all of them are
    ready.
    """

    def __init__(self, size: int) -> None:
        """`size` is how many requests take part. Each must be given to `take_part`, in a task of its own."""
        self._missing = size
        self._complete = asyncio.Event()

    async def take_part(self, request: Awaitable[T]) -> T:
        """Await `request` and return its result. The request's first call of the scorer waits until the other requests are
        ready.
        """
        seat = _Seat(self)
        _SEAT.set(seat)
        try:
            return await request
        finally:
            seat.take()

    def count(self) -> None:
        """Count one more request as ready: it has reached the scorer, or has ended without a call of the scorer."""
        self._missing -= 1
        if self._missing <= 0:
            self._complete.set()

    async def wait(self) -> None:
        """Wait until all requests are ready. All of them then continue in the same turn of the event loop."""
        if self._complete.is_set():
            await asyncio.sleep(0)  # continue after the waiting requests, which were woken in this turn
        else:
            await self._complete.wait()


class _Seat:
    """One request of a `Gathering`. It remembers whether the request was counted as ready."""

    def __init__(self, gathering: Gathering) -> None:
        self.gathering = gathering
        self.taken = False

    def take(self) -> bool:
        """Count the request as ready. Returns False if it was counted before."""
        if self.taken:
            return False
        self.taken = True
        self.gathering.count()
        return True


_SEAT: ContextVar[_Seat | None] = ContextVar("seat", default=None)


def together() -> Gathering | None:
    """Return the gathering that the running request belongs to; None if it is not part of a batch."""
    seat = _SEAT.get()
    return None if seat is None else seat.gathering


async def all_ready() -> None:
    """Wait until all requests of the running request's batch are ready. Returns at once outside of a batch, and from the second
    call of a request on.
    """
    seat = _SEAT.get()
    if seat is not None and seat.take():
        await seat.gathering.wait()
