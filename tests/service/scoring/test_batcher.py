"""The batcher: alone at once, together when busy, bounded, and nothing spent on who has gone."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from model.encoding import RowHistory
from service.errors import OverloadedError, ScorerUnavailableError
from service.observing.metrics import Metrics
from service.scoring.batcher import TURN_S, BatchingScorer
from service.settings import Settings
from tests.service.fakes import FailingRunner, GatedRunner

pytestmark = pytest.mark.anyio


def scorer(runner: GatedRunner, **settings: object) -> BatchingScorer:
    """A batcher over `runner`."""
    return BatchingScorer(runner, Settings.model_validate(settings), Metrics())


async def entered(runner: GatedRunner) -> None:
    """Return once a batch is in the runner."""
    await asyncio.to_thread(runner.entered.acquire)


async def test_who_waits_is_scored_together_and_gets_own_answer() -> None:
    """The first request runs alone at once; all that come meanwhile are one batch; answers find their askers."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner) as batching:
        first = asyncio.create_task(batching.best(RowHistory([100], [1]), [], 1))
        await entered(runner)
        others = [asyncio.create_task(batching.best(RowHistory([row], [1]), [row], row)) for row in range(2, 12)]
        await asyncio.sleep(0)
        runner.gate.set()
        answers = await asyncio.gather(first, *others)

    assert runner.batches == [1, 10]
    assert [list(answer.rows) for answer in answers] == [[100], *[[row] * row for row in range(2, 12)]]


async def test_batch_is_no_larger_than_allowed() -> None:
    """`max_batch` bounds memory and the wait of those in the batch."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, max_batch=4) as batching:
        asks = [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(1)]
        await entered(runner)
        asks += [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(10)]
        await asyncio.sleep(0)
        runner.gate.set()
        await asyncio.gather(*asks)

    assert runner.batches == [1, 4, 4, 2]


@pytest.mark.parametrize(("ran_s", "most"), [(1.5 * TURN_S, 4), (8 * TURN_S, 8)])
async def test_batch_of_brief_runs_leaves_half_to_the_next(ran_s: float, most: int) -> None:
    """So that thread and loop have work at a time; not where another run costs as much as the turns of all eight."""
    runner = GatedRunner(ran_s=ran_s)
    async with scorer(runner) as batching:
        await batching.best(RowHistory([2], [1]), [], 1)
        await asyncio.gather(*(batching.best(RowHistory([2], [1]), [], 1) for _ in range(8)))

    assert runner.batches[:2] == [1, most]
    assert (max(runner.batches), sum(runner.batches)) == (most, 9)


async def test_those_who_come_in_turns_of_the_loop_one_behind_the_other_are_one_batch() -> None:
    """An idle thread is not given the first alone while more are coming."""
    runner = GatedRunner()

    async def after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await batching.best(RowHistory([2], [1]), [], 1)

    async with scorer(runner) as batching:
        await asyncio.gather(*(after(turns) for turns in (0, 0, 1, 2, 3)))

    assert runner.batches == [5]


async def test_an_idle_thread_waits_for_no_more_than_a_batch() -> None:
    """However many are coming."""
    runner = GatedRunner()
    async with scorer(runner, max_batch=4) as batching:
        await asyncio.gather(*(batching.best(RowHistory([2], [1]), [], 1) for _ in range(9)))

    assert runner.batches == [4, 4, 1]


async def test_ranking_and_proposing_share_the_queue() -> None:
    """Both kinds of request may wait together; each is answered in its way."""
    runner = GatedRunner()
    async with scorer(runner) as batching:
        best, ranked = await asyncio.gather(
            batching.best(RowHistory([7], [1]), [], 2), batching.rank(RowHistory([7], [1]), [5, 6])
        )

    assert list(best.rows) == [7, 7]
    assert (list(ranked.rows), list(ranked.scores)) == ([5, 6], [5.0, 6.0])


async def test_full_queue_refuses_at_once() -> None:
    """Beyond the limit nobody waits; those who wait are served all the same."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_limit=2) as batching:
        asks = [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(2)]
        await entered(runner)

        with pytest.raises(OverloadedError, match="2 requests wait"):
            await batching.best(RowHistory([2], [1]), [], 1)
        runner.gate.set()
        await asyncio.gather(*asks)
        await batching.best(RowHistory([2], [1]), [], 1)


async def test_request_whose_client_has_gone_costs_nothing() -> None:
    """A cancelled request that still waits never reaches the graph, and its place in the queue is free again."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_limit=3) as batching:
        first = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))
        await entered(runner)
        gone = [asyncio.create_task(batching.best(RowHistory([3], [1]), [], 1)) for _ in range(2)]
        await asyncio.sleep(0)
        for ask in gone:
            ask.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        runner.gate.set()
        await first
        await batching.best(RowHistory([2], [1]), [], 1)

    assert runner.batches == [1, 1]


async def test_request_that_waited_too_long_is_refused_unscored() -> None:
    """An answer that comes too late is not computed."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_patience=timedelta(microseconds=1)) as batching:
        first = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))

        with pytest.raises(OverloadedError, match="was not free within"):
            await first

    assert runner.batches == []


async def test_failing_graph_is_said_to_who_waited_and_the_next_is_served(logged: list[dict[str, Any]]) -> None:
    """One bad batch ends neither the thread nor the service, and the log has where it failed."""
    runner = FailingRunner()
    async with scorer(runner) as batching:
        with pytest.raises(ScorerUnavailableError, match="the graph is broken"):
            await batching.best(RowHistory([2], [1]), [], 1)
        runner.broken = False
        answer = await batching.best(RowHistory([2], [1]), [], 1)
    [line] = logged

    assert list(answer.rows) == [2]
    assert (line["event"], line["cause"]) == ("the model failed", "the graph is broken")
    assert "Traceback" in line["exception"]


async def test_who_comes_as_the_scorer_ends_is_answered() -> None:
    """In the very turn of the loop in which the thread is told to end."""
    async with scorer(GatedRunner()) as batching:
        last = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(last, 30)

    assert list(answer.rows) == [2]


async def test_lone_request_waits_for_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a moment for company: the loop is asked for no timer, and the thread does not sleep."""
    loop, runner = asyncio.get_running_loop(), GatedRunner()

    def no_timer(*_: object, **__: object) -> asyncio.TimerHandle:
        raise AssertionError("somebody waits for a time")

    async with scorer(runner) as batching:
        for name in ("call_later", "call_at"):
            monkeypatch.setattr(loop, name, no_timer)
        monkeypatch.setattr(time, "sleep", no_timer)
        await batching.best(RowHistory([2], [1]), [], 1)
        monkeypatch.undo()

    assert runner.batches == [1]
