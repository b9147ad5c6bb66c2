"""Work on the event loop is repeated after a failure too, and ends when it is cancelled."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from service.repeating import repeat

pytestmark = pytest.mark.anyio


class Work:
    """Work that fails the first two times."""

    def __init__(self, enough: int) -> None:
        self.times, self._enough, self.done = 0, enough, asyncio.Event()

    async def __call__(self) -> None:
        self.times += 1
        if self.times == self._enough:
            self.done.set()
        if self.times <= 2:
            raise KeyError("lost")


async def test_failure_does_not_end_the_repetition(logged: list[MutableMapping[str, Any]]) -> None:
    """It is logged with its traceback, but not each time: work that fails twice a second would fill the log."""
    work = Work(enough=4)
    task = asyncio.create_task(repeat(work, 0, failed="the work failed"))
    await work.done.wait()
    task.cancel()

    assert [(line["event"], line["log_level"], line["cause"]) for line in logged] == [("the work failed", "warning", "'lost'")]
    assert "in __call__" in logged[0]["exception"]


@pytest.mark.parametrize(("now", "times"), [(True, 1), (False, 0)])
async def test_first_time_is_at_once_only_if_asked_for(now: bool, times: int) -> None:
    """The pause of an hour never ends here."""
    work = Work(enough=1)
    task = asyncio.create_task(repeat(work, 3600, failed="the work failed", now=now))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()

    assert work.times == times


async def test_cancelled_repetition_ends() -> None:
    work = Work(enough=3)
    task = asyncio.create_task(repeat(work, 0, failed="the work failed"))
    await work.done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.done()
