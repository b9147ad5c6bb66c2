"""The service's metrics, each defined once. `/metrics` shows them.

With several workers, prometheus_client keeps values in files under PROMETHEUS_MULTIPROC_DIR, which `__main__` sets before they
start. The worker that is asked adds them up. Histogram buckets go from a tenth of a millisecond to seconds.
"""

import os
from contextlib import AbstractContextManager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from service.observing.outcomes import ProposalOutcome

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
MOST_VERSIONS, MOST_CALLERS = 32, 256
"""Model versions, and names of keys, that a process counts apart. Others are `other`."""
_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """One application's metrics. Two applications in a process (in tests) do not share any."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "nexttrack_requests",
            "Requests answered",
            # route: the template, never a path (that would be a time series for each user), or "refused" before a route was
            # known; status: tells our errors from the client's
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "nexttrack_request_seconds",
            "From the first byte of a request to the last of its reply",
            ["route"],  # the template, because a batch of events and one proposal cannot be compared
            buckets=_SECONDS,
            registry=registry,
        )
        self.callers = Counter(
            "nexttrack_caller_requests",
            "Requests that needed a key or token",
            ["caller", "status"],  # the key's name, "(listener token)", or "(unknown)" where it was refused
            registry=registry,
        )
        self.overhead = Histogram(
            "nexttrack_overhead_seconds",
            "Of requests that the model answered: all time but ONNX Runtime's, waiting included",
            ["version"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.onnx = Histogram(
            "nexttrack_onnx_seconds",
            "One run of ONNX Runtime, for a batch",
            ["graph", "version"],  # model: proposals from all tracks; rank: scores for given ones
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "nexttrack_batch_requests",
            "Requests scored together",
            ["version"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.waited = Histogram(
            "nexttrack_queue_seconds", "Wait of a request for the model", ["version"], buckets=_SECONDS, registry=registry
        )
        self.redis = Histogram(
            "nexttrack_redis_seconds",
            "One round trip to Redis",
            ["operation"],  # record, read, forget: tells slow writes from slow reads
            buckets=_SECONDS,
            registry=registry,
        )
        self.degraded = Counter(
            "nexttrack_degraded",
            "Replies from popularity where Redis or the model could not be used",
            ["reason", "version"],  # redis or model: the part that failed
            registry=registry,
        )
        self.proposals = Counter(
            "nexttrack_proposals",
            "Replies with tracks to play next",
            ["source", "arm", "version"],  # source: model or popular; arm: current or challenger
            registry=registry,
        )
        self.batched = Histogram(
            "nexttrack_next_batch_requests",
            "Requests in one POST /v1/next/batch",
            buckets=(1, 2, 5, 10, 20, 50, 100),
            registry=registry,
        )
        self.shadow_overlap = Histogram(
            "nexttrack_shadow_overlap",
            "Share of the served tracks that the model in the shadow would have served too",
            ["version"],
            buckets=[tenth / 10 for tenth in range(11)],
            registry=registry,
        )
        self.shadow_left_out = Counter(
            "nexttrack_shadow_left_out",
            "Replies that were not compared with the shadow's: too many were under way, or it failed",
            registry=registry,
        )
        self.models_refused = Counter(
            "nexttrack_models_refused",
            "New artifacts that were refused, of the current model and of the challenger",
            registry=registry,
        )
        self.events = Counter(
            "nexttrack_events",
            "Events received",
            # type: gives the share of skips, the main figure of the product; result: accepted, or duplicate after a retry
            ["type", "result"],
            registry=registry,
        )
        self.outcomes = Counter(
            "nexttrack_outcomes",
            "Outcomes of proposed tracks, as events report them that carry a request_id",
            ["version", "arm", "rank", "outcome"],  # of the model that proposed the track, and the track's place in the reply
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
            ["kind", "reason"],  # kind: of the key; reason: it has another version's format, or is broken
            registry=registry,
        )
        self.model = Gauge(
            "nexttrack_model_info",
            "1 for a model in use, 0 for one that was replaced",
            ["name", "version", "arm"],  # to compare other series before and after a change of model
            registry=registry,
            multiprocess_mode="livemax",
        )

        # Looking up a labelled series costs more than counting in it.
        self.events_of, self._redis_of = cache(self.events.labels), cache(self.redis.labels)
        self.shadow_overlap_of = cache(self.shadow_overlap.labels)
        self._callers_of = cache(self.callers.labels)
        self._requests_of, self._seconds_of = cache(self.requests.labels), cache(self.seconds.labels)
        self._outcomes_of = cache(self.outcomes.labels)
        self._versions, self._callers = set[str](), set[str]()

    def answered(self, scope: Scope, status: int, elapsed_s: float) -> None:
        """Count and time a request. Status 0 means that its client left before the reply."""
        route = getattr(scope.get("route"), "path", "unmatched")
        ended = str(status) if status else "none"
        self._requests_of(route, scope["method"], ended).inc()
        self._seconds_of(route).observe(elapsed_s)
        if "caller" in scope:
            self._callers_of(_bounded(scope["caller"], self._callers, MOST_CALLERS), ended).inc()
        onnx_s = scope.get("onnx_s")
        if onnx_s is not None:
            scope["model"].overhead.observe(max(0.0, elapsed_s - onnx_s))

    def outcome(self, outcome: ProposalOutcome) -> None:
        """Count the outcome of a proposal. Clients could invent model versions, so from `MOST_VERSIONS` on a new one counts as
        `other`.
        """
        version = _bounded(outcome.version, self._versions, MOST_VERSIONS)
        self._outcomes_of(*outcome._replace(version=version)).inc()

    def refused(self, status: int, requests: int) -> None:
        """Count requests that the server refused before they had a route."""
        self._requests_of("refused", "none", str(int(status))).inc(requests)

    def redis_timer(self, operation: str) -> AbstractContextManager[object]:
        """Measure the duration of a round trip to Redis inside the `with` block. Failed round trips count too."""
        return self._redis_of(operation).time()

    def of_model(self, name: str, version: str, arm: str) -> "ModelMetrics":
        """Return the metrics of one model, and mark the model as in use."""
        return ModelMetrics(self, name, version, arm)

    def exposition(self) -> bytes:
        """Return all metrics of all workers in Prometheus' text format."""
        return generate_latest(self._together())

    def families(self) -> list[Metric]:
        """Return all metrics of all workers with their samples."""
        return list(self._together().collect())

    def _together(self) -> CollectorRegistry:
        if MULTIPROCESS not in os.environ:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client left it untyped
        return together


def _bounded(label: str, known: set[str], most: int) -> str:
    """Return the label, or `other` if it is a new one and there are `most` labels already."""
    if len(known) < most:
        known.add(label)
    return label if label in known else "other"


class ModelMetrics:
    """The metrics of one model: those that carry the label of its version."""

    def __init__(self, metrics: Metrics, name: str, version: str, arm: str) -> None:
        self.overhead, self.batch = metrics.overhead.labels(version), metrics.batch.labels(version)
        self.waited = metrics.waited.labels(version)
        self.onnx_of = cache(lambda graph: metrics.onnx.labels(graph, version))
        self.degraded_of = cache(lambda reason: metrics.degraded.labels(reason, version))
        self.proposals_of = cache(lambda source: metrics.proposals.labels(source, arm, version))
        self._in_use = metrics.model.labels(name, version, arm)
        self._in_use.set(1)

    def retire(self) -> None:
        """Mark the model as no longer in use."""
        self._in_use.set(0)
