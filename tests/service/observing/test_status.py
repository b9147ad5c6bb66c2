"""The status is computed from the metrics: counts, quantiles to within a bucket, and outcomes by model."""

import numpy as np
import pytest

from service.observing.metrics import Metrics
from service.observing.outcomes import ProposalOutcome
from service.observing.recent_trouble import KEPT, RecentTrouble
from service.observing.status import outcomes_by_hour, outcomes_by_model, traffic


def test_traffic_and_degraded_replies_are_counted() -> None:
    """They are counted by route, method and status. The share of degraded replies is over all replies with proposals of all
    models.
    """
    metrics = Metrics()
    scope = {"type": "http", "method": "GET", "path": "/healthz"}
    for status in (200, 200, 404, 0):
        metrics.answered(scope, status, 0.001)
    for version in ("v1", "v2"):
        model = metrics.of_model("demo", version, "current")
        model.proposals_of("model").inc(3)
        model.proposals_of("popular").inc(1)
        model.degraded_of("redis").inc(1)
    found = traffic(metrics.families())

    assert sorted((one["status"], one["count"]) for one in found["requests"]) == [("200", 2), ("404", 1), ("none", 1)]
    assert {(one["route"], one["method"]) for one in found["requests"]} == {("unmatched", "GET")}
    assert found["degraded"] == {"replies": 2, "share": 0.25, "reasons": {"redis": 2}}


def test_nothing_has_happened_yet() -> None:
    """Nothing is divided by zero."""
    assert traffic(Metrics().families()) == {
        "requests": [],
        "latency": [],
        "degraded": {"replies": 0, "share": 0.0, "reasons": {}},
    }


def test_latency_is_near_the_true_quantiles() -> None:
    """For a thousand times, each quantile is off by less than the bucket that holds the true one, as computed by numpy."""
    metrics, random = Metrics(), np.random.default_rng(1)
    times = random.lognormal(np.log(0.004), 0.7, 1_000)
    for elapsed_s in times:
        metrics.answered({"type": "http", "method": "GET", "path": "/"}, 200, float(elapsed_s))
    [latency] = traffic(metrics.families())["latency"]

    assert latency["count"] == 1_000
    for name, share in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99)):
        assert latency[name] == pytest.approx(1000 * np.quantile(times, share), rel=0.2)


def test_latency_past_the_last_bucket_is_its_limit() -> None:
    """The histogram only knows that a time was five seconds or more."""
    metrics = Metrics()
    metrics.answered({"type": "http", "method": "GET", "path": "/"}, 200, 60.0)
    [latency] = traffic(metrics.families())["latency"]

    assert latency["p50_ms"] == 5_000


def test_outcomes_are_added_up_by_model_and_rank() -> None:
    """They are summed over hours. Models with the most come first, ranks are in order, and an outcome that never occurred
    is 0.
    """
    counts = [
        (ProposalOutcome("v1", "current", "4-5", "skipped"), 2),
        (ProposalOutcome("v1", "current", "1", "completed"), 3),
        (ProposalOutcome("v1", "current", "1", "completed"), 4),
        (ProposalOutcome("v2", "challenger", "1", "liked"), 1),
        (ProposalOutcome("other", "other", "other", "disliked"), 1),
    ]
    none = {"completed": 0, "skipped": 0, "liked": 0, "disliked": 0}

    assert outcomes_by_model(counts) == [
        {
            "version": "v1",
            "arm": "current",
            **none,
            "completed": 7,
            "skipped": 2,
            "ranks": [{"rank": "1", **none, "completed": 7}, {"rank": "4-5", **none, "skipped": 2}],
        },
        {"version": "other", "arm": "other", **none, "disliked": 1, "ranks": [{"rank": "other", **none, "disliked": 1}]},
        {"version": "v2", "arm": "challenger", **none, "liked": 1, "ranks": [{"rank": "1", **none, "liked": 1}]},
    ]


def test_outcomes_are_added_up_by_hour_and_model() -> None:
    """All ranks together, the oldest hour first, each outcome that never came 0."""
    hour_ms = 1_800_000_000_000
    counts = [
        (hour_ms, ProposalOutcome("v1", "current", "1", "skipped"), 2),
        (hour_ms - 3_600_000, ProposalOutcome("v1", "current", "1", "liked"), 1),
        (hour_ms, ProposalOutcome("v1", "current", "4-5", "skipped"), 3),
        (hour_ms, ProposalOutcome("v2", "challenger", "1", "completed"), 4),
    ]
    found = outcomes_by_hour(counts)

    assert [(one["hour"].isoformat(), one["version"], one["arm"]) for one in found] == [
        ("2027-01-15T07:00:00+00:00", "v1", "current"),
        ("2027-01-15T08:00:00+00:00", "v1", "current"),
        ("2027-01-15T08:00:00+00:00", "v2", "challenger"),
    ]
    assert [[one[name] for name in ("completed", "skipped", "liked", "disliked")] for one in found] == [
        [0, 0, 1, 0],
        [0, 5, 0, 0],
        [4, 0, 0, 0],
    ]


def test_made_up_versions_do_not_fill_the_metrics() -> None:
    """A client can name any version. Beyond a limit, they are counted together."""
    metrics = Metrics()
    for number in range(100):
        metrics.outcome(ProposalOutcome(f"v{number}", "current", "1", "liked"))
    [family] = [family for family in metrics.families() if family.name == "nexttrack_outcomes"]
    values = {sample.labels["version"]: sample.value for sample in family.samples if sample.name.endswith("_total")}

    assert len(values) == 33
    assert values["other"] == 68


def test_latest_warnings_and_errors_are_remembered() -> None:
    """Only warnings and errors are kept, without their causes, newest first and up to a limit."""
    trouble = RecentTrouble()
    trouble(None, "info", {"level": "info", "event": "request"})
    for number in range(KEPT + 5):
        trouble(None, "warning", {"level": "warning", "event": f"trouble {number}", "times": number, "cause": "redis://host"})
    trouble(None, "error", {"level": "error", "event": "broken"})
    found = trouble.newest_first()

    assert [(line.level, line.what, line.times) for line in found[:2]] == [
        ("error", "broken", 1),
        ("warning", "trouble 54", 54),
    ]
    assert len(found) == KEPT
    assert "host" not in str(found)
