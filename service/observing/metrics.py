"""What is measured, each thing named once; `/metrics` shows it.

With several workers prometheus_client keeps values in files under PROMETHEUS_MULTIPROC_DIR, which `__main__` sets before
they start, and whichever worker is asked adds them all up. Histograms' limits lie where the service lives: a tenth of a
millisecond to seconds.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from model.artifact import Manifest

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """One application's metrics; two in a process (in tests) do not share any."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "nexttrack_requests",
            "Requests answered",
            # route: the template, never a path (that would be a time series a user); status: our errors or theirs
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "nexttrack_request_seconds",
            "From the first byte of a request to the last of its reply",
            ["route"],  # the template: a batch of events and one proposal have nothing in common
            buckets=_SECONDS,
            registry=registry,
        )
        self.overhead = Histogram(
            "nexttrack_overhead_seconds",
            "Of requests that the model answered: all time but ONNX Runtime's, waiting included",
            buckets=_SECONDS,
            registry=registry,
        )
        self.onnx = Histogram(
            "nexttrack_onnx_seconds",
            "One run of ONNX Runtime, for a batch",
            ["graph"],  # model: proposals from all tracks; rank: scores for given ones
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "nexttrack_batch_requests",
            "Requests scored together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.waited = Histogram(
            "nexttrack_queue_seconds", "Wait of a request for the model", buckets=_SECONDS, registry=registry
        )
        self.redis = Histogram(
            "nexttrack_redis_seconds",
            "One round trip to Redis",
            ["operation"],  # record, read, forget: to tell slow writes from slow reads
            buckets=_SECONDS,
            registry=registry,
        )
        self.degraded = Counter(
            "nexttrack_degraded",
            "Replies from popularity where Redis or the model could not be used",
            ["reason"],  # redis or model: whom to wake
            registry=registry,
        )
        self.events = Counter(
            "nexttrack_events",
            "Events received",
            ["type", "result"],  # the share of skips is the product's pulse; accepted or duplicate: retries
            registry=registry,
        )
        self.log_dropped = Counter(
            "nexttrack_log_lines_dropped",
            "Log lines that nobody will see: the queue was full, or stdout failed",
            registry=registry,
        )
        self.unreadable = Counter(
            "nexttrack_unreadable_values",
            "Stored values that could not be read and were skipped",
            ["kind", "reason"],  # kind: of the key; reason: another version of the service wrote it, or it is broken
            registry=registry,
        )
        self.model = Gauge(
            "nexttrack_model_info",
            "1 for the model in use",
            ["name", "version"],  # to lay other series beside a change of model
            registry=registry,
            multiprocess_mode="livemax",
        )

        # Finding a labelled series costs more than counting in it.
        self.onnx_of, self.events_of, self._redis_of = (
            cache(self.onnx.labels),
            cache(self.events.labels),
            cache(self.redis.labels),
        )
        self._requests_of, self._seconds_of = cache(self.requests.labels), cache(self.seconds.labels)

    def answered(self, scope: Scope, status: int, elapsed_s: float) -> None:
        """Count and time a request; status 0: its client went away before there was a reply."""
        route = getattr(scope.get("route"), "path", "unmatched")
        self._requests_of(route, scope["method"], str(status) if status else "none").inc()
        self._seconds_of(route).observe(elapsed_s)
        onnx_s = scope.get("onnx_s")
        if onnx_s is not None:
            self.overhead.observe(max(0.0, elapsed_s - onnx_s))

    @contextmanager
    def redis_timer(self, operation: str) -> Iterator[None]:
        """Measure one round trip to Redis, failed ones too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._redis_of(operation).observe(time.perf_counter() - started)

    def use(self, manifest: Manifest) -> None:
        """Say which model is in use."""
        self.model.labels(manifest.name, manifest.version).set(1)

    def exposition(self) -> bytes:
        """All metrics, of all workers, in Prometheus' text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client left it untyped
        return generate_latest(together)
