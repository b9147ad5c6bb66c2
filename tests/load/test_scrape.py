"""The cost of a request beyond ONNX Runtime is the difference of two readings of the service's histograms."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from tests.load.scrape import overhead, quantile, read


def test_overhead_is_what_came_between_the_two_looks() -> None:
    """Counts before the first reading do not matter, and series of different labels are added up."""
    registry = CollectorRegistry()
    seen = Histogram("nexttrack_overhead_seconds", "-", buckets=(0.001, 0.002), registry=registry)
    runs = Histogram("nexttrack_onnx_seconds", "-", ["graph"], registry=registry)
    seen.observe(0.5)
    runs.labels("model").observe(0.5)
    before = read(generate_latest(registry).decode())
    for _ in range(4):
        seen.observe(0.0015)
        runs.labels("model").observe(0.004)
    found = overhead(before, read(generate_latest(registry).decode()), end_to_end_ms=7.0)

    assert found == pytest.approx({"onnx_ms": 4.0, "overhead_ms": 1.5, "overhead_p50_ms": 1.5, "overhead_seen_ms": 3.0})


def test_quantile_is_linear_between_limits() -> None:
    """Half of 10 lie below 1, the rest between 1 and 2. Values beyond all limits count as the last limit."""
    limits = [(1.0, 4.0), (2.0, 8.0), (float("inf"), 10.0)]

    assert quantile(limits, 0.2) == pytest.approx(0.5)
    assert quantile(limits, 0.6) == pytest.approx(1.5)
    assert quantile(limits, 0.99) == 2.0
    assert quantile([], 0.5) == 0.0
