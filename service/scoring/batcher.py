"""Scores requests in batches, without a timer.

One thread runs the graphs. It takes all waiting requests up to `max_batch`, runs them as one batch, and takes the requests that
have arrived meanwhile. (`service.scoring.batches` decides which fit together, `service.scoring.pace` how many, and
`service.scoring.gathering` which arrive together.) So a lone request waits for no other, and batches grow with the load. A
short history costs no more in a batch with a long one, because the graphs compute no padding. The queue is limited. A request
that has waited too long, or whose client has left, is dropped before it costs a run.

The event loop hands requests to the thread in lots. While the thread is busy, this happens once in a turn of the loop. While it
is idle, it happens after a turn that brought no further request. Otherwise sixteen requests that arrive at once would become a
batch of one and a batch of fifteen, which costs one more run.

There is one thread of our own and one `call_soon_threadsafe` for each batch. An executor would wake the loop for each request.
Waking a thread and being woken by it takes 20 to 30 µs. Running a lone request's model on the loop itself was measured: it was
8 % faster with one connection in one set of turns and not faster in another. At a thousand requests a second it cost a tenth of
the p90, because requests that arrived meanwhile waited for the loop.

The loop does not rely on the thread. It answers requests that have waited too long by itself. If the thread has not answered
for that long, `fault` says so, and new requests are refused at once. All code in the thread is guarded, so an error costs only
its own batch.

Requests that explain a reply have low priority: they run only while no other request waits, and in batches of their own.

It knows nothing of ONNX, HTTP or tracks' names.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, Self

import structlog

from model.batch_memory import Cost
from model.encoding import RowHistory
from model.graphs import Scores
from service.errors import OverloadedError, ScorerUnavailableError, ServiceError
from service.observing.logs import Trouble
from service.observing.metrics import ModelMetrics
from service.scoring.batches import Job, take_batch
from service.scoring.gathering import Gathering, all_ready, together
from service.scoring.pace import LoopTime, Pace
from service.settings import Settings

SHORTEST_LOOK_S = 0.01
"""Shortest interval in seconds at which the loop checks waiting requests. Normally it is a quarter of their patience."""
MB = 1024 * 1024

logger = structlog.get_logger()


class Scorer(Protocol):
    """Scores rows for histories. Raises ScorerUnavailableError if it cannot, and OverloadedError if too many requests wait."""

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scores:
        """Return the `count` best tracks after `history`, best first, without `excluded`; fewer if there are no more."""

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scores:
        """Return the scores of `candidates` after `history`, in the given order."""

    async def rank_each(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Return the scores of `candidates[i]` after `histories[i]`, for each i. Runs a few histories at a time, and only while
        no other request waits.
        """

    def fault(self) -> str | None:
        """Return why the scorer does not answer at present; None if it does."""


class BatchRunner(Protocol):
    """Runs a batch: `model.graphs.Graphs`, or a fake in tests."""

    def best(
        self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Sequence[Scores]: ...

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]: ...

    def cost(self, rows: int, count: int | None) -> Cost:
        """Return the cost of one request. With `count` it excludes `rows` rows, without `count` it ranks `rows` rows."""


