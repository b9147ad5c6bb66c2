"""Repeats work on the event loop, as long as the application runs."""

import asyncio
from collections.abc import Awaitable, Callable

from service.observing.logs import Trouble


async def repeat(work: Callable[[], Awaitable[object]], interval_s: float, *, failed: str, now: bool = False) -> None:
    """Do `work` again and again, with a pause of `interval_s` seconds in between, until cancelled.

    The first time is after one pause, or with `now` at once. An exception does not end the repetition: it is logged as the
    warning `failed`, with its traceback.
    """
    trouble = Trouble(failed)
    if not now:
        await asyncio.sleep(interval_s)
    while True:
        try:
            await work()
        except Exception as error:
            trouble(error, traceback=True)
        await asyncio.sleep(interval_s)
