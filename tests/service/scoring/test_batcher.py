"""The batcher: lone requests run at once, others in batches within bounds, and requests of clients that left are not run."""

import asyncio
import itertools
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from model.encoding import RowHistory
from model.graphs import Scores
from service.errors import OverloadedError, ScorerUnavailableError
from service.observing.metrics import Metrics, ModelMetrics
from service.scoring.batcher import BatchingScorer
from service.scoring.pace import LoopTime, Pace
from service.settings import Settings
from tests.service.fakes import FailingRunner, GatedRunner, UnsoundRunner

pytestmark = pytest.mark.anyio


def scorer(runner: GatedRunner, **settings: object) -> BatchingScorer:
    """A batcher over `runner`."""
    return BatchingScorer(runner, Settings.model_validate(settings), metrics_of_model())


def metrics_of_model() -> ModelMetrics:
    """Return metrics that no test reads."""
    return Metrics().of_model("tiny", "tiny-1", "current")


class SteppedRunner(GatedRunner):
    """A batch runner that waits until a test lets the next batch through."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = threading.Semaphore(0)

    def _pass(self, size: int) -> None:
        super()._pass(size)
        self.steps.acquire(timeout=30)


async def entered(runner: GatedRunner) -> None:
    """Wait until a batch is in the runner."""
    await asyncio.to_thread(runner.entered.acquire)


async def handed_over() -> None:
    """Return once tasks that were just made have run, and the requests that they made are in the queue of the thread."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_waits_is_scored_together_and_gets_own_answer() -> None:
    """The first request runs alone at once. All requests that arrive meanwhile are one batch, and each gets its own reply."""
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
    """`max_batch` limits memory, and the wait within a batch."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, max_batch=4) as batching:
        asks = [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(1)]
        await entered(runner)
        asks += [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(10)]
        await asyncio.sleep(0)
        runner.gate.set()
        await asyncio.gather(*asks)

    assert runner.batches == [1, 4, 4, 2]


@pytest.mark.parametrize(("run_s", "batches"), [(7.9, [1, 1, 4]), (8.1, [1, 1, 8])])
async def test_batch_leaves_half_to_the_next_where_a_run_costs_less_than_the_loop(run_s: float, batches: list[int]) -> None:
    """It decides by the measured costs: here each request takes a second of the loop."""
    loop, run = itertools.count(), itertools.count()
    pace = Pace(LoopTime(lambda: float(next(loop))), lambda: run_s * next(run))
    runner = GatedRunner()
    async with BatchingScorer(runner, Settings(), Metrics().of_model("m", "1", "current"), pace=pace) as batching:
        for _ in range(2):  # the loop's time is known from the second request on
            await batching.best(RowHistory([2], [1]), [], 1)
        await asyncio.gather(*(batching.best(RowHistory([2], [1]), [], 1) for _ in range(8)))

    assert runner.batches[:3] == batches
    assert sum(runner.batches) == 10


async def test_those_who_come_in_turns_of_the_loop_one_behind_the_other_are_one_batch() -> None:
    """An idle thread does not take the first request alone while more are about to arrive."""
    runner = GatedRunner()

    async def after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await batching.best(RowHistory([2], [1]), [], 1)

    async with scorer(runner) as batching:
        await asyncio.gather(*(after(turns) for turns in (0, 0, 1, 2, 3)))

    assert runner.batches == [5]


async def test_an_idle_thread_waits_for_no_more_than_a_batch() -> None:
    """It starts with a full batch, however many more are about to arrive."""
    runner = GatedRunner()
    async with scorer(runner, max_batch=4) as batching:
        await asyncio.gather(*(batching.best(RowHistory([2], [1]), [], 1) for _ in range(9)))

    assert runner.batches == [4, 4, 1]


async def test_explanations_wait_for_other_requests_and_run_as_one_batch() -> None:
    """Requests that arrive after five histories go first, in a batch of their own. The histories need no place in the batch."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, max_batch=4) as batching:
        first = asyncio.create_task(batching.best(RowHistory([100], [1]), [], 1))
        await entered(runner)
        behind = asyncio.create_task(batching.rank_each([RowHistory([2], [1])] * 5, [[row, 7] for row in range(5)]))
        await asyncio.sleep(0)
        others = [asyncio.create_task(batching.rank(RowHistory([3], [1]), [8])) for _ in range(4)]
        await handed_over()
        runner.gate.set()
        answers = await behind
        await asyncio.gather(first, *others)

    assert runner.batches == [1, 4, 5]
    assert [list(answer.rows) for answer in answers] == [[row, 7] for row in range(5)]
    assert [list(answer.scores) for answer in answers] == [[row, 7] for row in range(5)]


