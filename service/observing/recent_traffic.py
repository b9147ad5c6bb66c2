"""Remembers traffic, errors, degraded replies and latency of the last hour, a point every 15 seconds, for the dashboard.

The metrics count since the start of the service. A point is the difference of two readings. The metrics are of all workers, so
whichever worker is asked shows the same service. Each reads at its own moments, and has read since its own start.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

from prometheus_client.metrics_core import Metric

from service.observing.status import Buckets, proposal_buckets, quantiles, totals

EVERY_S = 15.0
POINTS = 240


class Reading(NamedTuple):
    """The counts since the service started at one moment, and the latency of proposals as cumulative buckets."""

    at_ms: int
    counts: Mapping[str, int]
    buckets: Buckets


class RecentTraffic:
    """Stores readings of the metrics from the last hour, and computes the points between them."""

    def __init__(self, families: Callable[[], Iterable[Metric]], clock: Callable[[], int]) -> None:
        """`families` returns the metrics of all workers. `clock` returns Unix time in milliseconds."""
        self._families, self._clock = families, clock
        self._readings: deque[Reading] = deque(maxlen=POINTS + 1)

    def read(self) -> None:
        """Read the metrics and store the reading. Call it in a thread, because many workers have many files of metrics."""
        of_name = {family.name: family for family in self._families()}
        self._readings.append(Reading(self._clock(), totals(of_name), proposal_buckets(of_name)))

    def points(self) -> Sequence[Mapping[str, Any]]:
        """Return the difference of each reading to the one before it, oldest first."""
        readings = tuple(self._readings)  # a copy, because a thread may add a reading meanwhile
        return [_point(before, after) for before, after in pairwise(readings)]


def _point(before: Reading, after: Reading) -> dict[str, Any]:
    counted = {name: max(0, count - before.counts[name]) for name, count in after.counts.items()}
    earlier = dict(before.buckets)
    buckets = [(limit, max(0.0, count - earlier.get(limit, 0.0))) for limit, count in after.buckets]
    empty = not buckets or not buckets[-1][1]
    return {
        "at": datetime.fromtimestamp(after.at_ms / 1000, UTC),
        "seconds": (after.at_ms - before.at_ms) / 1000,
        **counted,
        **(dict.fromkeys(("p50_ms", "p90_ms", "p99_ms")) if empty else quantiles(buckets)),
    }
