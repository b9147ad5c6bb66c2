"""Decides how many requests a batch takes, from the measured costs of requests on the event loop and in the model.

If each batch took all waiting requests, batches would synchronise the clients. With 16 clients, all would soon be answered
together, ask together, and be scored together again. Event loop and model would run in turns: a cycle of c clients takes c
loops, the fixed cost of a run, and c times its cost for each request. If a batch leaves half of the requests to the next one,
loop and model run in parallel, and each cycle has one run more. So half is left if the loop's time for all requests exceeds the
fixed cost of a run. Once they run in parallel, batches of all waiting requests keep it so. Therefore this is decided only after
the thread had to wait for requests.

Both costs depend on the processor, the model and the requests, so they are measured while serving. Processor time is measured,
because the clock also counts other processes. In a simulation of loops and models of all kinds, this answers at least .96 times
as many requests as the better of both ways, for up to 32 clients (`tests/service/scoring`). `docs/measurements/speed.md` has
figures of a real machine.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED_REQUESTS = 256
"""Number of requests over which the loop's time is averaged: a quarter of a second at a thousand a second."""
FORGOTTEN = 0.01
"""The weight of a new run in the estimates of the model's costs."""


class LoopTime:
    """The event loop's processor time for each scored request. It includes everything else that the loop does.

    Models that serve at the same time share it.
    """

    def __init__(self, cpu: Callable[[], float] = time.thread_time) -> None:
        """`cpu` returns the processor time of the calling thread, in seconds."""
        self._cpu = cpu
        self._last: float | None = None
        self.request_s = 0.0

    def answered(self, requests: int) -> None:
        """Count requests that were answered. Call it on the event loop."""
        now = self._cpu()
        if self._last is not None and requests:
            each_s = (now - self._last) / requests
            weight = min(1.0, requests / REMEMBERED_REQUESTS) if self.request_s else 1.0
            self.request_s += weight * (each_s - self.request_s)
        self._last = now


class Pace:
    """Measures what a model's batches cost, and decides how many requests the next batch takes. The model's thread owns all
    values except the loop's time.
    """

    def __init__(self, loop: LoopTime, cpu: Callable[[], float] = time.thread_time) -> None:
        """`cpu` returns the processor time of the calling thread, in seconds."""
        self._loop, self._cpu = loop, cpu
        self._shortest_s = math.inf
        # Decaying sums over runs, for a line through their sizes and times: of 1, size, time, size squared, size times time.
        self._runs = self._sizes = self._times = self._squares = self._products = 0.0
        self.run_s = math.inf
        """The fixed cost of a run: its time if it had no requests. It is not updated while all runs have one size."""

    def answered(self, requests: int) -> None:
        """Count requests that were answered. Call it on the event loop."""
        self._loop.answered(requests)

    @contextmanager
    def running(self, size: int) -> Iterator[None]:
        """Measure the run inside the `with` block, which scores `size` requests. A run that fails is not counted."""
        started = self._cpu()
        yield
        self._learn(size, self._cpu() - started)

    def most(self, under_way: int, *, waited: bool) -> int | None:
        """Return how many requests the next batch may have; None means any number.

        `under_way` counts the requests that wait, or whose answers the loop has not received. `waited` says whether the thread
        had to wait for requests.
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
        """Return whether the sizes of runs differ by at least a tenth of their mean, which is enough to fit a line."""
        return self._spread() > 0.01 * self._sizes**2

    def _spread(self) -> float:
        return self._runs * self._squares - self._sizes**2
