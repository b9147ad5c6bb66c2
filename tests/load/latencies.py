"""Statistics of latencies, and the schedule of an open loop.

A latency counts from the moment at which a request was *due*. In a closed loop that is the moment of sending. In an open loop
it is the moment on the schedule, however late the generator sent it. A server that stalls for a second delays every request
of that second. Counting only the requests that it accepted would hide the stall (coordinated omission, Tene 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """Percentiles of one run, in milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


def summarise(seconds: Sequence[float]) -> Latencies:
    """Compute percentiles by the nearest rank, so that each is a measured latency. NaN without replies."""
    if not seconds:
        return Latencies(p50=float("nan"), p90=float("nan"), p99=float("nan"), max=float("nan"))
    ms = np.asarray(seconds) * 1000
    p50, p90, p99, most = np.percentile(ms, (50, 90, 99, 100), method="inverted_cdf").tolist()
    return Latencies(p50=p50, p90=p90, p99=p99, max=most)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return send times in seconds from the start: a Poisson process, because listeners do not wait for each other."""
    random = np.random.default_rng(seed)
    count = round(rate * seconds)
    gaps = random.exponential(1 / rate, count)
    moments: list[float] = np.cumsum(gaps * (seconds / gaps.sum())).tolist() if count else []
    return moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Median and range of a figure over the rounds."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Compute median and range of a figure over the rounds."""
    return Spread(median=float(np.median(values)), least=min(values), most=max(values))
