"""The last hour as points: differences of the counts, and quantiles of the time between two readings."""

import sys
import threading

import pytest

from service.observing.metrics import Metrics
from service.observing.recent_traffic import POINTS, RecentTraffic


class _Route:
    path = "/v1/users/{user_id}/next"


SCOPE = {"type": "http", "method": "GET", "path": "/v1/users/u/next", "route": _Route()}


class Seconds:
    """A clock that a test sets, in seconds."""

    now = 1_800_000_000

    def __call__(self) -> int:
        return self.now * 1000


def test_a_point_is_what_happened_since_the_one_before() -> None:
    """Counts of the time in between, and its own latency, not that since the start."""
    metrics, clock = Metrics(), Seconds()
    recent = RecentTraffic(metrics.families, clock)
    model = metrics.of_model("demo", "v1", "current")
    for _ in range(100):
        metrics.answered(SCOPE, 200, 0.4)  # before the first reading
    recent.read()
    for status, seconds in ((200, 0.003), (200, 0.003), (503, 0.003)):
        metrics.answered(SCOPE, status, seconds)
    model.proposals_of("model").inc(2)
    model.proposals_of("popular").inc(1)
    model.degraded_of("redis").inc(1)
    clock.now += 30
    recent.read()
    clock.now += 31
    recent.read()
    busy, idle = recent.points()

    assert busy["p50_ms"] == pytest.approx(3.5, abs=1.5)
    assert {name: busy[name] for name in ("seconds", "requests", "errors", "proposals", "degraded")} == {
        "seconds": 30,
        "requests": 3,
        "errors": 1,
        "proposals": 3,
        "degraded": 1,
    }
    assert busy["at"].isoformat() == "2027-01-15T08:00:30+00:00"
    assert (idle["seconds"], idle["requests"], idle["p50_ms"], idle["p99_ms"]) == (31, 0, None, None)


def test_latency_is_that_of_proposals() -> None:
    """A slow page or a batch of events is another matter."""
    metrics = Metrics()
    recent = RecentTraffic(metrics.families, Seconds())
    recent.read()
    metrics.answered({"type": "http", "method": "GET", "path": "/docs"}, 200, 3.0)
    recent.read()

    assert recent.points()[0]["requests"] == 1
    assert recent.points()[0]["p50_ms"] is None


def test_an_hour_is_kept() -> None:
    """Then the oldest point goes."""
    recent = RecentTraffic(Metrics().families, Seconds())
    for _ in range(POINTS + 7):
        recent.read()

    assert len(recent.points()) == POINTS


def test_points_are_computed_while_a_thread_reads() -> None:
    """A thread adds readings all the time, and Python switches between the threads as often as it can."""
    recent, stopped = RecentTraffic(list, Seconds()), threading.Event()

    def read() -> None:
        while not stopped.is_set():
            recent.read()

    for _ in range(POINTS + 1):
        recent.read()
    interval_s, reading = sys.getswitchinterval(), threading.Thread(target=read)
    sys.setswitchinterval(1e-6)
    reading.start()
    try:
        sizes = {len(recent.points()) for _ in range(200)}
    finally:
        stopped.set()
        reading.join()
        sys.setswitchinterval(interval_s)

    assert sizes == {POINTS}
