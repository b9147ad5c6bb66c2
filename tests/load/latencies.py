"""What a run's latencies come to, and when an open loop has to send.

A latency is counted from the moment a request was *meant* to be sent. In a closed loop that is when it was sent. In an open
loop it is the moment on the schedule, however late the generator got to it: a server that stalls for a second has made all
wait who came in that second, and to count only those whom it let in would hide it (coordinated omission, Tene 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """Of one run, in milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


def summarise(seconds: Sequence[float]) -> Latencies:
    """Percentiles by the nearest rank: each is a latency that somebody had. NaN where nobody was answered."""
    if not seconds:
        return Latencies(p50=float("nan"), p90=float("nan"), p99=float("nan"), max=float("nan"))
    ms = np.asarray(seconds) * 1000
    p50, p90, p99, most = np.percentile(ms, (50, 90, 99, 100), method="inverted_cdf").tolist()
    return Latencies(p50=p50, p90=p90, p99=p99, max=most)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """When to send, in seconds from the start: a Poisson process, since listeners do not wait for each other."""
    random = np.random.default_rng(seed)
    count = round(rate * seconds)
    gaps = random.exponential(1 / rate, count)
    moments: list[float] = np.cumsum(gaps * (seconds / gaps.sum())).tolist() if count else []
    return moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Median and range of a figure over the rounds."""
    return Spread(median=float(np.median(values)), least=min(values), most=max(values))