class BatchingScorer:
    """A scorer that batches requests for a runner. It is an async context manager, because its thread must end."""

    def __init__(
        self,
        runner: BatchRunner,
        settings: Settings,
        metrics: ModelMetrics,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`pace` may share its measured loop time with other scorers on the same event loop. `clock` returns seconds since any
        start.
        """
        self._runner, self._metrics, self._clock = runner, metrics, clock
        self._pace = pace or Pace(LoopTime())
        self._max_batch = settings.max_batch
        self._memory_bytes = settings.batch_memory_mb * MB
        self._limit = settings.queue_limit
        self._most_behind, self._behind = settings.queue_limit, 0  # of the jobs that stay behind
        self._patience_s = settings.queue_patience.total_seconds()
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._jobs: dict[Job, None] = {}  # unanswered, oldest first; only the event loop uses this and the next five
        self._fresh: list[Job] = []  # not handed over yet
        self._seen = 0  # the number of waiting requests at the last check
        self._answered_at = 0.0
        self._silent_s: float | None = None  # seconds for which the thread had not answered, if that was too long
        self._look: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._trouble = Trouble("the model failed")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, args=(loop,), name="scorer", daemon=True)
        self._thread.start()
        if (alone := self._runner.cost(0, 1).bytes) > self._memory_bytes:
            logger.warning(
                "one request needs more memory than a batch may take, so each runs alone",
                needs_mb=alone // MB,
                batch_memory_mb=self._memory_bytes // MB,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(self._fresh)  # requests that arrived in this turn of the loop are answered, too
        self._fresh = []
        self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._patience_s if self._silent_s is None else 0)
        if self._look is not None:
            self._look.cancel()

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scores:
        return await self._submit(history, excluded, count)

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scores:
        return await self._submit(history, candidates, None)

    async def rank_each(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        if self._behind + len(histories) > self._most_behind:
            raise OverloadedError(f"{self._behind} histories wait to be ranked already, behind other requests")
        one = Gathering(len(histories))
        jobs = [self._add(history, rows, None, one, behind=True) for history, rows in zip(histories, candidates, strict=True)]
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, Scores)]

    def fault(self) -> str | None:
        if self._silent_s is not None:
            return f"the model has answered nothing for {self._silent_s:.0f} s although requests wait"
        return None

    async def _submit(self, history: RowHistory, rows: Sequence[int], count: int | None) -> Scores:
        if (gathering := together()) is not None:
            await all_ready()
        job = self._add(history, rows, count, gathering)
        try:
            return await job.future
        except asyncio.CancelledError:
            if not job.is_taken:
                self._jobs.pop(job, None)  # so that it takes no other request's place in the queue
            raise

    def _add(
        self, history: RowHistory, rows: Sequence[int], count: int | None, gathering: Gathering | None, *, behind: bool = False
    ) -> Job:
        if self._silent_s is not None:
            raise ScorerUnavailableError(self.fault())
        if (waiting := self._under_way()) >= self._limit:
            raise OverloadedError(f"{waiting} requests wait for the model already")
        loop = asyncio.get_running_loop()
        cost = self._runner.cost(len(rows), count)
        job = Job(history, rows, count, loop.create_future(), self._clock(), cost, gathering, behind)
        self._jobs[job] = None
        self._behind += behind
        if self._look is None:
            self._look = loop.call_later(self._look_s(), self._look_round)
        self._fresh.append(job)
        if len(self._fresh) == 1:
            loop.call_soon(self._hand_over)
        return job

    def _under_way(self) -> int:
        """Return the number of unanswered requests, not counting low-priority ones that explain a reply."""
        return len(self._jobs) - self._behind

    def _hand_over(self) -> None:
        """Hand new requests to the thread, unless it is idle and more are about to arrive."""
        count, seen = len(self._fresh), self._seen
        if count == len(self._jobs) and seen < count < self._max_batch:
            self._seen = count
            asyncio.get_running_loop().call_soon(self._hand_over)
            return
        self._queue.put(self._fresh)
        self._fresh, self._seen = [], 0

    def _look_s(self) -> float:
        return max(SHORTEST_LOOK_S, self._patience_s / 4)

    def _look_round(self) -> None:
        """Answer requests that have waited too long, and notice if the thread has stopped answering. One timer serves all
        requests.
        """
        self._look = None
        if not self._jobs:
            return
        now = self._clock()
        silent_s = now - max(self._answered_at, next(iter(self._jobs)).since)
        self._silent_s = silent_s if silent_s > self._patience_s else None
        for job in self._jobs:
            if now - job.since <= self._patience_s:
                break  # the rest arrived later
            if not job.future.done() and (self._silent_s is not None or not job.is_taken):
                job.future.set_exception(self._late())
        self._look = asyncio.get_running_loop().call_later(self._look_s(), self._look_round)

    def _late(self) -> OverloadedError:
        return OverloadedError(f"the model was not free within {self._patience_s:g} s")

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run batches in the thread, until the queue returns None."""
        waiting: list[Job] = []
        going_on, waited, after_large = True, True, False
        while going_on or waiting:
            jobs: list[Job] = []
            answers: dict[int, Scores | ServiceError]
            try:
                going_on = going_on and self._take(waiting)
                jobs = take_batch(waiting, self._most(waited), self._memory_bytes, after_large=after_large)
                after_large = any(job.cost.is_large for job in jobs)
                answers = self._run(jobs)
            except Exception as error:  # a programming error, or no memory: the thread must continue
                self._trouble(error, traceback=True)
                answers = {place: ScorerUnavailableError(f"the scorer failed: {error}") for place in range(len(jobs))}
            # read before the loop wakes, because the loop may be faster than this thread
            waited = not waiting and self._queue.empty()
            with suppress(RuntimeError):  # the loop has ended, so nobody waits
                loop.call_soon_threadsafe(self._deliver, jobs, answers)

    def _most(self, waited: bool) -> int:
        """Return the most requests that the next batch may hold. `waited` says whether the thread had to wait for requests."""
        most = self._pace.most(self._under_way(), waited=waited)
        return self._max_batch if most is None else min(self._max_batch, most)

    def _take(self, waiting: list[Job]) -> bool:
        """Move requests from the queue to `waiting` until they fill a batch or the queue is empty. Blocks while `waiting` is
        empty. Returns False when the scorer ends.
        """
        with suppress(Empty):
            ordinary = sum(not job.behind for job in waiting)
            while ordinary < self._max_batch:
                lot = self._queue.get(block=not waiting)
                if lot is None:
                    return False
                waiting += lot
                ordinary += sum(not job.behind for job in lot)
        return True

    def _run(self, jobs: Sequence[Job]) -> dict[int, Scores | ServiceError]:
        """Run a batch. Returns the answers by the jobs' places, without those whose clients have left."""
        now = self._clock()
        answers: dict[int, Scores | ServiceError] = {}
        places: list[int] = []
        for place, job in enumerate(jobs):
            if not job.behind:
                self._metrics.waited.observe(now - job.since)
            if job.future.done():
                continue
            if now - job.since > self._patience_s:
                answers[place] = self._late()
            else:
                job.is_taken = True
                places.append(place)
        if places:
            answers |= zip(places, self._score([jobs[place] for place in places]), strict=True)
        return answers

    def _score(self, jobs: Sequence[Job]) -> Sequence[Scores | ServiceError]:
        histories, rows, graph = [job.history for job in jobs], [job.rows for job in jobs], jobs[0].graph
        try:
            if graph == "rank":
                found = self._runner.rank(histories, rows)
            else:
                with nullcontext() if jobs[0].cost.is_large else self._pace.running(len(jobs)):
                    found = self._runner.best(histories, rows, [job.count or 0 for job in jobs])
        except Exception as error:  # whatever the error is, waiting requests must get an answer, and the thread must continue
            self._trouble(error, traceback=True)
            return [ScorerUnavailableError(f"the model failed: {error}") for _ in jobs]
        ran_s = found[0].ran_s
        if not jobs[0].behind:
            self._metrics.batch.observe(len(jobs))
        self._metrics.onnx_of(graph).observe(ran_s)
        return [self._checked(scores) for scores in found]

    def _checked(self, scores: Scores) -> Scores | ServiceError:
        if scores.sound:
            return scores
        error = ScorerUnavailableError("the model gave scores that are no finite numbers")
        self._trouble(error)
        return error

    def _deliver(self, jobs: Sequence[Job], answers: dict[int, Scores | ServiceError]) -> None:
        self._answered_at, self._silent_s = self._clock(), None
        behind = sum(job.behind for job in jobs)
        self._behind -= behind
        self._pace.answered(len(jobs) - behind)
        for job in jobs:
            self._jobs.pop(job, None)
        for place, answer in answers.items():
            future = jobs[place].future
            if future.done():  # its client left while the batch ran, or it had waited too long
                continue
            if isinstance(answer, ServiceError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
