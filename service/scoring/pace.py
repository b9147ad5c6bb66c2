"""Decides how many requests a batch takes, from what requests cost on the event loop and in the model.

If each batch took all, sixteen clients would soon be answered together, ask together, and be scored together again. Event loop
and model would run in turns: the cycle of c clients takes c loops, a run's fixed cost, and c times its cost a request. If a
batch leaves half of the requests to the next one, loop and model run in parallel, and each cycle has one run more. So half is
left where the loop's time for all requests is longer than the fixed cost of a run. Once they run in parallel a batch that takes
all waiting requests keeps it so. Therefore it is only looked at when the thread has had to wait for requests.

Both costs depend on the processor, the model and the requests, so they are measured while serving. It is processor time that
is measured, since the clock also counts the time that other processes take. In a simulation of loops and models of all kinds
this answers at least .96 times as many requests as the better of both ways, for up to 32 clients (`tests/service/scoring`).
`docs/measurements/speed.md` has what it answers on a machine.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED_REQUESTS = 256
"""Requests over which the loop's time is averaged: at a thousand a second a quarter of one."""
FORGOTTEN = 0.01
"""Share of what is known of the model's runs that each run replaces."""


class LoopTime:
    """The processor time of the event loop for each scored request, everything else that the loop does included.

    Models that serve at the same time share it.
    """

    def __init__(self, cpu: Callable[[], float] = time.thread_time) -> None:
        """`cpu` gives the seconds that the calling thread has run."""
        self._cpu = cpu
        self._last: float | None = None
        self.request_s = 0.0

    def answered(self, requests: int) -> None:
        """Take account of requests that were answered; to be called on the event loop."""
        now = self._cpu()
        if self._last is not None and requests:
            each_s = (now - self._last) / requests
            weight = min(1.0, requests / REMEMBERED_REQUESTS) if self.request_s else 1.0
            self.request_s += weight * (each_s - self.request_s)
        self._last = now


class Pace:
    """The pace of one model's batches. All but the loop's time belongs to the thread that runs them."""

    def __init__(self, loop: LoopTime, cpu: Callable[[], float] = time.thread_time) -> None:
        """`cpu` gives the seconds that the calling thread has run."""
        self._loop, self._cpu = loop, cpu
        self._shortest_s = math.inf
        # Decaying sums over runs, for a line through their sizes and times: of 1, size, time, size squared, size times time.
        self._runs = self._sizes = self._times = self._squares = self._products = 0.0
        self.run_s = math.inf
        """The fixed cost of a run: its time if it had no requests. While all runs are of one size it stays as it was."""

    def answered(self, requests: int) -> None:
        """Take account of requests that were answered; to be called on the event loop."""
        self._loop.answered(requests)

    @contextmanager
    def running(self, size: int) -> Iterator[None]:
        """Measure a run with so many requests. One that fails is not counted."""
        started = self._cpu()
        yield
        self._learn(size, self._cpu() - started)

    def most(self, under_way: int, *, waited: bool) -> int | None:
        """How many requests the next batch may have; None is any number.

        `under_way` are the requests that wait, or whose answers the loop has not heard of. `waited` is whether the thread had
        nothing to do before.
        """
        if waited and under_way * self._loop.request_s > self.run_s:
            return -(-under_way // 2)
        return None

    def _learn(self, size: int, run_s: float) -> None:
        kept = 1 - FORGOTTEN
        self._runs = kept * self._runs + 1
        self._sizes = kept * self._sizes + size
        self._times = kept * self._times + run_s
        self._squares = kept * self._squares + size * size
        self._products = kept * self._products + size * run_s
        self._shortest_s = min(self._shortest_s, run_s)
        self.run_s = min(self.run_s, self._shortest_s)
        if self._sizes_differ():
            slope = (self._runs * self._products - self._sizes * self._times) / self._spread()
            fixed_s = (self._times - slope * self._sizes) / self._runs
            self.run_s = min(max(0.0, fixed_s), self._shortest_s)

    def _sizes_differ(self) -> bool:
        """Whether runs were of so different sizes that a line can be drawn: by a tenth of their mean."""
        return self._spread() > 0.01 * self._sizes**2

    def _spread(self) -> float:
        return self._runs * self._squares - self._sizes**2