async def test_explanations_run_a_few_at_a_time() -> None:
    """A request that arrives meanwhile waits for these few and no more."""
    runner = GatedRunner()
    async with scorer(runner, queue_patience=60) as batching:
        await batching.rank_each([RowHistory([2], [1])] * 20, [[1]] * 20)

    assert runner.batches == [8, 8, 4]


async def test_explanations_share_the_memory_of_a_batch_and_have_a_queue_of_their_own() -> None:
    """Three at a time fit into the memory. More than may wait are refused, and take no place of other requests."""
    runner = GatedRunner(is_open=False, cost_mb=10)
    async with scorer(runner, batch_memory_mb=30, queue_limit=6) as batching:
        first = asyncio.create_task(batching.best(RowHistory([100], [1]), [], 1))
        await entered(runner)
        behind = asyncio.create_task(batching.rank_each([RowHistory([2], [1])] * 5, [[1]] * 5))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="behind other requests"):
            await batching.rank_each([RowHistory([2], [1])] * 2, [[1]] * 2)
        others = [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(5)]
        await handed_over()
        runner.gate.set()
        await asyncio.gather(first, behind, *others)

    assert runner.batches[0] == 1
    assert sum(runner.batches) == 11
    assert max(runner.batches) == 3
    assert runner.batches[-2:] == [3, 2]


async def test_a_failing_run_fails_the_explanation() -> None:
    """As a whole, with the error that other requests get."""
    async with scorer(FailingRunner(), queue_patience=60) as batching:
        with pytest.raises(ScorerUnavailableError, match="the graph is broken"):
            await batching.rank_each([RowHistory([2], [1])] * 3, [[1]] * 3)


async def test_ranking_and_proposing_share_the_queue() -> None:
    """Requests of both kinds may be in the queue together. Each gets its kind of reply."""
    runner = GatedRunner()
    async with scorer(runner) as batching:
        best, ranked = await asyncio.gather(
            batching.best(RowHistory([7], [1]), [], 2), batching.rank(RowHistory([7], [1]), [5, 6])
        )

    assert list(best.rows) == [7, 7]
    assert (list(ranked.rows), list(ranked.scores)) == ([5, 6], [5.0, 6.0])


