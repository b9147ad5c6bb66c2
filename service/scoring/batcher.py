"""Scores requests together, without a timer.

One thread runs the graphs. It takes whoever waits, up to `max_batch`, runs them as one batch, and takes who has come meanwhile.
So a lone request waits for nobody, and the busier the service, the larger the batches. A short history costs no more beside a
long one: the graphs compute no padding. The queue is bounded; who has waited past the patience, or has gone away, is dropped
before it costs a run.

If each batch took all, sixteen clients would soon be answered together, ask together, and be scored together again: the thread
idle while the loop works, the loop idle while the thread does. So a batch leaves half of those under way to the next, where
what that costs (one more run, at most as long as the shortest) is at most half of what it saves (`TURN_S` for each).

Requests are handed to the thread in lots. While it is busy that is once a turn of the event loop; while it is idle, once a turn
has brought no further ones: where sixteen come at once, a batch of one and then one of fifteen would cost a run more.

A thread of its own and one `call_soon_threadsafe` a batch, where an executor would wake the loop for each request. To wake a
thread and be woken by it takes 20 to 30 µs; but a lone request's model, run on the loop itself, was quicker by 8 % with one
connection in one set of turns and not at all in another, and cost a tenth of the p90 of a thousand requests a second: whoever
came meanwhile waited for the loop.
It knows nothing of ONNX, HTTP or tracks' names.
"""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, Self

from model.encoding import RowHistory
from model.graphs import Scores
from service.errors import OverloadedError, ScorerUnavailableError, ServiceError
from service.observing.logs import Trouble
from service.observing.metrics import Metrics
from service.settings import Settings

TURN_S = 0.00025
"""What a request takes besides the model: on the event loop, and until its client, answered, asks again.

With 16 connections and 100,000 tracks the model ran for .54 of the time when batches took all.
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says to one request, and how long ONNX Runtime ran for its batch."""

    rows: Sequence[int]
    scores: Sequence[float]
    ran_s: float = 0.0


class Scorer(Protocol):
    """Scores rows for histories. ScorerUnavailableError where it cannot, OverloadedError where it must not."""

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scored:
        """The `count` best tracks after `history`, best first, none of `excluded`; fewer where there are no more."""

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scored:
        """The scores of `candidates` after `history`, in the given order."""


class BatchRunner(Protocol):
    """What runs a batch: `model.graphs.Graphs`, or a test's stand-in."""

    def best(
        self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Sequence[Scores]: ...

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]: ...


@dataclass(frozen=True, slots=True)
class _Job:
    """One waiting request: with a count it wants the best rows outside `rows`, without one the scores of `rows`."""

    history: RowHistory
    rows: Sequence[int]
    count: int | None
    future: asyncio.Future[Scored]
    since: float = field(default_factory=time.perf_counter)


class BatchingScorer:
    """A scorer over a batch runner; an async context manager, as its thread must end."""

    def __init__(self, runner: BatchRunner, settings: Settings, metrics: Metrics) -> None:
        self._runner, self._metrics = runner, metrics
        self._max_batch = settings.max_batch
        self._limit = settings.queue_limit
        self._patience_s = settings.queue_patience.total_seconds()
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._waiting = 0  # this and the next two are changed on the event loop only
        self._fresh: list[_Job] = []  # not handed over yet
        self._seen = 0  # how many there were when that was last looked at
        self._shortest_s = math.inf  # of all runs for proposals; touched by the thread only
        self._thread: threading.Thread | None = None
        self._trouble = Trouble("the model failed")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, args=(loop,), name="scorer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(self._fresh)  # whoever has come in this turn of the loop is answered, too
        self._fresh = []
        self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scored:
        return await self._submit(history, excluded, count)

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scored:
        return await self._submit(history, candidates, None)

    async def _submit(self, history: RowHistory, rows: Sequence[int], count: int | None) -> Scored:
        if self._waiting >= self._limit:
            raise OverloadedError(f"{self._waiting} requests wait for the model already")
        job = _Job(history, rows, count, asyncio.get_running_loop().create_future())
        self._waiting += 1
        self._fresh.append(job)
        if len(self._fresh) == 1:
            job.future.get_loop().call_soon(self._hand_over)
        return await job.future

    def _hand_over(self) -> None:
        """Give the thread who has come, unless it is idle and more are coming."""
        count, seen = len(self._fresh), self._seen
        if count == self._waiting and seen < count < self._max_batch:
            self._seen = count
            asyncio.get_running_loop().call_soon(self._hand_over)
            return
        self._queue.put(self._fresh)
        self._fresh, self._seen = [], 0

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: batch after batch, until it takes None."""
        waiting: list[_Job] = []
        going_on = True
        while going_on or waiting:
            going_on = going_on and self._take(waiting)
            most = self._most()
            jobs, waiting = waiting[:most], waiting[most:]
            loop.call_soon_threadsafe(self._deliver, jobs, self._run(jobs))

    def _most(self) -> int:
        """How many the next batch may hold."""
        under_way = self._waiting  # those of the batch before too, of whom the loop has not heard yet
        halved = under_way * TURN_S > 2 * self._shortest_s
        return min(self._max_batch, -(-under_way // 2)) if halved else self._max_batch

    def _take(self, waiting: list[_Job]) -> bool:
        """Add who waits until there is a batch, or nobody more; pause while there is nobody. False once there is an end."""
        with suppress(Empty):
            while len(waiting) < self._max_batch:
                lot = self._queue.get(block=not waiting)
                if lot is None:
                    return False
                waiting += lot
        return True

    def _run(self, jobs: Sequence[_Job]) -> dict[int, Scored | ServiceError]:
        """The answers by the jobs' places; none for those who have gone."""
        now = time.perf_counter()
        answers: dict[int, Scored | ServiceError] = {}
        batches: dict[str, list[int]] = {"model": [], "rank": []}
        for place, job in enumerate(jobs):
            self._metrics.waited.observe(now - job.since)
            if job.future.cancelled():
                continue
            if now - job.since > self._patience_s:
                answers[place] = OverloadedError(f"the model was not free within {self._patience_s:g} s")
            else:
                batches[_graph(job)].append(place)
        for graph, places in batches.items():
            if places:
                answers |= zip(places, self._run_graph(graph, [jobs[place] for place in places]), strict=True)
        return answers

    def _run_graph(self, graph: str, jobs: Sequence[_Job]) -> Sequence[Scored | ServiceError]:
        histories, rows = [job.history for job in jobs], [job.rows for job in jobs]
        try:
            if graph == "rank":
                found = self._runner.rank(histories, rows)
            else:
                found = self._runner.best(histories, rows, [job.count or 0 for job in jobs])
        except Exception as error:  # whatever it is, those who wait must get an answer, and the thread must go on
            self._trouble(error, traceback=True)
            return [ScorerUnavailableError(f"the model failed: {error}") for _ in jobs]
        ran_s = found[0].ran_s
        if graph == "model":
            self._shortest_s = min(self._shortest_s, ran_s)
        self._metrics.batch.observe(len(jobs))
        self._metrics.onnx_of(graph).observe(ran_s)
        return [Scored(scores.rows, scores.scores, ran_s) for scores in found]

    def _deliver(self, jobs: Sequence[_Job], answers: dict[int, Scored | ServiceError]) -> None:
        self._waiting -= len(jobs)
        for place, answer in answers.items():
            future = jobs[place].future
            if future.done():  # its client went away while the batch ran
                continue
            if isinstance(answer, ServiceError):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _graph(job: _Job) -> str:
    return "rank" if job.count is None else "model"
