"""Computes the cost of a request beyond ONNX Runtime from two readings of the service's `/metrics`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

_SEEN = ("nexttrack_overhead_seconds", "nexttrack_onnx_seconds")


@dataclass(frozen=True, slots=True)
class Scrape:
    """Histograms at one moment: (name, upper limit or "sum") -> count so far, or seconds."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def since(self, before: "Scrape", name: str) -> tuple[float, float, Sequence[tuple[float, float]]]:
        """One histogram's growth between two readings: count, total seconds, and (upper limit, count up to it) in order."""
        grown = {key: value - before.values.get((name, key), 0.0) for (of, key), value in self.values.items() if of == name}
        total = grown.pop("sum", 0.0)
        limits = sorted((float(limit), count) for limit, count in grown.items())
        return (limits[-1][1] if limits else 0.0), total, limits


def scrape(port: int) -> Scrape:
    """Read a service's metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        return read(reply.read().decode())


def read(exposition: str) -> Scrape:
    """Parse the histograms that are needed here. Series of different labels are added up."""
    found = Scrape()
    for family in text_string_to_metric_families(exposition):
        if family.name not in _SEEN:
            continue
        for sample in family.samples:
            key = "sum" if sample.name.endswith("_sum") else sample.labels.get("le")
            if key is not None:
                found.values[family.name, key] = found.values.get((family.name, key), 0.0) + sample.value
    return found


def overhead(before: Scrape, after: Scrape, *, end_to_end_ms: float) -> dict[str, float]:
    """Return milliseconds of a request beyond ONNX Runtime, by the service's own metric and as the client sees it.

    The service's metric gives mean and median. The client's view includes network and client, with one request at a time.
    """
    count, seconds, limits = after.since(before, "nexttrack_overhead_seconds")
    runs, onnx_s, _ = after.since(before, "nexttrack_onnx_seconds")
    onnx_ms = 1000 * onnx_s / max(1.0, runs)
    return {
        "onnx_ms": onnx_ms,
        "overhead_ms": 1000 * seconds / max(1.0, count),
        "overhead_p50_ms": 1000 * quantile(limits, 0.5),
        "overhead_seen_ms": end_to_end_ms - onnx_ms,
    }


def quantile(limits: Sequence[tuple[float, float]], share: float) -> float:
    """Return a quantile of a cumulative histogram, linear within a bucket as in Prometheus; 0 if it is empty."""
    wanted = share * (limits[-1][1] if limits else 0.0)
    low, below = 0.0, 0.0
    for limit, count in limits:
        if count >= wanted and count > below:
            return low if limit == float("inf") else low + (limit - low) * (wanted - below) / (count - below)
        low, below = limit, count
    return 0.0