async def test_large_request_runs_alone_and_others_of_its_batch_together() -> None:
    """No request is padded to 1,000 rows, and none waits for more than one large run."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner) as batching:
        first = asyncio.create_task(batching.best(RowHistory([1], [1]), [], 1))
        await entered(runner)
        asks = [asyncio.create_task(batching.best(RowHistory([2], [1]), [5] * rows, 1)) for rows in (0, 1_000, 9, 1_000, 1)]
        await asyncio.sleep(0)
        runner.gate.set()
        answers = await asyncio.gather(first, *asks)

    assert runner.batches == [1, 3, 1, 1]
    assert [answer.scores for answer in answers[1:]] == [[0.0], [1000.0], [9.0], [1000.0], [1.0]]


async def test_others_wait_for_one_large_request_and_not_for_all() -> None:
    """Small requests that arrived after three large ones run after the first of these, and no large one waits for ever."""
    runner, order = GatedRunner(is_open=False), list[int]()
    async with scorer(runner) as batching:

        async def ask(rows: int) -> None:
            await batching.best(RowHistory([2], [1]), [5] * rows, 1)
            order.append(rows)

        first = asyncio.create_task(ask(7))
        await entered(runner)
        asks = [asyncio.create_task(ask(rows)) for rows in (1_000, 1_001, 1_002, 1, 2)]
        await asyncio.sleep(0)
        runner.gate.set()
        await asyncio.gather(first, *asks)

    assert order == [7, 1_000, 1, 2, 1_001, 1_002]


async def test_batch_allocates_no_more_than_allowed() -> None:
    """All requests of a batch are padded to the largest, so its size counts for all. A request beyond the limit runs alone."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, batch_memory_mb=20) as batching:
        first = asyncio.create_task(batching.rank(RowHistory([1], [1]), [5]))
        await entered(runner)
        candidates = ([5] * 10, [5] * 10, [5] * 400, [5] * 400, [5] * 10, [5] * 400, [5] * 400, [5] * 3_000)  # 1, 5, 31 MB
        asks = [asyncio.create_task(batching.rank(RowHistory([2], [1]), rows)) for rows in candidates]
        await asyncio.sleep(0)
        runner.gate.set()
        answers = await asyncio.gather(first, *asks)

    assert runner.batches == [1, 4, 3, 1]
    assert [len(answer.rows) for answer in answers[1:]] == [len(rows) for rows in candidates]


async def test_model_that_needs_more_for_one_request_runs_each_alone_and_says_so(logged: list[dict[str, Any]]) -> None:
    """With ten million tracks and a score for each of eight interests, requests are slow but not refused."""
    runner = GatedRunner(cost_mb=50)
    async with scorer(runner, batch_memory_mb=16) as batching:
        await asyncio.gather(*(batching.best(RowHistory([2], [1]), [], 1) for _ in range(3)))
    [line] = logged

    assert runner.batches == [1, 1, 1]
    assert (line["needs_mb"], line["batch_memory_mb"]) == (50, 16)


async def test_full_queue_refuses_at_once() -> None:
    """Beyond the limit no request is queued. Queued requests are answered all the same."""
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
    """A cancelled request in the queue never reaches the graph, and its place is free at once, while the model still runs."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_limit=3) as batching:
        first = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))
        await entered(runner)
        gone = [asyncio.create_task(batching.best(RowHistory([3], [1]), [], 1)) for _ in range(2)]
        await asyncio.sleep(0)
        for ask in gone:
            ask.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        others = [asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(2)]
        await handed_over()
        runner.gate.set()
        await asyncio.gather(first, *others)

    assert runner.batches == [1, 2]


async def test_request_that_waited_too_long_is_refused_unscored() -> None:
    """A reply that would come too late is not computed."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_patience=timedelta(microseconds=1)) as batching:
        first = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))

        with pytest.raises(OverloadedError, match="was not free within"):
            await first

    assert runner.batches == []


async def test_failing_graph_is_said_to_who_waited_and_the_next_is_served(logged: list[dict[str, Any]]) -> None:
    """A failing batch ends neither the thread nor the service, and the log has the place of the failure."""
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
    """The request arrives in the same turn of the loop in which the thread is told to end."""
    async with scorer(GatedRunner()) as batching:
        last = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(last, 30)

    assert list(answer.rows) == [2]


