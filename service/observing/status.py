"""The status for operators, computed from the metrics: traffic, latency, degraded replies, and outcomes of proposals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client.metrics_core import Metric

from service.observing.outcomes import OUTCOMES, ProposalOutcome
from service.request_ids import RANKS

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
PROPOSALS = ("/v1/users/{user_id}/next", "/v1/next")
"""The routes whose latency a listener feels."""
Buckets = Sequence[tuple[float, float]]
"""Of a histogram: upper limits in seconds, ascending, and how many times were at most that."""


def traffic(families: Iterable[Metric]) -> dict[str, Any]:
    """Return the requests, latency and degraded replies since the service started.

    Latency is interpolated within the histogram's buckets. Beyond the last bucket, it is the last bucket's limit.
    """
    of_name = {family.name: family for family in families}
    proposals = sum(value for _, value in _counts(of_name, "nexttrack_proposals"))
    reasons = defaultdict[str, int](int)
    for labels, value in _counts(of_name, "nexttrack_degraded"):
        reasons[labels["reason"]] += int(value)
    degraded = sum(reasons.values())
    return {
        "requests": [
            {"route": labels["route"], "method": labels["method"], "status": labels["status"], "count": int(value)}
            for labels, value in _counts(of_name, "nexttrack_requests")
        ],
        "latency": [
            {"route": labels["route"], "count": int(buckets[-1][1]), **quantiles(buckets)}
            for labels, buckets in _histograms(of_name, "nexttrack_request_seconds")
        ],
        "degraded": {
            "replies": degraded,
            "share": degraded / proposals if proposals else 0.0,
            "reasons": dict(reasons),
        },
    }


def totals(families: Mapping[str, Metric]) -> dict[str, int]:
    """Return the number of requests, server errors, proposals and degraded replies since the start."""
    requests = [(labels["status"], value) for labels, value in _counts(families, "nexttrack_requests")]
    return {
        "requests": int(sum(value for _, value in requests)),
        "errors": int(sum(value for status, value in requests if status.startswith("5"))),
        "proposals": int(sum(value for _, value in _counts(families, "nexttrack_proposals"))),
        "degraded": int(sum(value for _, value in _counts(families, "nexttrack_degraded"))),
    }


def proposal_buckets(families: Mapping[str, Metric]) -> Buckets:
    """Return one latency histogram of all routes in `PROPOSALS`."""
    together = defaultdict[float, float](float)
    for labels, buckets in _histograms(families, "nexttrack_request_seconds"):
        for limit, count in buckets if labels["route"] in PROPOSALS else ():
            together[limit] += count
    return sorted(together.items())


def outcomes_by_hour(counts: Iterable[tuple[int, ProposalOutcome, int]]) -> list[dict[str, Any]]:
    """Return the counted outcomes of each hour, model version and arm, over all ranks. The oldest hour is first; an hour is the
    Unix time in ms at which it began.
    """
    of_hour: defaultdict[tuple[int, str, str], dict[str, int]] = defaultdict(_none_yet)
    for hour_ms, outcome, times in counts:
        of_hour[hour_ms, outcome.version, outcome.arm][outcome.outcome] += times
    return [
        {"hour": datetime.fromtimestamp(hour_ms / 1000, UTC), "version": version, "arm": arm, **counted}
        for (hour_ms, version, arm), counted in sorted(of_hour.items())
    ]


def outcomes_by_model(counts: Iterable[tuple[ProposalOutcome, int]]) -> list[dict[str, Any]]:
    """Return the counted outcomes of each model version and arm, over all ranks and for each rank. Versions with the most
    outcomes are first.
    """
    of_model: defaultdict[tuple[str, str], defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(_none_yet))
    for outcome, times in counts:
        of_model[outcome.version, outcome.arm][outcome.rank][outcome.outcome] += times
    found = [
        {
            "version": version,
            "arm": arm,
            **{name: sum(of_rank[name] for of_rank in ranks.values()) for name in OUTCOMES},
            "ranks": [{"rank": rank, **ranks[rank]} for rank in sorted(ranks, key=_place)],
        }
        for (version, arm), ranks in of_model.items()
    ]
    return sorted(found, key=lambda model: (-sum(model[name] for name in OUTCOMES), model["version"], model["arm"]))


def _none_yet() -> dict[str, int]:
    return dict.fromkeys(OUTCOMES, 0)


def _place(rank: str) -> int:
    return RANKS.index(rank) if rank in RANKS else len(RANKS)


def _counts(families: Mapping[str, Metric], name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    if name in families:
        yield from ((sample.labels, sample.value) for sample in families[name].samples if sample.name == f"{name}_total")


def _histograms(families: Mapping[str, Metric], name: str) -> Iterator[tuple[Mapping[str, str], Buckets]]:
    """Yield each histogram's labels and buckets. A bucket is its upper limit in seconds and the number of values up to this
    limit.
    """
    buckets: defaultdict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    for sample in families[name].samples if name in families else ():
        if sample.name == f"{name}_bucket":
            labels = {label: value for label, value in sample.labels.items() if label != "le"}
            buckets[tuple(sorted(labels.items()))].append((float(sample.labels["le"]), sample.value))
    for labels_of, found in buckets.items():
        yield dict(labels_of), sorted(found)


def quantiles(buckets: Buckets) -> dict[str, float]:
    """Return the `QUANTILES` of a histogram in milliseconds. The histogram must not be empty."""
    return {name: round(1000 * _quantile(buckets, share), 3) for name, share in QUANTILES.items()}


def _quantile(buckets: Buckets, share: float) -> float:
    wanted, below, lower = share * buckets[-1][1], 0.0, 0.0
    for limit, count in buckets:
        if limit == math.inf:
            break
        if count >= wanted and count > below:
            return lower + (limit - lower) * (wanted - below) / (count - below)
        below, lower = count, limit
    return lower
