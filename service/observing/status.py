"""The status for operators, computed from the metrics: traffic, latency, degraded replies, and outcomes of proposals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric

from service.observing.outcomes import OUTCOMES, ProposalOutcome
from service.request_ids import RANKS

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}


def traffic(families: Iterable[Metric]) -> dict[str, Any]:
    """Returns requests, latency and degraded replies, counted since the service started.

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
            {"route": labels["route"], "count": int(buckets[-1][1]), **_quantiles(buckets)}
            for labels, buckets in _histograms(of_name, "nexttrack_request_seconds")
        ],
        "degraded": {
            "replies": degraded,
            "share": degraded / proposals if proposals else 0.0,
            "reasons": dict(reasons),
        },
    }


def outcomes_by_model(counts: Iterable[tuple[ProposalOutcome, int]]) -> list[dict[str, Any]]:
    """Returns the outcomes of each version and arm, for all ranks together and for each rank. Versions with the most come
    first.
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


def _histograms(families: Mapping[str, Metric], name: str) -> Iterator[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
    """Yields the labels of each histogram and its buckets: the upper limit in seconds, and the number of values up to it."""
    buckets: defaultdict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    for sample in families[name].samples if name in families else ():
        if sample.name == f"{name}_bucket":
            labels = {label: value for label, value in sample.labels.items() if label != "le"}
            buckets[tuple(sorted(labels.items()))].append((float(sample.labels["le"]), sample.value))
    for labels_of, found in buckets.items():
        yield dict(labels_of), sorted(found)


def _quantiles(buckets: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {name: round(1000 * _quantile(buckets, share), 3) for name, share in QUANTILES.items()}


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    wanted, below, lower = share * buckets[-1][1], 0.0, 0.0
    for limit, count in buckets:
        if limit == math.inf:
            break
        if count >= wanted and count > below:
            return lower + (limit - lower) * (wanted - below) / (count - below)
        below, lower = count, limit
    return lower