async def test_lone_request_waits_for_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for others: it is answered although timers never end, and the thread never sleeps."""
    loop, runner = asyncio.get_running_loop(), GatedRunner()
    real = loop.call_at

    def never(_: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        return real(loop.time() + 1_000, *arguments, **options)

    def no_sleep(_: float) -> None:
        raise AssertionError("somebody waits for a time")

    async with scorer(runner) as batching:
        monkeypatch.setattr(loop, "call_later", never)
        monkeypatch.setattr(loop, "call_at", never)
        monkeypatch.setattr(time, "sleep", no_sleep)
        await batching.best(RowHistory([2], [1]), [], 1)
        monkeypatch.undo()

    assert runner.batches == [1]


async def test_model_that_does_not_answer_is_noticed_and_nobody_waits_for_it() -> None:
    """After the patience, requests in the batch or in the queue get an error. Later ones get it at once, until the model
    answers again.
    """
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_patience=timedelta(milliseconds=20)) as batching:
        first = asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1))
        await entered(runner)
        second = asyncio.create_task(batching.best(RowHistory([3], [1]), [], 1))
        failed = await asyncio.gather(first, second, return_exceptions=True)
        reason = batching.fault()

        with pytest.raises(ScorerUnavailableError, match="has answered nothing for 0 s although requests wait"):
            await batching.best(RowHistory([4], [1]), [], 1)
        runner.gate.set()
        while batching.fault() is not None:  # noqa: ASYNC110  # the scorer has no event for it
            await asyncio.sleep(0)
        answer = await batching.best(RowHistory([5], [1]), [], 1)

    assert [type(error) for error in failed] == [OverloadedError, OverloadedError]
    assert reason is not None
    assert list(answer.rows) == [5]
    assert runner.batches == [1, 1]  # the second was dropped before it ran


async def test_busy_model_refuses_late_requests_and_is_not_at_fault() -> None:
    """The model answered a moment ago. Only a request that no batch took in time is refused, while the batch goes on."""
    runner, now = SteppedRunner(), 100.0
    settings = Settings(max_batch=1, queue_patience=timedelta(milliseconds=20))
    async with BatchingScorer(runner, settings, metrics_of_model(), clock=lambda: now) as batching:
        first, second, third = (asyncio.create_task(batching.best(RowHistory([2], [1]), [], 1)) for _ in range(3))
        await entered(runner)
        now += 0.015
        runner.steps.release()
        await first
        await entered(runner)
        now += 0.015  # after the first answer; the other requests have waited twice as long

        with pytest.raises(OverloadedError, match="was not free within"):
            await third
        reason = batching.fault()
        runner.steps.release()
        await second

    assert reason is None
    assert runner.batches == [1, 1]


async def test_service_ends_though_the_model_does_not_answer() -> None:
    """Its thread is left behind."""
    runner = GatedRunner(is_open=False)
    async with scorer(runner, queue_patience=timedelta(milliseconds=20)) as batching:
        with pytest.raises(OverloadedError):
            await batching.best(RowHistory([2], [1]), [], 1)
    runner.gate.set()


async def test_mistake_of_ours_in_the_thread_costs_one_batch(
    logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric or the log may fail, for example. Waiting requests get the error, and the next request is answered."""
    metrics, fails = metrics_of_model(), [True]
    observe = metrics.waited.observe

    def fail_once(value: float) -> None:
        if fails.pop() if fails else False:
            raise MemoryError("no memory for a metric")
        observe(value)

    monkeypatch.setattr(metrics.waited, "observe", fail_once)
    async with BatchingScorer(GatedRunner(), Settings(), metrics) as batching:
        with pytest.raises(ScorerUnavailableError, match="no memory for a metric"):
            await batching.best(RowHistory([2], [1]), [], 1)
        answer = await batching.best(RowHistory([2], [1]), [], 1)

    assert list(answer.rows) == [2]
    assert [line["cause"] for line in logged] == ["no memory for a metric"]


async def test_scores_that_are_no_finite_numbers_are_a_failure_of_the_model(logged: list[dict[str, Any]]) -> None:
    """Only requests with such scores fail. Others of the same batch are answered."""
    async with scorer(UnsoundRunner()) as batching:
        sound, unsound = await asyncio.gather(
            batching.best(RowHistory([2], [1]), [], 1), batching.best(RowHistory([13], [1]), [], 1), return_exceptions=True
        )

    assert isinstance(sound, Scores)
    assert isinstance(unsound, ScorerUnavailableError)
    assert [line["cause"] for line in logged] == ["the model gave scores that are no finite numbers"]
