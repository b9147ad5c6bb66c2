"""The requests of one batch reach the scorer together and run together."""

import asyncio
from collections.abc import Sequence

import pytest

from model.encoding import RowHistory
from model.graphs import Scores
from service.observing.metrics import Metrics
from service.scoring.batcher import BatchingScorer
from service.scoring.gathering import Gathering, together
from service.settings import Settings
from tests.service.fakes import GatedRunner

pytestmark = pytest.mark.anyio


def scorer(runner: GatedRunner, **settings: object) -> BatchingScorer:
    """A batcher over `runner`."""
    return BatchingScorer(runner, Settings.model_validate(settings), Metrics().of_model("tiny", "tiny-1", "current"))


async def ask(batching: BatchingScorer, row: int, turns: int = 0, times: int = 1) -> list[Scores]:
    """Score a history of one row, after so many turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return [await batching.best(RowHistory([row], [1]), [], 1) for _ in range(times)]


async def of_batch(batching: BatchingScorer, turns: Sequence[int], times: int = 1) -> list[int]:
    """Send a batch whose requests need so many turns of the loop before they are ready. Returns the rows of the answers."""
    gathering = Gathering(len(turns))
    requests = [gathering.take_part(ask(batching, row, wait, times)) for row, wait in enumerate(turns, start=100)]
    return [scored.rows[0] for answers in await asyncio.gather(*map(asyncio.create_task, requests)) for scored in answers]


@pytest.mark.parametrize("turns", [[0] * 10, list(range(10)), [9, *[0] * 9]])
async def test_batch_is_one_run_however_late_its_last_request_is(turns: list[int]) -> None:
    """Also where it has more requests than other clients may have in one run. The answers find their requests."""
    runner = GatedRunner()
    async with scorer(runner, max_batch=4) as batching:
        rows = await of_batch(batching, turns)

    assert runner.batches == [10]
    assert rows == list(range(100, 110))


async def test_batch_stays_whole_behind_requests_of_others() -> None:
    """Requests of others run before it and after it."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, max_batch=4) as batching:
        first = asyncio.create_task(ask(batching, 1))
        await asyncio.to_thread(runner.entered.acquire)
        before = [asyncio.create_task(ask(batching, row)) for row in (2, 3)]
        batch = asyncio.create_task(of_batch(batching, [0] * 10))
        for _ in range(3):
            await asyncio.sleep(0)
        behind = asyncio.create_task(ask(batching, 4))
        await asyncio.sleep(0)
        runner.gate.set()
        await asyncio.gather(first, *before, batch, behind)

    assert runner.batches == [1, 2, 10, 1]


async def test_memory_bounds_a_run_of_a_batch_too() -> None:
    """Each of these requests needs 10 MB, and 40 MB is the limit."""
    runner = GatedRunner(cost_mb=10)
    async with scorer(runner, batch_memory_mb=40) as batching:
        rows = await of_batch(batching, [0] * 10)

    assert runner.batches == [4, 4, 2]
    assert rows == list(range(100, 110))


async def test_request_that_ends_without_a_score_holds_nobody_up() -> None:
    """One that fails, or needs no score."""
    runner = GatedRunner()

    async def failing() -> list[Scores]:
        await asyncio.sleep(0)
        raise ValueError("no history")

    async with scorer(runner) as batching:
        gathering = Gathering(3)
        requests = [gathering.take_part(request) for request in (ask(batching, 5), failing(), ask(batching, 6, turns=3))]
        first, failed, last = await asyncio.gather(*requests, return_exceptions=True)

    assert isinstance(failed, ValueError)
    assert [isinstance(answers, list) and answers[0].rows for answers in (first, last)] == [[5], [6]]
    assert runner.batches == [2]


async def test_second_call_of_a_request_waits_for_nobody() -> None:
    """A ranking of many candidates calls the scorer several times."""
    runner = GatedRunner()
    async with scorer(runner) as batching:
        rows = await of_batch(batching, [0, 2, 4], times=3)

    assert rows == [100, 100, 100, 101, 101, 101, 102, 102, 102]
    assert runner.batches[0] == 3


async def test_requests_outside_of_batches_belong_to_no_gathering() -> None:
    """Even after a batch in the same task: each of its requests had a task of its own."""
    async with scorer(GatedRunner()) as batching:
        await of_batch(batching, [0, 0])

    assert together() is None
